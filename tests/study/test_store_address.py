"""Addresses of SQLite stores, and stores that were moved, copied, mounted elsewhere, or lost their artifacts."""

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from jointnet.errors import InputError, SettingsError
from study.report.__main__ import main
from study.report.sections import build
from study.report.store.mlflow_store import MlflowStore
from study.report.store.reader import read_study
from study.report.write import text_files, write_report
from study.store_address import (
    CLIENT_DEFAULTS,
    absolute_address,
    check_artifacts,
    correct_records,
    default_tracking_uri,
    error_text,
    sqlite_address,
    sqlite_file,
    trials_link,
    ui_command,
)
from study.tracking.open_store import resolve_tracking_uri
from study.tracking.runs import StudyTracker

NAMES = ("better now?", "my%20study", "100%", "a#b", "ü", "a b+c&d=e", "br{ace}s", "x?mode=memory", "it's")


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Clear MLflow's cache of artifact locations, which lasts as long as the process. No real command spans a move."""
    _artifact_repos_cache.clear()
    yield
    _artifact_repos_cache.clear()


@pytest.fixture(scope="module")
def original(_migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, to be copied, with a store of two studies in `mlruns/`: one with test values, one just begun."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "mlruns").mkdir()
    shutil.copyfile(_migrated, folder / "mlruns" / "mlflow.db")
    uri = sqlite_address(folder / "mlruns" / "mlflow.db")
    arms = [synthetic.Arm("joint", "25/15/5", (synthetic.Trial("complete", ((1, 0.5),)),), 0.5, 0)]
    synthetic.write_study(uri, "first", arms, folder / "mlruns")
    synthetic.write_study(uri, "begun", [], folder / "mlruns")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of that folder under another path."""
    return Path(shutil.copytree(original, tmp_path / "moved on?"))


@pytest.fixture
def away(original: Path, folder: Path) -> Iterator[None]:
    """Hide the folder that the records refer to, and check that it is not created again."""
    hidden = original.with_name("hidden")
    original.rename(hidden)
    yield
    there = original.exists()
    shutil.rmtree(original, ignore_errors=True)
    hidden.rename(original)
    assert not there, "something was written to where the store was before"


def store_of(folder: Path) -> str:
    return sqlite_address(folder / "mlruns" / "mlflow.db")


def content(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_any_folder_has_an_address_that_mlflow_opens_and_nothing_is_made_elsewhere(
    name: str, tmp_path: Path, _migrated: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    file = tmp_path / name / "mlruns" / "mlflow.db"
    file.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / name)
    assert default_tracking_uri() == resolve_tracking_uri() == sqlite_address(file)
    assert sqlite_file(sqlite_address(file)) == file
    assert sqlite_file(absolute_address(sqlite_address(Path("mlruns/mlflow.db")))) == file
    shutil.copyfile(_migrated, file)
    tracker = StudyTracker(resolve_tracking_uri(), "s", {})
    tracker.log_json(tracker.study_run(), "splits.json", {"a": 1})
    (written,) = (tmp_path / name / "mlruns" / "artifacts").glob("*/artifacts/splits.json")
    command = shlex.split(ui_command(resolve_tracking_uri()))
    address = command[command.index("--backend-store-uri") + 1]
    client = MlflowClient(address)
    assert [item.path for item in client.list_artifacts(written.parts[-3])] == ["splits.json"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in (tmp_path / name).iterdir()] == ["mlruns"]


def test_options_of_an_address_stay_and_what_is_no_file_is_left_as_it_is(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_address("sqlite:///own/store.db?timeout=30") == f"sqlite:///{tmp_path}/own/store.db?timeout=30"
    for address in ("http://server:5000", "postgresql://u:p%40@h/mlflow", "sqlite://", "mlruns"):
        assert absolute_address(address) == address
        assert sqlite_file(address) is None


@pytest.mark.parametrize(
    ("address", "view", "link"),
    [
        ("sqlite:////a/b.db", "s1", "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=s1"),
        ("http://me:x@host:5/", "s1", "http://host:5/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=s1"),
        ("https://host/mlflow/", "s1", "https://host/mlflow/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=s1"),
        ("http://host:5", "", "http://host:5/#/experiments/7/runs?workflowType=machine_learning&searchFilter="
         "tags.%60study.id%60+%3D+%27s1%27"),
    ],
)  # fmt: skip
def test_the_link_to_the_trials_in_the_ui(address: str, view: str, link: str):
    assert trials_link(address, "7", "s1", view) == link


def test_no_password_of_a_store_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in CLIENT_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    command = ui_command("postgresql://me:hunter2@host/mlflow?password=hunter2")
    assert "--backend-store-uri 'postgresql://***@host/mlflow?password=***'" in command
    assert ui_command("http://me:hunter2@host:5000") == "http://***@host:5000"
    assert ui_command("http://me:hun@ter2@host:5000") == "http://***@host:5000"
    assert "postgresql://***@host/mlflow" in ui_command("postgresql://me:hunt/er2@host/mlflow")
    assert ui_command("http://host:5000/of@me") == "http://host:5000/of@me"
    assert "sqlite:////home/me@work/mlflow.db" in ui_command("sqlite:////home/me@work/mlflow.db")
    assert error_text(OSError("no answer\nof http://me:hunter2@host:5000")) == "no answer of http://***@host:5000"
    assert error_text(TimeoutError()) == "TimeoutError"
    refused = "API request to endpoint /api/2.0/x failed with error code 401 != 200. Response body: 'no'"
    assert error_text(OSError(refused)).startswith("set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to")
    assert error_text(OSError(refused)).endswith(f"; got {refused}")
    unknown = "nodatabase://me:hunter2@host/mlflow"
    with pytest.raises(InputError) as caught:
        MlflowStore(unknown)
    assert "nodatabase://***@host/mlflow: must be a tracking store that answers" in str(caught.value)
    assert {os.environ[name] for name in CLIENT_DEFAULTS} == {"false"}
    assert main(["--tracking-uri", unknown]) == 2
    printed = capsys.readouterr()
    assert "hunter2" not in str(caught.value) + printed.out + printed.err


@pytest.mark.parametrize("name", ["better now?", "my%20study", "x?mode=memory"])
def test_a_path_that_is_in_an_address_as_it_is_makes_no_store_elsewhere(name: str, tmp_path: Path, monkeypatch, capsys):
    file = tmp_path / name / "mlflow.db"
    file.parent.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    with pytest.raises(SettingsError) as caught:
        resolve_tracking_uri()
    (error,) = caught.value.errors
    assert f"{sqlite_address(file)!r} names the file {file}" in error
    assert main(["--study", "s"]) == 2
    assert capsys.readouterr().err == f"{error}\n"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_address(file))
    assert resolve_tracking_uri() == sqlite_address(file)


@pytest.mark.usefixtures("away")
def test_a_moved_store_is_read_reported_and_verified(folder: Path, tmp_path: Path, capsys):
    uri, out = store_of(folder), tmp_path / "report"
    before = content(folder)
    study = read_study(uri, "first")
    assert study.arms[0].rows is not None and study.tracking_uri == uri
    assert content(folder) == before  # only a driver and a logged report write to a store
    given = ["--study", "first", "--tracking-uri", uri, "--out", str(out)]
    assert main(given) == 0
    assert len(pd.read_csv(out / "slices.csv")) == len(study.arms[0].rows)
    assert (folder / f"mlruns/artifacts/{study.run_id}/artifacts/report/report.html").is_file()
    listed = {item.path for item in MlflowClient(uri).list_artifacts(study.run_id)}
    assert listed == {"report", "specification.json", "splits.json"}  # as the MLflow UI reads it
    assert main([*given, "--verify"]) == 0, capsys.readouterr()


@pytest.mark.usefixtures("away")
def test_a_driver_corrects_every_record_of_its_experiment_and_no_other(folder: Path):
    uri = store_of(folder)
    client = MlflowClient(uri)
    other = client.create_experiment("other", artifact_location="file:///elsewhere/artifacts")
    kept = client.create_run(other).info.artifact_uri
    tracker = StudyTracker(uri, "first", {})
    tracker.connect()
    tracker.log_json(tracker.study_run(), "more.json", {})
    own = (folder / "mlruns" / "artifacts").as_uri()
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        places = [place for (place,) in database.execute("SELECT artifact_uri FROM runs")]
        assert [place for place in places if not place.startswith(f"{own}/")] == [kept]
    assert "more.json" in [item.path for item in client.list_artifacts(tracker.study_run())]


def test_a_copy_uses_its_own_artifacts_and_leaves_the_original_alone(original: Path, folder: Path):
    before = content(original)
    (rows,) = (folder / "mlruns/artifacts").glob("*/artifacts/test/slices.csv")
    pd.read_csv(rows).head(40).to_csv(rows, index=False)
    uri = store_of(folder)
    (arm,) = read_study(uri, "first").arms
    assert arm.rows is not None and len(arm.rows) == 40
    assert len(read_study(store_of(original), "first").arms[0].rows) > 40
    tracker = StudyTracker(uri, "first", {})
    tracker.log_json(tracker.study_run(), "more.json", {})
    with MlflowStore(uri) as store:
        store.log_report(tracker.study_run(), folder / "mlruns" / "first-0", "the answer")
    assert content(original) == before


def test_a_driver_that_sees_the_store_under_another_path_does_not_lead_this_one_astray(folder: Path, tmp_path: Path):
    uri, link = store_of(folder), tmp_path / "mounted"
    tracker = StudyTracker(uri, "first", {})
    tracker.connect()
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (folder.as_uri(), link.as_uri()))
    tracker.log_json(tracker.study_run(), "more.json", {})
    assert not link.exists()
    assert list((folder / "mlruns/artifacts").glob("*/artifacts/more.json"))


READ_AND_LOG = """
import sys, pathlib
from study.report.store.mlflow_store import MlflowStore
from study.report.store.reader import read_study
study = read_study("sqlite:///mounted/mlruns/mlflow.db", "first")
print(len(study.arms[0].rows))
with MlflowStore(study.tracking_uri) as store:
    print(store.log_report(study.run_id, pathlib.Path("mounted"), "the answer"))
"""


@pytest.mark.usefixtures("away")
def test_a_store_on_a_disk_that_cannot_be_written_is_read(folder: Path, tmp_path: Path):
    (tmp_path / "mounted").mkdir()
    mounting = f"mount --bind {shlex.quote(folder.name)} mounted && mount -o remount,ro,bind mounted"
    script = f"({mounting}) || exit 77; {shlex.join([sys.executable, '-c', READ_AND_LOG])}"
    call = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "mounted" not in done.stdout and done.returncode in (1, 77):
        pytest.skip(f"mounting needs root: {done.stderr}")
    rows, error = done.stdout.splitlines()
    assert int(rows) > 0
    assert "mounted/mlruns/mlflow.db: must be a store that can be written" in error


@pytest.mark.usefixtures("away")
def test_a_store_without_its_artifacts_is_refused_with_both_places(folder: Path, original: Path, tmp_path, monkeypatch):
    uri = store_of(folder)
    shutil.rmtree(folder / "mlruns" / "artifacts")
    for deed in (check_artifacts, correct_records, lambda uri: read_study(uri, "first")):
        with pytest.raises(SettingsError) as caught:
            deed(uri)
        (error,) = caught.value.errors
        assert f"{folder}/mlruns/artifacts: must be the folder" in error and f"{original}/mlruns/artifacts" in error
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SettingsError, match="must be the folder with the artifacts"):
        resolve_tracking_uri()
    (folder / "mlruns" / "artifacts").mkdir()
    assert resolve_tracking_uri() == uri


def test_a_file_that_cannot_be_read_is_left_to_mlflow(folder: Path, monkeypatch, capsys):
    def refuse(file: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("study.store_address.open_to_read", refuse)
    check_artifacts(store_of(folder))
    monkeypatch.setattr("study.report.store.mlflow_store.readable", refuse)
    assert main(["--tracking-uri", store_of(folder), "--study", "first"]) == 2
    assert "must be a tracking store that answers: unable to open database file" in capsys.readouterr().err


def test_a_database_copied_alone_is_not_written_through_to_the_original(folder: Path, original: Path):
    shutil.rmtree(folder / "mlruns" / "artifacts")
    with pytest.raises(SettingsError, match="must be the folder with the artifacts"):
        StudyTracker(store_of(folder), "first", {}).connect()


def test_artifacts_that_were_placed_elsewhere_on_purpose_stay_there(folder: Path, tmp_path: Path):
    uri, disk = store_of(folder), tmp_path / "disk" / "artifacts"
    correct_records(uri)
    disk.parent.mkdir()
    shutil.move(folder / "mlruns" / "artifacts", disk)
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        own = (folder / "mlruns" / "artifacts").as_uri()
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (own, disk.as_uri()))
    check_artifacts(uri)
    assert read_study(uri, "first").arms[0].rows is not None
    tracker = StudyTracker(uri, "first", {})
    tracker.log_json(tracker.study_run(), "more.json", {})
    assert list(disk.glob("*/artifacts/more.json"))


def test_a_file_that_the_records_promise_is_never_read_as_one_that_never_was(folder: Path):
    uri = store_of(folder)
    correct_records(uri)
    study = read_study(uri, "first")
    MlflowClient(uri).set_tag(study.run_id, "split.sha256.25/15/5", "ab" * 32)
    arm = study.arms[0].run_id
    for run, lost in (
        (arm, "selection.json"),
        (arm, "test/slices.csv"),
        (arm, "test/overlays.npz"),
        (study.run_id, "specification.json"),
    ):
        path = folder / f"mlruns/artifacts/{run}/artifacts/{lost}"
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError) as caught:
            read_study(uri, "first")
        (error,) = caught.value.errors
        assert error.startswith(f"{path.as_uri().removesuffix(f'/{lost}')}: must hold {lost}, which {uri} says")
        path.write_bytes(kept)
    shutil.rmtree(folder / f"mlruns/artifacts/{arm}")
    with pytest.raises(InputError, match=r"must hold selection.json, test/slices.csv, test/overlays.npz"):
        read_study(uri, "first")
    assert read_study(uri, "begun").arms == ()  # which guarantees nothing yet


def test_a_report_with_test_values_is_not_replaced_by_one_without(folder: Path, tmp_path: Path):
    uri, out = store_of(folder), tmp_path / "report"
    correct_records(uri)
    out.mkdir()
    first = read_study(uri, "first")
    for name, text in text_files(build(first), lambda picture, dark: "").items():
        (out / name).write_text(text, encoding="utf-8")
    with MlflowStore(uri) as store:
        store.log_report(first.run_id, out, "the answer")
    before = content(out)
    MlflowClient(uri).delete_run(first.arms[0].run_id)  # as in the MLflow UI
    for study in ("begun", "first"):
        with pytest.raises(InputError) as caught:
            write_report(uri, study, out)
        (error,) = caught.value.errors
        assert error.startswith(f"{out / 'slices.csv'}: must not be replaced") and "joint-25" in error
        assert "--out" in error and content(out) == before
    with pytest.raises(InputError, match=f"report of run {first.run_id} in .*: must not be replaced"):
        write_report(uri, "first", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (out / "slices.csv").unlink()
    write_report(uri, "begun", out, log=False)


@pytest.mark.usefixtures("away")
def test_a_moved_store_that_cannot_be_copied_is_named(folder: Path, monkeypatch):
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("study.store_address._replace", full)
    with pytest.raises(SettingsError, match=r"mlflow\.db: must be a store that can be copied into .*TMPDIR"):
        read_study(store_of(folder), "first")

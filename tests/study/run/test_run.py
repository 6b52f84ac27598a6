"""The command: its errors, and a whole study with a simulated search, to see when the test patients are opened."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scans
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from tiny_study import search_in_process, tiny_search

import study.export_bundle
import study.predict
import study.report.__main__
import study.run.conduct
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.patient_files import PatientFiles
from study.plan import environment
from study.plan.splits import make_splits
from study.run.__main__ import main
from study.search.file.split_counts import parse_counts
from study.store_address import default_tracking_uri
from study.store_names import EXPERIMENT
from study.trials.ledger import Ledger
from study.trials.scheduling import ArmSearch, Cause
from study.trials.trial import ArmTask
from study.trials.work import retrain_seeds


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, patients=5, seed=0)
    return folder


@pytest.fixture
def place(workplace: Path) -> Path:
    """Return the working directory with a search space `tiny`."""
    text = tiny_search("standalone", splits=["1/1/1", "2/1/1"], phantom_patients=5)
    (workplace / "search_spaces/tiny.toml").write_text(text)
    return workplace


def _errors(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> list[str]:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.splitlines()


def test_errors_of_options_and_spaces_come_together(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    options = ("--num-samples", "0", "--seed", "-1", "--splits", "2/2", "--settings", "x")
    found = _errors(capsys, "--search", "tiny", "none", *options)
    assert [error.split(":")[0] for error in found] == [
        "--num-samples",
        "--seed",
        "--settings",
        "--search",
        "--splits",
        "MLFLOW_TRACKING_URI",
    ]
    assert found[0] == "--num-samples: must be at least 1, got 0"
    assert not (place / "runs").exists()


def test_errors_of_the_design_come_together(place: Path, phantom: Path, capsys: pytest.CaptureFixture[str]):
    options = ("--folds", "0", "--seeds", "-1", "--equal-compute", "--num-samples", "3")
    assert _errors(capsys, "--search", "tiny", *options) == [
        "--folds: must be at least 1, got 0",
        "--seeds: must be at least 0, got -1",
        "--minutes: must be given with --equal-compute, the minutes of each arm, got none",
        "--num-samples: must not be given with --equal-compute, whose minutes decide, got 3",
    ]
    own = ("--search", "tiny", "--data", str(phantom), "--folds", "2", "--splits")
    (error,) = _errors(capsys, *own, "1/2")
    assert error.startswith("--splits: must train and validate on at most the 2 of 5 patients that --folds 2 leaves")
    (error,) = _errors(capsys, *own, "1/1/9")
    assert "must test on 2 or 3 patients with --folds 2, or leave it out" in error
    (error,) = _errors(capsys, "--search", "tiny", "--splits", "1/1")
    assert "must be train/validation/test" in error


def test_a_dry_run_prints_the_plan_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]):
    before = sorted(place.rglob("*"))
    assert main(["--search", "tiny", "--folds", "2", "--seeds", "3", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 trials and 6 retrainings, about" in out and "CPU-hours" in out and "MB of models" in out
    assert "the splits 1/1/1 and 2/1/1 do not fit beside the folds and were shrunk to 1/1" in " ".join(out.split())
    assert sorted(place.rglob("*")) == before


def test_errors_of_the_cluster_come_with_the_others_and_name_what_there_is(place: Path, capsys, monkeypatch):
    found = _errors(capsys, "--search", "none", "--cpus-per-trial", "4096", "--out", "s3://bucket/runs")
    assert [error.split(":")[0] for error in found] == ["--out", "--search", "--cpus-per-trial, --gpus-per-trial"]
    assert "must be a folder" in found[0] and "got 4096 CPU and 0 GPU (1 node of" in found[2]
    (error,) = _errors(capsys, "--search", "tiny", "--address", "127.0.0.1:1")
    assert error.startswith("--address: a cluster must listen there, got 127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    (error,) = _errors(capsys, "--search", "tiny")
    assert error.startswith("RAY_ADDRESS: a cluster must listen there, got ray://127.0.0.1:1")
    (error,) = _errors(capsys, "--search", "tiny", "--address", "127.0.0.1:2")
    assert error.startswith("--address: a cluster must listen there, got 127.0.0.1:2")


def test_the_head_of_a_cluster_receives_only_what_the_user_set(place: Path, monkeypatch: pytest.MonkeyPatch):
    """The command that runs there has defaults of its own, which its machine's environment may change."""
    for name in environment.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "liver")  # the plan that is shown there says that it has no effect
    heard: dict[str, str] = {}
    monkeypatch.setattr("study.machines.handover.run_on_head", lambda *_: heard.update(os.environ) or 0)
    assert main(["--search", "tiny", "--address", "ray://head:10001"]) == 0
    assert heard["MLFLOW_EXPERIMENT_NAME"] == "liver" and not heard.keys() & environment.DEFAULTS.keys()


def test_what_the_machine_cannot_do_is_found_by_a_dry_run(place: Path, capsys, monkeypatch):
    (place / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    found = _errors(capsys, "--search", "tiny", "--out", "file/runs", "--cache", str(place / "file"), "--dry-run")
    assert found == [
        f"--out: must be a folder that can be written, got {place}/file/runs below {place}/file",
        f"--cache: must be a folder that can be written, got {place}/file",
        f"RAY_TMPDIR: must be at most 39 bytes long, for Ray's sockets, got 65: /tmp/{'x' * 60}; "
        "RAY_TMPDIR=DIR names another folder, on a disk of this machine",
    ]


def test_a_user_without_home_and_name_gets_a_plan(place: Path):
    """Run a separate process, as under `docker run --user 12345`."""
    own = {"TMPDIR": str(place), "PYTHONPATH": str(Path(__file__).parents[3]), "PATH": os.environ["PATH"]}
    nameless = ["unshare", "--user", "--map-user=12345", "--map-group=12345", "env", "-i"]
    command = [*nameless, *(f"{name}={value}" for name, value in own.items()), sys.executable]
    if subprocess.run([*command, "-c", "pass"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    asked = [*command, "-m", "study.run", "--search", "tiny", "--dry-run"]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Cache     /" in done.stdout


def test_an_interrupt_within_code_that_is_a_string_ends_with_130_too(place: Path):
    """Python marks such an interrupt, and then ends itself by SIGINT whatever its exit status; imports run strings."""
    script = """
import sys, types
from study.run.__main__ import main
def run(options):
    exec("raise KeyboardInterrupt")
sys.modules["study.run.conduct"] = types.SimpleNamespace(run=run)
sys.exit(main(["--search", "tiny"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    again = "Interrupted. Nothing is lost. To resume: python -m study.run --search tiny\n"
    assert (done.returncode, done.stderr) == (130, again)


def test_an_address_that_is_none_is_refused_before_ray_is_imported(place: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "study.machines.handover", None)  # importing it is an ImportError
    rule = "must be local, auto, HOST:PORT or ray://HOST:PORT, got 'ray://head/x:1'"
    assert _errors(capsys, "--search", "tiny", "--address", "ray://head/x:1") == [f"--address: {rule}"]
    monkeypatch.setenv("RAY_ADDRESS", "ray://head/x:1")
    assert _errors(capsys, "--search", "tiny") == [f"RAY_ADDRESS: {rule}"]


def test_threads_are_limited_only_where_a_study_is_planned_here(place: Path, capsys, monkeypatch):
    limited: list[str] = []
    monkeypatch.setattr("study.run.__main__.limit_threads", lambda: limited.append(capsys.readouterr().out))
    with pytest.raises(SystemExit):
        main(["--help"])
    assert not limited  # with a CPU quota it imports torch
    main(["--search", "tiny", "--dry-run"])
    assert limited[0].endswith("Planning the study tiny ...\n")


def test_a_path_that_ray_cannot_name_is_found_by_a_dry_run(place: Path, capsys, monkeypatch):
    (folder := Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9"))).mkdir()
    monkeypatch.chdir(folder)
    space = str(place / "search_spaces/tiny.toml")
    found = _errors(capsys, "--search", space, "--out", str(folder / "runs"), "--dry-run")
    rule = "must be a path in UTF-8, because Ray accepts no others, got"
    assert [error.partition(" '")[0] for error in found] == [f"working folder: {rule}", f"--out: {rule}"]
    assert "caf\\udce9" in found[0] and found[1].endswith("; a link to it may have such a name")


def test_a_submitted_job_must_say_where_its_results_are_kept(place: Path, capsys, monkeypatch):
    job = place / "runtime_resources/working_dir_files/_ray_pkg_1"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    found = _errors(capsys, "--search", str(place / "search_spaces/tiny.toml"))
    assert [error.split(":")[0] for error in found] == ["--out", "MLFLOW_TRACKING_URI"]


def test_splits_that_need_more_patients_are_refused_with_some_that_fit(place: Path, phantom: Path, capsys):
    (error,) = _errors(capsys, "--search", "tiny", "--data", str(phantom), "--splits", "25/15/5")
    assert "must fit the 5 patients" in error and error.endswith("try --splits 2/1/1 3/1/1")


def test_a_missing_folder_is_an_error_of_the_data(place: Path, capsys: pytest.CaptureFixture[str]):
    (error,) = _errors(capsys, "--search", "tiny", "--data", "nowhere", status=3)
    assert "nowhere" in error


def test_a_damaged_test_patient_is_found_before_hours_of_search(place: Path, phantom: Path, tmp_path: Path, capsys):
    shutil.copytree(phantom, tmp_path / "scans")
    damaged = sorted((tmp_path / "scans").rglob("patient*.nii.gz"))
    for path in damaged:
        path.write_bytes(b"no scan")
    found = _errors(capsys, "--search", "tiny", "--data", str(tmp_path / "scans"), status=3)
    assert len(found) >= len(damaged)


def _cohort(folder: Path, lacking: Sequence[str] = ()) -> dict[str, dict[str, Path]]:
    """Write five tiny patients, some without an RV in LGE, and return their files."""
    return {
        str(number): scans.write_patient(
            folder, number, cine, scans.without(lge, "rv") if str(number) in lacking else lge
        )
        for number in range(1, 6)
        for cine, lge in [scans.pair(seed=number, lge_shift_mm=(4.8, 3.6))]
    }


def test_a_structure_that_a_part_of_a_split_does_not_show_is_named_before_anything_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    small, large = make_splits(["1", "2", "3", "4", "5"], parse_counts(["1/1/1", "2/1/1"]), 0)
    ray = _NoRay(monkeypatch)
    for part, numbers, who in (
        ("validation", small.validation, ["1/1/1: validation patients", "2/1/1: validation patients"]),
        ("training", small.train, ["1/1/1: training patients"]),
        ("test", small.test, ["test patients"]),
    ):
        _cohort(place / part, lacking=numbers)
        found = _errors(capsys, "--search", "tiny", "--data", str(place / part), status=3)
        assert [error.split(" must ")[0] for error in found] == [f"--splits{' ' if ':' in w else ': '}{w}" for w in who]
        rule = "must show rv in both segmentations of a slice, wholly in the common field; "
        rule += f"no slice of patient {numbers[0]} does, "
        assert all(rule in error for error in found)
        assert "search" not in dict(ray.events), part
    assert set(small.train) < set(large.train)


def test_an_error_in_a_sealed_patient_s_voxels_is_found_at_the_start_and_nothing_of_them_is_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (split,) = make_splits(["1", "2", "3", "4", "5"], parse_counts(["2/1/1"]), 0)
    (sealed,), (trained, _) = split.test, split.train
    paths = _cohort(place / "scans")
    for number, role in ((sealed, "lge_label"), (sealed, "cine"), (trained, "cine_label")):
        path = paths[number][role]
        image = nib.load(path)
        voxels = np.asarray(image.dataobj).copy()
        voxels[0, 0, 0] = np.nan if role == "cine" else 77
        scans.write_nifti(path, voxels, image.affine)
    ray = _NoRay(monkeypatch)
    found = _errors(capsys, "--search", "tiny", "--data", str(place / "scans"), status=3)
    assert [error.split(":")[0] for error in found] == [
        str(paths[sealed]["cine"]),
        str(paths[sealed]["lge_label"]),
        str(paths[trained]["cine_label"]),
    ]
    assert "search" not in dict(ray.events)
    assert len(list((place / "cache").glob("*/images.npy"))) == 2, "of the four less the invalid one and the sealed"


class _NoRay:
    """A stand-in for Ray that runs an arm's trials in this process and records which patients they use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Any]] = []
        self.raising: BaseException | None = None
        self.raising_in = ""
        self.signal = 0
        self.failing: set[str] = set()
        prepare, log_json = study.run.conduct.prepare, study.run.conduct.StudyTracker.log_json

        def noted_prepare(files: list[PatientFiles], *rest: Any) -> Any:
            self.events.append(("prepare", [item.patient for item in files]))
            return prepare(files, *rest)

        def noted_log(tracker: Any, run: str, name: str, content: Any) -> None:
            self.events.append((name, content))
            log_json(tracker, run, name, content)

        monkeypatch.setattr("study.run.rounds.ray_session", lambda address: nullcontext())
        monkeypatch.setattr("study.run.rounds.run_round", self._search)
        monkeypatch.setattr(study.run.conduct, "prepare", noted_prepare)
        monkeypatch.setattr("study.run.stages.prepare", noted_prepare)
        monkeypatch.setattr(study.run.conduct.StudyTracker, "log_json", noted_log)

    def _search(self, task: ArmTask, search: ArmSearch, *rest: Any, **more: Any) -> None:
        self.events.append(("search", [p.patient for p in (*task.training, *task.validation)]))
        search_in_process(task, search, disturbed=lambda: self._disturb(task.arm, search))

    def _disturb(self, arm: str, search: ArmSearch) -> bool:
        if arm == self.raising_in:
            raise KeyboardInterrupt
        if self.raising:
            raise self.raising
        if self.signal:
            os.kill(os.getpid(), self.signal)
        if arm in self.failing:
            search.raised("attempt", Cause.TRAINING, "TrainingDivergedError: NaN")
        return arm in self.failing


def _runs() -> list[Any]:
    client = MlflowClient(default_tracking_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == EXPERIMENT]
    return list(client.search_runs([experiment.experiment_id]))


def test_the_test_patients_are_opened_once_and_only_after_every_selection(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ray = _NoRay(monkeypatch)
    assert main(["--search", "tiny", "--data", str(phantom), "--cache", str(place / "cache")]) == 0
    names = [name for name, _ in ray.events]
    assert names.count("prepare") == 2 and names.count("search") == 2 and names.count("selection.json") == 2
    opening = len(names) - 1 - names[::-1].index("prepare")
    assert max(index for index, name in enumerate(names) if name == "selection.json") < opening
    splits = dict(ray.events)["splits.json"]
    sealed = set(splits["1/1/1"]["test"])
    assert sealed == set(splits["2/1/1"]["test"]) == set(ray.events[opening][1])
    seen = [set(numbers) for name, numbers in ray.events[:opening] if name in ("prepare", "search")]
    assert not any(numbers & sealed for numbers in seen)
    assert sealed and len(list((place / "cache").glob("*/images.npy"))) == 4

    arms = [run for run in _runs() if run.data.tags["study.kind"] == "arm"]
    assert {run.data.tags["arm"] for run in arms} == {"standalone-1", "standalone-2"}
    assert {run.data.tags["test.openings"] for run in arms} == {"1"}
    for run in arms:
        artifacts = {item.path for item in MlflowClient(default_tracking_uri()).list_artifacts(run.info.run_id, "test")}
        assert artifacts == {"test/slices.csv", "test/patients.csv", "test/overlays.npz"}
        assert {"test/cd_mm/lv", "test/before/cd_mm/lv", "test/registration_ratio", "test/lost"} <= set(
            run.data.metrics
        )
    assert {run.info.status for run in _runs()} == {"FINISHED"}
    out = capsys.readouterr().out
    assert "before" in out and "mlflow ui --backend-store-uri sqlite:////" in out and "/report" in out
    (spec,) = [content for name, content in ray.events if name == "specification.json"]
    json.dumps(spec)


def test_planning_and_preparation_parse_and_hash_each_file_once(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, file_reads: tuple[Counter[str], Counter[str]]
):
    own = shutil.copytree(phantom, place / "own scans")
    ray = _NoRay(monkeypatch)
    ray.raising_in = "standalone-1"
    assert main(["--search", "tiny", "--data", str(own), "--cache", str(place / "cache")]) == 130
    parsed, hashed = file_reads
    assert parsed == {path.name: 1 for path in own.rglob("*.nii.gz")} and len(parsed) == 20
    (searched,) = [numbers for name, numbers in ray.events if name == "prepare"]
    assert hashed == {path.name: 1 for number in searched for path in own.rglob(f"patient{number}_*.nii.gz")}


def test_a_nested_study_that_is_interrupted_while_it_retrains_goes_on(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ray = _NoRay(monkeypatch)
    ray.raising_in = "fold-2/standalone-1/retrain/t0001"
    arguments = ["--search", "tiny", "--data", str(phantom), "--folds", "2", "--seeds", "2"]
    assert main(arguments) == 130
    assert "RUNNING" not in {run.info.status for run in _runs()}
    assert sum(run.data.tags["study.kind"] == "retrain" for run in _runs()) == 3  # two in fold 1, one begun in fold 2
    ray.raising_in = ""
    assert main(arguments) == 0
    (folder,) = _studies(place)
    runs = {
        kind: [run for run in _runs() if run.data.tags["study.kind"] == kind] for kind in ("arm", "trial", "retrain")
    }
    assert [len(found) for found in runs.values()] == [2, 2, 4]
    assert {run.info.status for run in _runs()} == {"FINISHED"}
    assert all(run.data.tags.get("mlflow.note.content") for run in _runs())
    tested: list[int] = []
    for arm in runs["arm"]:
        fold = arm.data.tags["fold"]
        assert (arm.data.tags["arm"], arm.data.tags["folds"], arm.data.tags["test.openings"]) == (
            "standalone-1",
            "2",
            "1",
        )
        again = [run for run in runs["retrain"] if run.data.tags["mlflow.parentRunId"] == arm.info.run_id]
        seeds = {run.data.tags["retrain.seed_index"]: run.data.tags["seed"] for run in again}
        assert {int(index): int(seed) for index, seed in seeds.items()} == dict(enumerate(retrain_seeds(0, 2), 1))
        assert {run.data.tags["fold"] for run in again} == {fold}
        rows = pd.read_csv(folder / f"fold-{fold}/standalone-1/test/slices.csv")
        assert sorted(set(rows["seed_index"])) == [1, 2]
        assert (rows.query("seed_index == 1")["before"].array == rows.query("seed_index == 2")["before"].array).all()
        tested += set(rows["patient"])
    assert sorted(tested) == [1, 2, 3, 4, 5]
    assert "standalone-1 " in capsys.readouterr().out  # one row over all folds


def test_an_arm_without_a_finished_trial_gives_status_4_and_the_others_a_report(
    place: Path, phantom: Path, monkeypatch, capsys
):
    ray = _NoRay(monkeypatch)
    ray.failing = {"standalone-1"}
    assert main(["--search", "tiny", "--data", str(phantom)]) == 4
    captured = capsys.readouterr()
    assert "standalone-1: at least one trial must end" in captured.err and "standalone-2" in captured.out
    assert main(["--search", "tiny", "--data", str(phantom)]) == 4  # nothing new: same report and same status
    assert "standalone-1: at least one trial must end" in capsys.readouterr().err
    ray.failing = {"standalone-1", "standalone-2"}
    before = len(ray.events)
    assert main(["--search", "tiny", "--data", str(phantom), "--new"]) == 4
    assert [name for name, _ in ray.events[before:]].count("prepare") == 1  # the test patients stay sealed
    assert main(["--search", "tiny", "--data", str(phantom)]) == 4
    assert len(ray.events) == before + len(ray.events[before:])


def _studies(place: Path) -> list[Path]:
    return sorted((place / "runs").iterdir())


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (RuntimeError("driver"), "FAILED")])
def test_no_run_stays_running_whatever_ends_the_driver_and_the_same_command_goes_on(
    error, status: str, place: Path, phantom: Path, monkeypatch, capsys
):
    ray = _NoRay(monkeypatch)
    ray.raising = error
    arguments = ["--search", "tiny", "--data", str(phantom)]
    if status == "KILLED":
        assert main(arguments) == 130
        said = capsys.readouterr().err
        assert said == f"Interrupted. Nothing is lost. To resume: python -m study.run {' '.join(arguments)}\n"
    else:
        with pytest.raises(RuntimeError, match="driver"):
            main(arguments)
    by_kind = {run.data.tags["study.kind"]: run.info.status for run in _runs()}
    assert by_kind == {"study": status, "arm": status, "trial": "KILLED"}
    ray.raising = None
    before = {run.info.run_id for run in _runs()}
    assert main(arguments) == 0
    assert len(_studies(place)) == 1
    assert before < {run.info.run_id for run in _runs()}  # the runs are found again, none is created twice
    assert {run.info.status for run in _runs()} == {"FINISHED"}
    assert "which this command continues" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_once_lets_the_epoch_end_and_says_how_to_go_on(number, place: Path, phantom: Path, monkeypatch, capsys):
    ray = _NoRay(monkeypatch)
    ray.signal = number
    arguments = ["--search", "tiny", "--data", str(phantom)]
    assert main(arguments) == 130
    captured = capsys.readouterr()
    assert "running trainings finish their epoch" in captured.out and "To resume: python -m study.run" in captured.err
    assert "RUNNING" not in {run.info.status for run in _runs()}
    with Ledger(_studies(place)[0]) as ledger:
        (outcome,) = ledger.outcomes("standalone-1").values()
        assert outcome.epoch == 1 and outcome.objective is not None
    ray.signal = 0
    assert main(arguments) == 0
    assert {run.info.status for run in _runs()} == {"FINISHED"}


def test_a_finished_study_is_reported_again_and_goes_on_when_more_is_asked_for(
    place: Path, phantom: Path, monkeypatch, capsys
):
    ray = _NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    assert main(arguments) == 0
    events, runs = len(ray.events), {run.info.run_id for run in _runs()}
    with Ledger(_studies(place)[0]) as ledger:
        length, first = len(ledger.events), dict(ledger.outcomes("standalone-1"))
    capsys.readouterr()
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "which this command continues" in out and "/report" in out and "before" in out
    assert len(ray.events) == events and {run.info.run_id for run in _runs()} == runs
    with Ledger(_studies(place)[0]) as ledger:
        assert len(ledger.events) == length
    assert main([*arguments, "--num-samples", "4"]) == 0
    with Ledger(_studies(place)[0]) as ledger:
        for arm in ("standalone-1", "standalone-2"):
            assert list(ledger.outcomes(arm)) == ["t0001", "t0002", "t0003", "t0004"]
            changes = len(
                {event["trial"] for event in ledger.events if event["event"] == "opened" and event["arm"] == arm}
            )
            assert ledger.count("opened", arm) == changes <= 2
        assert dict(ledger.outcomes("standalone-1"))["t0001"] == first["t0001"]
        openings = {arm: str(ledger.count("opened", arm)) for arm in ("standalone-1", "standalone-2")}
    arms = [run for run in _runs() if run.data.tags["study.kind"] == "arm"]
    assert {run.data.tags["arm"]: run.data.tags["test.openings"] for run in arms} == openings
    assert len(_studies(place)) == 1


def test_a_study_named_with_another_specification_is_refused_with_the_differences(
    place: Path, phantom: Path, monkeypatch, capsys
):
    _NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    assert main(arguments) == 0
    name = _studies(place)[0].name
    found = _errors(capsys, *arguments, "--study", name, "--seed", "1", "--max-epochs", "2")
    assert f"--study {name}: seed: must be 0 as when the study began, got 1" in found
    assert any("fidelity.max_epochs: must be 1 as when the study began, got 2" in error for error in found)
    assert _errors(capsys, *arguments, "--study", name, "--new") == [
        f"--new: must not be given with --study, got --study {name}"
    ]


def test_a_study_that_another_driver_runs_is_refused(place: Path, phantom: Path, monkeypatch, capsys):
    _NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    assert main(arguments) == 0
    with Ledger(_studies(place)[0]):
        (error,) = _errors(capsys, *arguments)
    assert "is being run by another" in error


def test_scans_that_changed_under_a_phantoms_name_are_refused(place: Path, phantom: Path, monkeypatch, capsys):
    _NoRay(monkeypatch)
    assert main(["--search", "tiny"]) == 0
    (ledger,) = (place / "runs").glob("*/ledger.jsonl")
    text = ledger.read_text()
    fingerprint = json.loads(text.splitlines()[0])["fingerprint"]
    ledger.write_text(text.replace(fingerprint, "0" * 16).replace('{"event": "delivered"', '{"event": "other"'))
    (error,) = _errors(capsys, "--search", "tiny", status=3)
    assert f"must hold the scans that study {ledger.parent.name} began with, fingerprint 0000000000000000" in error


def test_a_study_goes_on_in_the_folder_that_it_was_moved_to_whatever_its_name(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    first, second = place / "better now? {1}", place / "my%20study #2"
    first.mkdir()
    for part in ("search_spaces", "mlruns"):
        (place / part).rename(first / part)
    monkeypatch.chdir(first)
    _NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    assert main(arguments) == 0
    report = next(path.relative_to(first) for path in first.glob("runs/*/report"))
    tested = pd.read_csv(report / "slices.csv")
    assert len(tested) > 0 and (report.parent / "optuna.db").is_file()

    first.rename(second)
    monkeypatch.chdir(second)
    _artifact_repos_cache.clear()  # as in another process
    assert study.report.__main__.main(["--verify", "--out", str(report)]) == 0
    assert main(arguments) == 0
    pd.testing.assert_frame_equal(pd.read_csv(report / "slices.csv"), tested)
    capsys.readouterr()
    assert main([*arguments, "--num-samples", "2"]) == 0
    assert "refused" not in capsys.readouterr().out
    (arm,) = [run for run in _runs() if run.data.tags.get("arm") == "standalone-1" and "test.openings" in run.data.tags]
    chosen = arm.data.tags["selected.run.id"]
    pair = [str(next(phantom.rglob(f"patient1_{name}.nii.gz"))) for name in ("C0", "LGE")]
    given = ["--cine", pair[0], "--lge", pair[1], "--device", "cpu", "--model"]
    for number, address in enumerate(("models:/jointnet-standalone-1@champion", f"runs:/{chosen}/model")):
        assert study.predict.main(["--out", f"predicted{number}", *given, address]) == 0
    assert study.export_bundle.main(["--out", "bundle", "--model", f"runs:/{chosen}/model"]) == 0
    assert {path.name for path in place.iterdir()} <= {second.name, "cache"}  # nothing is written to the old place

    shutil.rmtree(second / "mlruns" / "artifacts" / chosen)
    capsys.readouterr()
    assert study.predict.main(["--out", "none", *given, f"runs:/{chosen}/model"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert f"mlruns/artifacts/{chosen}/artifacts/model" in error

"""Content that the tracking store refused, lacks or lost: the same command writes it again."""

import errno
import subprocess
from pathlib import Path
from typing import Any

import pytest
import test_run as study_run
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from study.report.store.reader import read_study
from study.report.write import Report
from study.run.__main__ import main
from study.store_address import default_tracking_uri
from study.store_names import EXPERIMENT
from study.tracking.runs import StudyTracker
from study.trials.ledger import read_events

phantom, place = study_run.phantom, study_run.place
CHANGING = ("mlflow.log-model.history", "selected.run.id", "mlflow.parentRunId")
"""Tags that hold ids of the store's own."""


def _client() -> MlflowClient:
    return MlflowClient(default_tracking_uri())


def _experiment() -> str:
    found = _client().get_experiment_by_name(EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


def _files(run_id: str, folder: str = "") -> set[str]:
    found = set()
    for item in _client().list_artifacts(run_id, folder):
        found |= _files(run_id, item.path) if item.is_dir else {item.path}
    return found


def _held() -> dict[tuple[str, ...], tuple[Any, ...]]:
    """Return the store's content of the study by kind, arm, trial and baseline. Check that no run exists twice."""
    runs = study_run._runs()
    arms = {run.info.run_id: run.data.tags["arm"] for run in runs if run.data.tags["study.kind"] == "arm"}
    held: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for run in runs:
        tags, info = run.data.tags, run.info
        key = tuple(tags.get(name, "") for name in ("study.kind", "arm", "trial.id", "baseline"))
        assert key not in held
        assert arms.get(tags.get("mlflow.parentRunId", "")) == (tags["arm"] if key[0] == "trial" else None)
        rows = {
            (name, point.step, point.timestamp, point.value)
            for name in run.data.metrics
            for point in _client().get_metric_history(info.run_id, name)
        }
        kept = {name: value for name, value in tags.items() if name not in CHANGING}
        held[key] = kept, run.data.params, rows, _files(info.run_id), info.status, info.end_time
    return held


def _events(place: Path) -> list[dict[str, Any]]:
    return read_events(study_run._studies(place)[0] / "ledger.jsonl")[0]


def _refusing(*arguments: Any, **options: Any) -> None:
    raise MlflowException("the registry is closed")


class _Unwritten(Report):
    def terminal_table(self, width: int | None = None, colour: bool = False) -> str:
        return ""


def _unwritten(uri: str, study_id: str, folder: Path) -> Report:
    """Replace the report, which takes seconds."""
    return _Unwritten(study_id, folder, table=None)  # type: ignore[arg-type]


def test_a_study_that_its_store_lacks_is_told_again_whole_and_no_side_delivery_withholds_its_report(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ray = study_run._NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:1")
    with monkeypatch.context() as patch:  # the registry and the copy of the report fail, without effect on the rest
        patch.setattr("study.tracking.runs.register", _refusing)
        patch.setattr(MlflowClient, "log_artifacts", _refusing)
        patch.setattr(StudyTracker, "describe", _refusing)
        assert main(arguments) == 0
    told = capsys.readouterr()
    assert "WARNING: the registered model jointnet-standalone-1: the registry is closed. Repeat the command" in told.err
    assert "WARNING: the copy of the report in the tracking store: the registry is closed" in told.err
    assert "WARNING: the description of the study: the registry is closed" in told.err
    assert (study_run._studies(place)[0] / "report/report.html").is_file() and "before" in told.out
    assert _events(place)[-1]["event"] == "delivered" and len(_events(place)[-1]["left_out"]) == 5

    def again(status: int = 0) -> Any:
        """Run the same command, and check that it trains nothing and opens no test."""
        before = [event for event in _events(place) if event["event"] not in ("session", "delivered")]
        searches = [name for name, _ in ray.events].count("search")
        assert main(arguments) == status
        assert [name for name, _ in ray.events].count("search") == searches
        assert [event for event in _events(place) if event["event"] not in ("session", "delivered")] == before
        return capsys.readouterr()

    monkeypatch.setattr("study.run.conduct.write_report", _unwritten)  # only the store matters from here on
    assert again().err == "" and "left_out" not in _events(place)[-1]  # what had been left out is delivered
    assert {model.name for model in _client().search_registered_models()} == {
        "jointnet-standalone-1",
        "jointnet-standalone-2",
    }
    whole, events = _held(), len(_events(place))
    assert again().err == "" and len(_events(place)) == events  # nothing is left to deliver

    runs = {run.data.tags["study.kind"]: run for run in study_run._runs()}
    (Path(runs["arm"].info.artifact_uri.removeprefix("file://")) / "test/slices.csv").unlink()
    for run in runs.values():  # one of each kind: what is deleted in the UI is restored
        _client().delete_run(run.info.run_id)
    assert "The tracking store lacks this study or a part of it. It is written again from the ledger." in again().out
    assert _held() == whole

    _client().delete_experiment(_experiment())
    before = len(_events(place))
    for more in ([], ["--new"], ["--dry-run"]):
        (error,) = study_run._errors(capsys, *arguments, *more)
        assert error.startswith("MLFLOW_TRACKING_URI: must be a store whose experiment 'jointnet-study' is not deleted")
    assert len(study_run._studies(place)) == 1 and len(_events(place)) == before
    subprocess.run(error.partition("to restore it: ")[2], shell=True, check=True, cwd=place, capture_output=True)
    again()
    assert _held() == whole


def test_a_store_that_is_replaced_is_told_the_study_whole(
    place: Path, phantom: Path, _migrated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ray = study_run._NoRay(monkeypatch)
    arguments = ["--search", "tiny", "--data", str(phantom)]
    monkeypatch.setattr("study.run.conduct.write_report", _unwritten)
    assert main(arguments) == 0
    whole, searches = _held(), [name for name, _ in ray.events].count("search")
    name = study_run._studies(place)[0].name
    before = read_study(default_tracking_uri(), name)
    (place / "other").mkdir()
    (place / "other/mlflow.db").write_bytes(_migrated.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/other/mlflow.db")
    assert main(arguments) == 0
    assert [name for name, _ in ray.events].count("search") == searches
    assert _held() == whole
    after = read_study(default_tracking_uri(), name)
    assert after.minutes == before.minutes
    for arm, twin in zip(after.arms, before.arms, strict=True):
        assert arm.rows is not None and twin.rows is not None and arm.rows.equals(twin.rows)
        assert [trial.minutes for trial in arm.trials] == [trial.minutes for trial in twin.trials]
        assert (arm.openings, sorted(arm.overlays)) == (1, sorted(twin.overlays))
    assert {model.name for model in _client().search_registered_models()} == {
        "jointnet-standalone-1",
        "jointnet-standalone-2",
    }


def test_what_the_store_refuses_keeps_the_study_undelivered_and_the_test_sealed_where_it_was_a_selection(
    place: Path, phantom: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ray = study_run._NoRay(monkeypatch)
    search, reports = ray._search, list[str]()

    def unwritten(uri: str, study_id: str, folder: Path) -> Report:
        reports.append(study_id)
        return _unwritten(uri, study_id, folder)

    monkeypatch.setattr("study.run.conduct.write_report", unwritten)

    def deleting(*arguments: Any, **more: Any) -> None:
        search(*arguments, **more)
        if [name for name, _ in ray.events].count("search") == 1:
            _client().delete_experiment(_experiment())

    arguments = ["--search", "tiny", "--data", str(phantom)]
    with monkeypatch.context() as patch:
        patch.setattr("study.run.rounds.run_round", deleting)
        assert main(arguments) == 5
    told = capsys.readouterr()
    assert told.err.startswith("Stopped: the tracking store refused the selection of standalone-1 and standalone-2")
    assert told.out.count("WARNING: the tracking store refused an entry") == 1
    kinds = [event["event"] for event in _events(place)]
    assert not reports and kinds.count("ended") == 2 and not {"opened", "delivered"} & set(kinds)
    (error,) = study_run._errors(capsys, *arguments)
    _client().restore_experiment(error.rpartition(" ")[2])

    log_file = StudyTracker.log_file

    def refusing(tracker: Any, run_id: str, path: Path, folder: str = "") -> None:
        if folder == "model" and "standalone-2" in str(path):
            raise MlflowException.invalid_parameter_value("no such artifact")
        log_file(tracker, run_id, path, folder)

    with monkeypatch.context() as patch:  # a trial's model is refused, but the test is opened and reported
        patch.setattr(StudyTracker, "log_file", refusing)
        assert main(arguments) == 5
    told = capsys.readouterr()
    assert "the tracking store refused 1 entry, which the same command writes again" in told.err
    assert "no such artifact. The report has what the store holds. Nothing is lost. To resume: python" in told.err
    assert len(reports) == 1
    kinds = [event["event"] for event in _events(place)]
    assert kinds.count("tested") == 2 and "delivered" not in kinds
    assert main(arguments) == 0
    assert _events(place)[-1]["event"] == "delivered"
    assert all("model/model.pt" in files for key, (*_, files, _, _) in _held().items() if key[0] == "trial")
    assert [name for name, _ in ray.events].count("search") == 2
    capsys.readouterr()

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "report.html")

    monkeypatch.setattr("study.run.conduct.write_report", failing)
    assert main(arguments) == 5
    assert "Stopped: [Errno 5] Input/output error: 'report.html'. Nothing is lost" in capsys.readouterr().err

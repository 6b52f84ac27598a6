"""Writing to MLflow: runs in runs, nothing left RUNNING, and a store that fails costs nothing but its records."""

import io
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from jointnet.faults import SettingsFaultError
from jointnet.settings import Settings, with_values
from study.progress import ArmProgress, StudyProgress
from study.recorder import ArmRecorder
from study.store_layout import EARLY, EXPERIMENT, INTERRUPTED, TIME_BUDGET
from study.tracking import StudyTracker, resolve_tracking_uri, ui_command
from study.trial import ArmTask


def _recorder(tracker: StudyTracker, folder: Path, epochs: int = 2) -> tuple[ArmRecorder, io.StringIO]:
    settings = with_values(Settings(), {"model.name": "joint", "training.epochs": epochs})
    task = ArmTask("joint-2", settings, (), (), 0, "cpu", 1, folder)
    text = io.StringIO()
    progress = StudyProgress({"joint-2": ArmProgress("joint-2", 4, 4, 60)}, 0, Console(file=text, width=200))
    run = tracker.begin_arm("joint-2", {"model": "joint", "split": "2/1/1"})
    return ArmRecorder(task, run, {"arm": "joint-2", "model": "joint"}, tracker, progress), text


def _runs(uri: str, study: str) -> dict:
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == EXPERIMENT]
    found = client.search_runs([experiment.experiment_id], f"tags.`study.id` = '{study}'")
    return {run.data.tags.get("trial.id") or run.data.tags["study.kind"]: run for run in found}


def test_trials_are_in_their_arm_and_the_arm_in_its_study(uri: str, tmp_path: Path):
    with StudyTracker(uri, "s1", {"seed": "0", "git.commit": "abc"}) as tracker:
        recorder, _ = _recorder(tracker, tmp_path)
        recorder.started("t1", {"lambda_2_to_1": 2.0, "lambda_3_to_1": 1.0, "alpha": 0.25})
        recorder.reported("t1", 1, {"train/loss": 3.0, "val/registration_ratio": 0.9}, 0.9, 1)
        recorder.reported("t1", 2, {"train/loss": 2.0, "val/registration_ratio": float("inf")}, 0.9, 1)
        recorder.reported("t1", 2, {"train/loss": 9.0}, 0.1, 2)  # a restart repeats an epoch: it counts once
        recorder.ended("t1")
        recorder.started("t2", {"alpha": 0.5})
        recorder.failed("t2", "TrainingDivergedError: NaN")
        recorder.started("t3", {"alpha": 0.5})
        recorder.reported("t3", 1, {"train/loss": 1.0}, 0.95, 1)
        recorder.ended("t3")
        recorder.started("t4", {"alpha": 0.5})
        recorder.close(TIME_BUDGET)
        recorder.started("t5", {"alpha": 0.5})
        recorder.close(INTERRUPTED)
    runs = _runs(uri, "s1")
    study, arm, trial = runs["study"], runs["arm"], runs["t1"]
    assert "mlflow.parentRunId" not in arm.data.tags
    assert arm.data.tags["study.id"] == study.data.tags["study.id"]
    assert {run.data.tags["mlflow.parentRunId"] for name, run in runs.items() if name.startswith("t")} == {
        arm.info.run_id
    }
    params = trial.data.params
    assert [float(params[f"lambda_{k}"]) for k in (1, 2, 3)] == pytest.approx([0.25, 0.5, 0.25])
    assert (params["alpha"], params["lambda_2_to_1"], params["model"]) == ("0.25", "2.0", "joint")
    client = MlflowClient(uri)
    history = client.get_metric_history(trial.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 3.0), (2, 2.0)]
    assert trial.data.metrics["val/registration_ratio"] == 0.9  # the infinite one is left out
    assert {run.data.tags["git.commit"] for run in runs.values()} == {"abc"}
    assert [item.path for item in client.list_artifacts(trial.info.run_id)] == ["settings.json"]
    states = {name: (run.info.status, run.data.tags.get("trial.state")) for name, run in runs.items()}
    assert states == {
        "study": ("FINISHED", None),
        "arm": ("FINISHED", None),
        "t1": ("FINISHED", "complete"),
        "t2": ("FAILED", "failed"),
        "t3": ("FINISHED", "stopped"),
        "t4": ("KILLED", "stopped"),
        "t5": ("KILLED", "interrupted"),
    }
    assert [runs[name].info.run_name for name in ("t1", "t5")] == ["joint-2 trial 1", "joint-2 trial 5"]
    notes = {name: run.data.tags.get("mlflow.note.content", "") for name, run in runs.items()}
    assert "Best val/registration_ratio 0.9000 in epoch 1 of 2. Ended: complete." in notes["t1"]
    assert notes["t2"].endswith("alpha 0.5. No validation. Ended: failed: TrainingDivergedError: NaN.")
    assert notes["t3"].endswith("Ended: stopped early by ASHA.")
    assert notes["t4"].endswith("Ended: cut short by the time budget.")
    assert notes["t5"].endswith("Ended: interrupted.")
    assert runs["t2"].data.tags["trial.reason"] == "TrainingDivergedError: NaN"
    assert (runs["t3"].data.tags["trial.reason"], runs["t4"].data.tags["trial.reason"]) == (EARLY, TIME_BUDGET)


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_no_run_stays_running_when_the_driver_ends(error: type, status: str, uri: str, tmp_path: Path):
    study = f"s2-{status}"
    with pytest.raises(error), StudyTracker(uri, study, {}) as tracker:
        recorder, _ = _recorder(tracker, tmp_path)
        recorder.started("t1", {"alpha": 0.5})
        raise error
    assert {run.info.status for run in _runs(uri, study).values()} == {status}


def test_a_trial_that_starts_again_keeps_its_run(uri: str, tmp_path: Path):
    with StudyTracker(uri, "s3", {}) as tracker:
        recorder, _ = _recorder(tracker, tmp_path)
        recorder.started("t1", {"alpha": 0.5})
        first = recorder.outcomes["t1"].run_id
        recorder.started("t1", {"alpha": 0.5})
        assert recorder.outcomes["t1"].run_id == first
        tracker._trials.clear()  # as in a driver that was restarted
        recorder.started("t1", {"alpha": 0.5})
        assert recorder.outcomes["t1"].run_id == first
    assert len(_runs(uri, "s3")) == 3


def test_a_store_that_fails_is_said_once_and_the_search_goes_on(uri: str, tmp_path: Path, monkeypatch):
    with StudyTracker(uri, "s4", {}) as tracker:
        recorder, text = _recorder(tracker, tmp_path)
        monkeypatch.setattr(tracker, "trial_run", lambda *a: (_ for _ in ()).throw(OSError("no space left")))
        for name in ("t1", "t2"):
            recorder.started(name, {"alpha": 0.5})
            recorder.reported(name, 1, {"train/loss": 1.0}, 0.9, 1)
        recorder.close(TIME_BUDGET)
    assert text.getvalue().count("no space left") == 1
    assert [outcome.objective for outcome in recorder.outcomes.values()] == [0.9, 0.9]


def test_openings_are_counted_and_never_reset(uri: str):
    with StudyTracker(uri, "s5", {}) as tracker:
        arm = tracker.begin_arm("joint-2", {})
        assert [tracker.count_opening(arm), tracker.count_opening(arm)] == [1, 2]
    assert _runs(uri, "s5")["arm"].data.tags["test.openings"] == "2"


def test_the_store_is_absolute_and_mlflows_own_variable_is_honoured(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_tracking_uri() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own/store.db")
    assert resolve_tracking_uri() == f"sqlite:///{tmp_path}/own/store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve_tracking_uri() == "http://server:5000" == ui_command("http://server:5000")
    for refused in ("mlruns", "file:///mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", refused)
        with pytest.raises(SettingsFaultError, match="must be sqlite"):
            resolve_tracking_uri()


def test_a_store_that_does_not_open_is_a_fault_of_the_settings(tmp_path: Path):
    (tmp_path / "store.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(SettingsFaultError, match="must be a store that opens, got 'sqlite:///"):
        StudyTracker(f"sqlite:///{tmp_path}/store.db", "s6", {})

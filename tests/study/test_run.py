"""The command: its faults, and a whole study with the search stubbed, to see when the test patients are opened."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import study.conduct
from jointnet.folder import PatientFiles
from jointnet.phantom import write_phantom
from study.recorder import ArmRecorder
from study.run import main
from study.store_layout import EXPERIMENT, INTERRUPTED, default_tracking_uri
from study.trial import ArmTask, TrialSpec, run_trial

TINY = """
question = "Does it run?"
models = ["standalone"]
phantom_patients = 5
splits = ["1/1/1", "2/1/1"]
[fixed]
"model.widths" = [4, 4]
"training.downsampling" = 4
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[parameters.alpha]
low = 0.0
high = 1.0
scale = "linear"
why = "all of it"
[fidelity]
max_epochs = 1
grace_epochs = 1
reduction_factor = 2
[budget]
num_samples = 1
"""


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, patients=5, seed=0)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: str) -> Path:
    """Give a working directory with an empty store and a search space `tiny`."""
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces/tiny.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("JOINTNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path


def _faults(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> list[str]:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.splitlines()


def test_faults_of_options_and_spaces_come_together(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    options = ("--num-samples", "0", "--seed", "-1", "--splits", "2/2", "--settings", "x")
    found = _faults(capsys, "--search", "tiny", "none", *options)
    assert [fault.split(":")[0] for fault in found] == [
        "--num-samples",
        "--seed",
        "--settings",
        "--search",
        "--splits",
        "MLFLOW_TRACKING_URI",
    ]
    assert found[0] == "--num-samples: must be at least 1, got 0"
    assert not (place / "runs").exists()


def test_faults_of_the_cluster_come_with_the_others_and_name_what_there_is(place: Path, capsys, monkeypatch):
    found = _faults(capsys, "--search", "none", "--cpus-per-trial", "4096", "--out", "s3://bucket/runs")
    assert [fault.split(":")[0] for fault in found] == ["--out", "--search", "--cpus-per-trial, --gpus-per-trial"]
    assert "must be a folder" in found[0] and "got 4096 CPU and 0 GPU (1 node of" in found[2]
    (fault,) = _faults(capsys, "--search", "tiny", "--address", "127.0.0.1:1")
    assert fault.startswith("--address: a cluster must listen there, got 127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:1")
    (fault,) = _faults(capsys, "--search", "tiny")
    assert fault.startswith("--address: a cluster must listen there, got ray://127.0.0.1:1")


def test_a_submitted_job_must_say_where_its_results_are_kept(place: Path, capsys, monkeypatch):
    job = place / "runtime_resources/working_dir_files/_ray_pkg_1"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    found = _faults(capsys, "--search", str(place / "search_spaces/tiny.toml"))
    assert [fault.split(":")[0] for fault in found] == ["--out", "MLFLOW_TRACKING_URI"]


def test_splits_that_need_more_patients_are_refused_with_some_that_fit(place: Path, phantom: Path, capsys):
    (fault,) = _faults(capsys, "--search", "tiny", "--data", str(phantom), "--splits", "25/15/5")
    assert "at most the 5 patients" in fault and fault.endswith("try --splits 2/2/1 3/1/1")


def test_a_missing_folder_is_a_fault_of_the_data(place: Path, capsys: pytest.CaptureFixture[str]):
    (fault,) = _faults(capsys, "--search", "tiny", "--data", "nowhere", status=3)
    assert "nowhere" in fault


def test_a_damaged_test_patient_is_found_before_hours_of_search(place: Path, phantom: Path, tmp_path: Path, capsys):
    shutil.copytree(phantom, tmp_path / "scans")
    damaged = sorted((tmp_path / "scans").rglob("patient*.nii.gz"))
    for path in damaged:
        path.write_bytes(b"no scan")
    found = _faults(capsys, "--search", "tiny", "--data", str(tmp_path / "scans"), status=3)
    assert len(found) >= len(damaged)


class _NoRay:
    """Stands in for Ray: runs an arm's trials in this process and notes who sees which patients."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Any]] = []
        self.raising: BaseException | None = None
        self.failing: set[str] = set()
        prepare, log_json = study.conduct.prepare, study.conduct.StudyTracker.log_json

        def noted_prepare(files: list[PatientFiles], cache: Path, progress: Any = None) -> Any:
            self.events.append(("prepare", [item.patient for item in files]))
            return prepare(files, cache, progress)

        def noted_log(tracker: Any, run: str, name: str, content: Any) -> None:
            self.events.append((name, content))
            log_json(tracker, run, name, content)

        monkeypatch.setattr(study.conduct, "ray_session", lambda address: nullcontext())
        monkeypatch.setattr(study.conduct, "search_arm", self._search)
        monkeypatch.setattr(study.conduct, "prepare", noted_prepare)
        monkeypatch.setattr("study.sealed_test.prepare", noted_prepare)
        monkeypatch.setattr(study.conduct.StudyTracker, "log_json", noted_log)

    def _search(self, task: ArmTask, space: Any, resources: Any, recorder: ArmRecorder, *rest: Any) -> None:
        self.events.append(("search", [p.patient for p in (*task.training, *task.validation)]))
        recorder.started("t1", {"alpha": 0.5})
        try:
            if self.raising:
                raise self.raising
            if task.arm in self.failing:
                recorder.failed("t1", "TrainingDivergedError: NaN")
                return
            last = run_trial(TrialSpec(task, "t1", {"alpha": 0.5}))
            recorder.reported("t1", 1, last.metrics, last.objective, last.best_epoch)
            recorder.ended("t1")
        finally:
            recorder.close(INTERRUPTED)


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


def test_an_arm_without_a_finished_trial_gives_status_4_and_the_others_a_report(
    place: Path, phantom: Path, monkeypatch, capsys
):
    ray = _NoRay(monkeypatch)
    ray.failing = {"standalone-1"}
    assert main(["--search", "tiny", "--data", str(phantom)]) == 4
    captured = capsys.readouterr()
    assert "standalone-1: at least one trial must end" in captured.err and "standalone-2" in captured.out
    ray.failing = {"standalone-1", "standalone-2"}
    before = len(ray.events)
    assert main(["--search", "tiny", "--data", str(phantom)]) == 4
    assert [name for name, _ in ray.events[before:]].count("prepare") == 1  # the test patients stay sealed


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "KILLED"), (RuntimeError("driver"), "FAILED")])
def test_no_run_stays_running_whatever_ends_the_driver(
    error, status: str, place: Path, phantom: Path, monkeypatch, capsys
):
    ray = _NoRay(monkeypatch)
    ray.raising = error
    arguments = ["--search", "tiny", "--data", str(phantom)]
    if status == "KILLED":
        assert main(arguments) == 130
        assert "Interrupted" in capsys.readouterr().err
    else:
        with pytest.raises(RuntimeError, match="driver"):
            main(arguments)
    by_kind = {run.data.tags["study.kind"]: run.info.status for run in _runs()}
    assert by_kind == {"study": status, "arm": status, "trial": "KILLED"}

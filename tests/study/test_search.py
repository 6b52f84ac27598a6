"""The search of an arm with a real Ray on this machine, with trainings as small as they get."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import ray as ray_module
from cohort import cached_patients
from mlflow import MlflowClient
from ray import tune
from rich.console import Console

from jointnet.settings import Settings, with_values
from jointnet.training import TrainingDivergedError
from study.plan import Resources
from study.progress import ArmProgress, StudyProgress
from study.recorder import ArmRecorder, TrialOutcome
from study.search import distributions, reason_of, search_arm
from study.selection import select_best
from study.space import Budget, Fidelity, Objective, Parameter, SearchSpace
from study.store_layout import EARLY, INTERRUPTED, TIME_BUDGET
from study.tracking import StudyTracker
from study.trial import ArmTask

ALPHA = Parameter("alpha", 0.0, 1.0, "linear", "all of it", ("standalone",))
TINY = with_values(
    Settings(),
    {
        "model.name": "standalone",
        "model.widths": [4, 4],
        "training.downsampling": 4,
        "training.validate_every": 1,
    },
)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE_CPU = Resources(2, 1.0, 0.0, "cpu")


def _space(samples: int, epochs: int) -> SearchSpace:
    base = with_values(TINY, {"training.epochs": epochs})
    fidelity, budget = Fidelity(epochs, min(2, epochs), 2), Budget(samples, None)
    return SearchSpace("own", "?", ("standalone",), "default", base, {}, Objective(), (ALPHA,), fidelity, budget)


def _search(
    tracker: StudyTracker,
    folder: Path,
    space: SearchSpace,
    arm: str,
    seconds: float | None = None,
    broken: bool = False,
) -> tuple[list[TrialOutcome], str]:
    patients = cached_patients(folder / f"cache-{arm}", 3)
    if broken:
        (patients[0].path / "images.npy").write_bytes(b"damaged")
    settings = space.settings_of("standalone")
    task = ArmTask(arm, settings, tuple(patients[:2]), tuple(patients[2:]), 0, "cpu", 1, folder / arm)
    text = io.StringIO()
    progress = StudyProgress({arm: ArmProgress(arm, 2, 4, 60)}, 0, Console(file=text))
    recorder = ArmRecorder(task, tracker.begin_arm(arm, {}), {"arm": arm}, tracker, progress)
    progress.arm_started(arm, seconds)
    search_arm(task, space, ONE_CPU, recorder, folder / "tune", seconds)
    return list(recorder.outcomes.values()), text.getvalue()


@pytest.mark.slow
def test_two_trials_are_searched_recorded_and_selected_from(ray: None, uri: str, tmp_path: Path):
    with StudyTracker(uri, "good", {}) as tracker:
        outcomes, _ = _search(tracker, tmp_path, _space(2, 2), "standalone-2")
    assert [outcome.state for outcome in outcomes] == ["complete", "complete"]
    assert len({outcome.sample["alpha"] for outcome in outcomes}) == 2
    chosen = select_best("standalone-2", outcomes, NOW)
    assert chosen.model.is_file() and chosen.model.is_relative_to(tmp_path / "standalone-2" / chosen.trial.trial_id)
    client = MlflowClient(uri)
    for outcome in outcomes:
        run = client.get_run(str(outcome.run_id))
        assert run.info.status == "FINISHED"
        assert float(run.data.params["alpha"]) == outcome.sample["alpha"]
        assert run.data.tags["trial.node"] == ray_module.util.get_node_ip_address()
        history = client.get_metric_history(run.info.run_id, "val/registration_ratio")
        assert [point.step for point in history] == list(range(1, outcome.epoch + 1))
        assert min(point.value for point in history) == outcome.objective
        assert [item.path for item in client.list_artifacts(run.info.run_id, "model")] == ["model/model.pt"]


@pytest.mark.slow
def test_a_trial_that_raises_fails_alone_with_its_reason(ray: None, uri: str, tmp_path: Path):
    with StudyTracker(uri, "broken", {}) as tracker:
        outcomes, said = _search(tracker, tmp_path, _space(2, 2), "standalone-3", broken=True)
    assert [outcome.state for outcome in outcomes] == ["failed", "failed"]  # the second was tried all the same
    run = MlflowClient(uri).get_run(str(outcomes[0].run_id))
    assert run.info.status == "FAILED" and run.data.tags["trial.state"] == "failed"
    assert run.data.tags["trial.reason"].startswith("ValueError: ")
    assert "failed: ValueError: " in " ".join(said.split())


class _FakeTuner:
    """Stands in for `tune.Tuner`: tells the callbacks of two trials and returns while the second still runs."""

    def __init__(self, trainable: object, *, tune_config: tune.TuneConfig, run_config: tune.RunConfig) -> None:
        self.budget = tune_config.time_budget_s
        (self.callback,) = run_config.callbacks or []

    def fit(self) -> None:
        first, second = (SimpleNamespace(trial_id=name, config={"alpha": 0.5}) for name in ("t1", "t2"))
        epochs = [{"epoch": 1, "metrics": {"train/loss": 1.0}}]
        epoch = {"epoch": 1, "objective": 0.9, "best_epoch": 1, "epochs": epochs}
        for trial in (first, second):
            self.callback.on_trial_start(0, [], trial)
            self.callback.on_trial_result(0, [], trial, epoch)
        self.callback.on_trial_complete(0, [], first)
        assert self.budget in (None, 60)
        _FakeClock.now += self.budget or 1


class _FakeClock:
    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


@pytest.mark.parametrize(("seconds", "ended"), [(60, ("stopped", TIME_BUDGET)), (None, ("interrupted", INTERRUPTED))])
def test_what_still_runs_at_the_end_is_told_apart_from_what_asha_stopped(
    seconds, ended: tuple[str, str], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("study.search.tune.Tuner", _FakeTuner)
    monkeypatch.setattr("study.search.time", _FakeClock)
    with StudyTracker(uri, f"late-{seconds}", {}) as tracker:
        outcomes, _ = _search(tracker, tmp_path, _space(2, 2), "standalone-4", seconds=seconds)
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [("stopped", EARLY), ended]
    statuses = [MlflowClient(uri).get_run(str(outcome.run_id)).info.status for outcome in outcomes]
    assert statuses == ["FINISHED", "KILLED"]


@pytest.mark.slow
def test_the_time_budget_ends_a_search_that_would_never_end(ray: None, uri: str, tmp_path: Path):
    """However far the trials came: a busy machine may not even have started them."""
    space = replace(_space(2, 100_000), fidelity=Fidelity(100_000, 100_000, 2))
    with StudyTracker(uri, "never", {}) as tracker:
        outcomes, _ = _search(tracker, tmp_path, space, "standalone-5", seconds=4)
    assert {(outcome.state, outcome.reason) for outcome in outcomes} <= {("stopped", TIME_BUDGET)}
    assert all(outcome.model is not None for outcome in outcomes if outcome.epoch)


def test_parameters_become_optunas_distributions():
    rate = Parameter("optimiser.learning_rate", 1e-4, 1e-2, "log", "?", ("joint",))
    steps = Parameter("model.guide_steps", 1, 8, "linear", "?", ("joint",))
    assert distributions((ALPHA, rate, steps)) == {
        "alpha": optuna.distributions.FloatDistribution(0.0, 1.0),
        "optimiser.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
        "model.guide_steps": optuna.distributions.IntDistribution(1, 8),
    }


def test_a_reason_is_one_line_without_rays_wrapping():
    wrapped = RuntimeError("ray::_trainable() ... Traceback")
    wrapped.cause = TrainingDivergedError("the loss must be\nfinite")  # type: ignore[attr-defined]
    assert reason_of(wrapped) == "TrainingDivergedError: the loss must be finite"
    assert reason_of(None) == "ended without a word"

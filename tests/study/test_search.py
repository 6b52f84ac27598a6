"""The search of an arm with a real Ray on this machine, with trainings as small as they get."""

import io
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import optuna
import pytest
from cohort import cached_patients
from mlflow import MlflowClient
from rich.console import Console

from jointnet.faults import SettingsFaultError
from jointnet.settings import Settings, with_values
from jointnet.training import TrainingDivergedError
from study.plan import Resources
from study.progress import ArmProgress, StudyProgress
from study.recorder import TIME_BUDGET, ArmRecorder, TrialOutcome
from study.search import check_resources, distributions, ray_session, reason_of, search_arm
from study.selection import select_best
from study.space import Budget, Fidelity, Objective, Parameter, SearchSpace
from study.tracking import StudyTracker
from study.trial import ArmTask

ALPHA = Parameter("alpha", 0.0, 1.0, "linear", "all of it", ("standalone",))
TINY = with_values(Settings(), {"model.name": "standalone", "model.widths": [4, 4], "training.downsampling": 4})
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ONE_CPU = Resources(2, 1.0, 0.0, "cpu")


def _space(samples: int, epochs: int) -> SearchSpace:
    base = with_values(TINY, {"training.epochs": epochs})
    fidelity, budget = Fidelity(epochs, min(2, epochs), 2), Budget(samples, None)
    return SearchSpace("own", "?", ("standalone",), "default", base, {}, Objective(), (ALPHA,), fidelity, budget)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def ray(uri: str) -> Iterator[None]:
    with ray_session(uri):
        yield


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
        np.save(patients[0].path / "images.npy", np.full_like(patients[0].images(), math.inf))
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
        history = client.get_metric_history(run.info.run_id, "val/registration_ratio")
        assert [point.step for point in history] == list(range(1, outcome.epoch + 1))
        assert min(point.value for point in history) == outcome.objective
        assert [item.path for item in client.list_artifacts(run.info.run_id, "model")] == ["model/model.pt"]


@pytest.mark.slow
def test_a_trial_that_diverges_fails_alone_with_its_reason(ray: None, uri: str, tmp_path: Path):
    with StudyTracker(uri, "broken", {}) as tracker:
        outcomes, said = _search(tracker, tmp_path, _space(2, 2), "standalone-3", broken=True)
    assert [outcome.state for outcome in outcomes] == ["failed", "failed"]  # the second was tried all the same
    run = MlflowClient(uri).get_run(str(outcomes[0].run_id))
    assert run.info.status == "FAILED" and run.data.tags["trial.state"] == "failed"
    assert run.data.tags["trial.reason"].startswith("TrainingDivergedError: the loss must be finite")
    assert "failed: TrainingDivergedError" in " ".join(said.split())


@pytest.mark.slow
def test_trials_that_the_time_budget_ends_are_told_apart_and_can_be_selected(ray: None, uri: str, tmp_path: Path):
    space = replace(_space(2, 100_000), fidelity=Fidelity(100_000, 100_000, 2))
    outcomes: list[TrialOutcome] = []
    for seconds in (10, 40):  # a busy machine may take more than the first to start a trial
        with StudyTracker(uri, f"late-{seconds}", {}) as tracker:
            outcomes, _ = _search(tracker, tmp_path / str(seconds), space, "standalone-4", seconds=seconds)
        if any(outcome.epoch for outcome in outcomes):
            break
    assert {(outcome.state, outcome.reason) for outcome in outcomes} == {("stopped", TIME_BUDGET)}
    assert {MlflowClient(uri).get_run(str(o.run_id)).info.status for o in outcomes} == {"KILLED"}
    reported = [outcome for outcome in outcomes if outcome.epoch]
    assert all(outcome.model is not None for outcome in reported)
    assert select_best("standalone-4", outcomes, NOW).candidates == len(reported)


@pytest.mark.slow
def test_what_no_node_has_is_refused_instead_of_waited_for(ray: None):
    check_resources(ONE_CPU)
    with pytest.raises(SettingsFaultError, match="got 4096 CPU and 0 GPU"):
        check_resources(Resources(1, 4096, 0, "cpu"))


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

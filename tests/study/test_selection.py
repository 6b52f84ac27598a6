"""The choice of a trial: the smallest objective among those that ended with a model."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from study.recorder import TrialOutcome
from study.selection import NoFinishedTrialError, select_best
from study.store_layout import EARLY, TIME_BUDGET

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _trial(name: str, objective: float | None, state: str = "complete", reason: str = "", **other) -> TrialOutcome:
    model = other.pop("model", Path(f"/{name}/model.pt"))
    metrics = {"val/registration_ratio": objective, "train/loss": 1.0} if objective is not None else {}
    return TrialOutcome(
        name, {"alpha": 0.5}, Path(f"/{name}"), f"run-{name}", state, reason, objective, 3, 5, metrics, model
    )


def test_the_smallest_objective_wins_also_where_it_was_stopped_early():
    trials = [_trial("a", 0.8), _trial("b", 0.6, "stopped", EARLY), _trial("c", 0.7)]
    chosen = select_best("joint-25", trials, NOW)
    assert (chosen.trial.trial_id, chosen.candidates, chosen.remarks) == ("b", 3, ())
    assert chosen.as_dict() == {
        "arm": "joint-25",
        "metric": "val/registration_ratio",
        "trial_id": "b",
        "run_id": "run-b",
        "objective": 0.6,
        "epoch": 3,
        "parameters": {"alpha": 0.5},
        "candidates": 3,
        "remarks": [],
        "frozen_at": "2026-01-02T00:00:00+00:00",
        "validation": {"val/registration_ratio": 0.6},
    }


def test_failed_running_and_modelless_trials_are_no_candidates_and_are_told():
    trials = [
        _trial("a", 0.8),
        _trial("b", 0.1, "failed", "diverged"),
        _trial("c", 0.2, "running"),
        _trial("d", 0.3, model=None),
        _trial("e", None, "stopped", TIME_BUDGET),
        _trial("f", 0.9, "stopped", TIME_BUDGET),
    ]
    chosen = select_best("a-1", trials, NOW)
    assert chosen.trial.trial_id == "a" and chosen.candidates == 2
    assert chosen.remarks == (
        "1 of 6 trials failed",
        "1 of 6 trials still running",
        "2 of 6 trials cut short by the time budget",
        "2 of 6 trials ended without a model",
    )


def test_equal_objectives_go_to_the_first_by_id():
    assert select_best("a-1", [_trial("b", 0.5), _trial("a", 0.5)], NOW).trial.trial_id == "a"


@pytest.mark.parametrize("trials", [[], [_trial("a", 0.5, "failed")], [_trial("a", float("nan"))]])
def test_no_candidate_is_refused(trials: list[TrialOutcome]):
    with pytest.raises(NoFinishedTrialError, match="joint-25: at least one trial must end"):
        select_best("joint-25", trials, NOW)

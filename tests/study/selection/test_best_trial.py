"""The selection of a trial: the smallest objective among the trials that ended with a model."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from outcomes import outcome
from simulation import DICE

from jointnet.train.objective import Objective
from study.search.outcome import NoFinishedTrialError, TrialOutcome
from study.selection.best_trial import select_best
from study.store_names import EARLY, TIME_BUDGET

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _trial(number: int, objective, state: str = "complete", reason: str = "", **other) -> TrialOutcome:
    values = [None, None, objective, None, None]
    model = other.pop("model", Path(f"/{number}/model.pt"))
    return outcome(number, values, state, reason, model=model, **other)


def test_the_smallest_objective_wins_also_where_it_was_stopped_early():
    trials = [_trial(1, 0.8), _trial(2, 0.6, "stopped", EARLY), _trial(3, 0.7)]
    chosen = select_best("joint-25", trials, 3, NOW)
    assert (chosen.trial.trial_id, chosen.candidates, chosen.remarks) == ("t0002", 3, ())
    assert chosen.as_dict() == {
        "arm": "joint-25",
        "metric": "val/registration_ratio",
        "trial_id": "t0002",
        "objective": 0.6,
        "epoch": 3,
        "parameters": {"alpha": 0.5},
        "candidates": 3,
        "remarks": [],
        "frozen_at": "2026-01-02T00:00:00+00:00",
        "validation": {"val/registration_ratio": 0.6},
    }


def test_where_high_values_are_good_the_largest_wins_under_its_name():
    trials = [_trial(number, value, ranked_by=DICE) for number, value in enumerate([0.7, 0.9, 0.8], start=1)]
    chosen = select_best("joint-25", trials, 3, NOW).as_dict()
    assert (chosen["trial_id"], chosen["metric"], chosen["objective"]) == ("t0002", "val/dice/lv", 0.9)


def test_of_several_metrics_the_first_selects_and_the_front_is_recorded():
    own = Objective("val/lost", further=(DICE,))
    values = [(1.0, 0.9), (0.0, 0.5), (0.0, 0.7), (2.0, 0.8), (1.0, 0.95), (0.0, 0.99)]
    trials = [_trial(number, value, ranked_by=own) for number, value in enumerate(values, start=1)]
    trials[-1] = replace(trials[-1], state="failed")
    chosen = select_best("joint-25", trials, 6, NOW)
    assert chosen.trial.trial_id == "t0003"  # of equal ones the better by Dice: it is on the front
    assert chosen.as_dict()["front"] == ["t0003", "t0005"] and chosen.as_dict()["objective"] == 0.0
    trials[2] = _trial(3, (0.0, math.nan), ranked_by=own)
    chosen = select_best("joint-25", trials, 6, NOW)
    assert (chosen.trial.trial_id, chosen.front) == ("t0002", ("t0002", "t0005"))


def test_failed_running_and_modelless_trials_are_no_candidates_and_are_named():
    trials = [
        _trial(1, 0.8),
        _trial(2, 0.1, "failed", "diverged"),
        _trial(3, 0.2, "running"),
        _trial(4, 0.3, model=None),
        _trial(5, None, "stopped", TIME_BUDGET),
        _trial(6, 0.9, "stopped", TIME_BUDGET),
    ]
    chosen = select_best("a-1", trials, 9, NOW)
    assert chosen.trial.trial_id == "t0001" and chosen.candidates == 2
    assert chosen.remarks == (
        "1 of 9 trials failed",
        "1 of 9 trials still running",
        "2 of 9 trials stopped by the time budget",
        "2 of 9 trials ended without a model",
        "3 of 9 trials never started",
    )


def test_fewer_trials_than_there_are_may_be_planned():
    assert select_best("a-1", [_trial(1, 0.5), _trial(2, 0.4)], 1, NOW).remarks == ()


def test_equal_objectives_go_to_the_first_by_id():
    assert select_best("a-1", [_trial(2, 0.5), _trial(1, 0.5)], 2, NOW).trial.trial_id == "t0001"


@pytest.mark.parametrize("trials", [[], [_trial(1, 0.5, "failed")], [_trial(1, float("nan"))]])
def test_no_candidate_is_refused(trials: list[TrialOutcome]):
    with pytest.raises(NoFinishedTrialError, match="joint-25: at least one trial must end"):
        select_best("joint-25", trials, 3, NOW)

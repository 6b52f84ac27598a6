"""The outcome of a trial from its events."""

import math
from pathlib import Path

import pytest
from outcomes import outcome

from study.search.outcome import after, trial_name
from study.store_names import EARLY, TIME_BUDGET

DRAWN = {"event": "drawn", "trial": "t0001", "number": 1, "sample": {"alpha": 0.5}}


def epoch(number: int, value: float, pruned: bool = False, key: str = "pruned") -> dict:
    metrics = {"val/registration_ratio": value}
    return {
        "event": "epoch",
        "trial": "t0001",
        "epoch": number,
        "at_ms": number,
        "metrics": metrics,
        key: pruned,
        "node": "",
    }


def ended(state: str, reason: str = "", model: str | None = None) -> dict:
    return {"event": "ended", "trial": "t0001", "state": state, "reason": reason, "model": model}


def outcome_of(*events: dict):
    known = None
    for event in (DRAWN, *events):
        known = after(known, event, Path("/study"))
    return known


@pytest.mark.parametrize(
    ("values", "objective", "best_epoch", "history"),
    [
        ([], None, 0, {}),
        ([None, None], None, 0, {}),
        ([None, 0.9, None, 0.7, 0.8], 0.7, 4, {2: 0.9, 3: 0.9, 4: 0.7, 5: 0.7}),
        ([0.5, 0.5], 0.5, 1, {1: 0.5, 2: 0.5}),
        ([math.nan, math.inf, 0.6], 0.6, 3, {3: 0.6}),
    ],
)
def test_the_objective_is_the_least_finite_value_so_far(values, objective, best_epoch, history):
    trial = outcome(1, values)
    assert (trial.objective, trial.best_epoch, trial.history) == (objective, best_epoch, history)
    assert trial.epoch == len(values)
    assert (trial.metrics.get("val/registration_ratio")) == objective


@pytest.mark.parametrize("key", ["pruned", "behind"])  # `behind` in the ledgers of older studies
def test_a_trial_follows_its_events(key):
    trial = outcome_of(epoch(1, 0.9, key=key), epoch(2, 0.8, True, key))
    assert (trial.state, trial.epoch, trial.pruned, trial.is_final) == ("running", 2, True, False)
    trial = outcome_of(epoch(1, 0.9), ended("stopped", EARLY, "arm/t0001/best/model.pt"))
    assert (trial.state, trial.reason, trial.model) == ("stopped", EARLY, Path("/study/arm/t0001/best/model.pt"))
    assert trial.is_final and not trial.out_of_time


def test_what_the_time_budget_cut_may_go_on():
    cut = (epoch(1, 0.9), ended("stopped", TIME_BUDGET, "m.pt"))
    assert outcome_of(*cut).out_of_time and not outcome_of(*cut).is_final
    again = outcome_of(*cut, {"event": "continued", "trial": "t0001"})
    assert (again.state, again.reason, again.model, again.epoch) == ("running", "", None, 1)


def test_failures_count_from_the_last_epoch_on():
    failure = {"event": "failure", "trial": "t0001", "reason": "killed"}
    assert outcome_of(failure, failure).failures == 2
    assert outcome_of(failure, failure, epoch(1, 0.9)).failures == 0
    assert outcome_of(epoch(1, 0.9), failure).failures == 1


def test_an_event_of_a_trial_that_was_never_drawn_changes_nothing():
    assert after(None, epoch(1, 0.5), Path("/")) is None


def test_names_sort_like_numbers():
    names = [trial_name(number) for number in (1, 9, 10, 123, 9999)]
    assert names == sorted(names) and names[0] == "t0001"

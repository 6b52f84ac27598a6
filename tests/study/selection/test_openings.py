"""When a search is over, and when the sealed test patients are opened."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from plans import plan_of

from jointnet.train.objective import OBJECTIVE
from study.plan.plan import Plan
from study.search.space import Budget
from study.selection.openings import (
    FIRST,
    is_complete,
    is_recorded,
    is_tested,
    models_to_test,
    names_of,
    reason_to_open,
    search_is_over,
    select_all,
)
from study.store_names import EARLY, TIME_BUDGET
from study.trials.ledger import Ledger

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ARM = "joint-25"


def plan_with(samples: int, minutes: float | None = None) -> Plan:
    plan = plan_of()
    space = replace(plan.arms[0].space, budget=Budget(samples, minutes))
    return replace(plan, arms=(replace(plan.arms[0], space=space),))


def trial(ledger: Ledger, number: int, value: float, state: str = "complete", reason: str = "") -> None:
    own = {"arm": ARM, "trial": f"t{number:04}"}
    ledger.append("drawn", **own, number=number, sample={"alpha": 0.5})
    ledger.append("epoch", **own, epoch=1, metrics={OBJECTIVE: value}, pruned=False, node="")
    ledger.append("ended", **own, state=state, reason=reason, model="m.pt")


def concluded(ledger: Ledger, plan: Plan) -> str:
    """Do what a driver does after a search, and return the reason for the test evaluation."""
    selections, _ = select_all(plan, ledger, NOW)
    selection, reason = selections[ARM], ""
    models = models_to_test(plan, plan.arms[0], ledger, selection)
    own = {"arm": ARM, "trial": selection.trial.trial_id, "models": names_of(models)}
    if not is_recorded(ledger, ARM, selection):
        ledger.append("selected", arm=ARM, selection=selection.as_dict())
    if not is_tested(ledger, ARM, models):
        reason = reason_to_open(ledger, ARM, selection, models)
        if reason:
            ledger.append("opened", **own, reason=reason)
        ledger.append("tested", **own, metrics={}, fingerprint="f")
    ledger.append("delivered")
    return reason


def is_incomplete(ledger: Ledger, plan: Plan) -> bool:
    return not is_complete(plan, ledger, select_all(plan, ledger, NOW)[0])


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path) as opened:
        yield opened


def test_a_study_that_is_over_has_is_complete_until_more_is_asked_for(ledger):
    plan = plan_with(2)
    assert is_incomplete(ledger, plan)
    trial(ledger, 1, 0.9)
    trial(ledger, 2, 0.8, "stopped", EARLY)
    assert is_incomplete(ledger, plan)
    assert concluded(ledger, plan) == FIRST
    assert not is_incomplete(ledger, plan)
    assert not is_incomplete(ledger, plan_with(1))  # fewer trials require nothing
    assert is_incomplete(ledger, plan_with(3))


def test_a_selection_in_the_words_of_an_older_version_is_recorded(ledger):
    trial(ledger, 1, 0.9, "stopped", TIME_BUDGET)
    selection = select_all(plan_with(1), ledger, NOW)[0][ARM]
    assert selection.remarks == ("1 of 1 trials stopped by the time budget",)
    stored = selection.as_dict() | {"remarks": ["1 of 1 trials cut short by the time budget"]}
    ledger.append("selected", arm=ARM, selection=stored)
    assert is_recorded(ledger, ARM, selection)


def test_a_new_selection_opens_again_with_its_reason_and_an_old_one_does_not(ledger):
    trial(ledger, 1, 0.9)
    concluded(ledger, plan_with(1))
    trial(ledger, 2, 0.95)
    assert is_incomplete(ledger, plan_with(2))  # the new number of candidates must be recorded
    assert concluded(ledger, plan_with(2)) == "" and ledger.count("opened", ARM) == 1
    trial(ledger, 3, 0.5)
    assert concluded(ledger, plan_with(3)) == "after more trials t0003 is selected instead of t0001"
    assert (ledger.count("opened", ARM), ledger.count("tested", ARM)) == (2, 2)


def test_an_opening_that_was_interrupted_is_completed_without_a_second_one(ledger):
    trial(ledger, 1, 0.9)
    selection = select_all(plan_with(1), ledger, NOW)[0][ARM]
    ledger.append("selected", arm=ARM, selection=selection.as_dict())
    ledger.append("opened", arm=ARM, trial="t0001", models=[["t0001", 1]], reason=FIRST)
    models = (selection.trial,)
    assert not is_tested(ledger, ARM, models) and reason_to_open(ledger, ARM, selection, models) == ""
    assert is_incomplete(ledger, plan_with(1))


def test_an_entry_after_the_last_delivery_is_something_is_incomplete(ledger):
    trial(ledger, 1, 0.9)
    concluded(ledger, plan_with(1))
    ledger.append("session", fingerprint="f", commit="c")
    assert is_incomplete(ledger, plan_with(1))


@pytest.mark.parametrize(
    ("searched", "asked", "over"),
    [
        ((2, 5.0), (2, 5.0), True),
        ((2, 5.0), (2, 4.0), True),
        ((2, 5.0), (2, 6.0), False),
        ((2, 5.0), (2, None), False),
        ((2, 5.0), (3, 5.0), False),
        ((2, None), (2, 9.0), True),
        (None, (2, 5.0), False),
    ],
)
def test_a_search_that_time_cut_is_over_until_more_is_asked_for(ledger, searched, asked, over):
    trial(ledger, 1, 0.9, "stopped", TIME_BUDGET)
    if searched:
        ledger.append("searched", arm=ARM, num_samples=searched[0], minutes=searched[1], per_arm=False)
    assert search_is_over(plan_with(*asked).arms[0], ledger) is over


def test_arms_without_a_candidate_are_named(ledger):
    trial(ledger, 1, 0.9, "failed", "NaN")
    selections, (line,) = select_all(plan_with(2), ledger, NOW)
    assert selections == {}
    assert line == (
        "joint-25: at least one trial must end with an objective and a model, none did "
        "(1 of 2 trials failed; 1 of 2 trials never started)"
    )


@pytest.mark.parametrize(
    ("budget", "event", "over"),
    [
        (Budget(None, 5.0, True), (None, 5.0, True), True),
        (Budget(None, 6.0, True), (None, 5.0, True), False),
        (Budget(None, 5.0, True), (2, 5.0, False), False),
        (Budget(2, 5.0), (None, 5.0, True), False),
        (Budget(None, 5.0, True), None, False),
    ],
)
def test_a_search_without_a_number_of_trials_is_over_when_its_own_minutes_are(ledger, budget, event, over):
    trial(ledger, 1, 0.9, "stopped", TIME_BUDGET)
    if event:
        ledger.append("searched", arm=ARM, num_samples=event[0], minutes=event[1], per_arm=event[2])
    arm = plan_of().arms[0]
    assert search_is_over(replace(arm, space=replace(arm.space, budget=budget)), ledger) is over

"""The choice of every arm and the opening of the sealed test patients, by the ledger: once, and again for a reason.

An opening that was interrupted is completed with the same choice and is no second one. A choice changes only where
trials were added; then the arm's opening is counted again, with its reason.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from study.ledger import Ledger
from study.plan import Plan
from study.selection import NoFinishedTrialError, Selection, select_best

FIRST = "the selection of every arm is recorded"


def select_all(plan: Plan, ledger: Ledger, now: datetime) -> tuple[dict[str, Selection], list[str]]:
    """Select in every arm; give the selections by arm, and one line for each arm that has none."""
    selections: dict[str, Selection] = {}
    missing = []
    for arm in plan.arms:
        try:
            trials = ledger.outcomes(arm.name).values()
            selections[arm.name] = select_best(arm.name, trials, arm.space.budget.num_samples, now)
        except NoFinishedTrialError as error:
            missing.append(str(error))
    return selections, missing


def is_recorded(ledger: Ledger, arm: str, selection: Selection) -> bool:
    """Whether the ledger's last selection of an arm says the same, but for the moment."""
    last = ledger.last("selected", arm)
    return last is not None and _timeless(last["selection"]) == _timeless(selection.as_dict())


def reason_to_open(ledger: Ledger, arm: str, selection: Selection) -> str:
    """Give the reason to open the test patients for an arm's selection; "" where they were opened for it."""
    last = ledger.last("opened", arm)
    if last is None:
        return FIRST
    if _chosen(last) == (selection.trial.trial_id, selection.trial.best_epoch):
        return ""
    return f"after more trials {selection.trial.trial_id} is selected instead of {last['trial']}"


def is_tested(ledger: Ledger, arm: str, selection: Selection) -> bool:
    """Whether the test rows of an arm are those of this selection."""
    last = ledger.last("tested", arm)
    return last is not None and _chosen(last) == (selection.trial.trial_id, selection.trial.best_epoch)


def search_is_over(plan: Plan, ledger: Ledger, arm_name: str) -> bool:
    """Whether an arm has no trial to begin or to go on with, as far as trials and minutes are asked for."""
    (arm,) = (arm for arm in plan.arms if arm.name == arm_name)
    budget, outcomes = arm.space.budget, ledger.outcomes(arm_name)
    if len(outcomes) >= budget.num_samples and all(outcome.over for outcome in outcomes.values()):
        return True
    last = ledger.last("searched", arm_name)
    if last is None or last["num_samples"] < budget.num_samples:
        return False
    return _minutes(last["minutes"]) >= _minutes(budget.minutes)


def nothing_left(plan: Plan, ledger: Ledger, selections: Mapping[str, Selection]) -> bool:
    """Whether everything that is asked for was done, recorded and delivered."""
    searched = all(search_is_over(plan, ledger, arm.name) for arm in plan.arms)
    settled = all(is_recorded(ledger, arm, s) and is_tested(ledger, arm, s) for arm, s in selections.items())
    return searched and settled and bool(ledger.events) and ledger.events[-1]["event"] == "delivered"


def _chosen(event: Mapping[str, Any]) -> tuple[str, int]:
    return str(event["trial"]), int(event["epoch"])


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "frozen_at"}


def _minutes(minutes: float | None) -> float:
    return math.inf if minutes is None else minutes

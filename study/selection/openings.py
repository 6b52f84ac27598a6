"""The selection of every arm, and when its sealed test patients are opened, computed from the ledger.

Each arm is opened once. An interrupted opening is completed with the same models and is not counted again. The models
change only where trials or seeds were added. The arm is then opened again, which is counted with its reason.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from study.plan.plan import Arm, Plan
from study.search.outcome import NoFinishedTrialError, TrialOutcome
from study.selection.best_trial import Selection, is_candidate, select_best
from study.store_names import current_remark
from study.trials.ledger import Ledger
from study.trials.work import retrain_work

FIRST = "the selection of every arm is recorded"


def select_all(plan: Plan, ledger: Ledger, now: datetime) -> tuple[dict[str, Selection], list[str]]:
    """Return the selections by the arm's key, and one line for each arm without a selection."""
    selections: dict[str, Selection] = {}
    missing = []
    for arm in plan.arms:
        try:
            trials = ledger.outcomes(arm.key).values()
            selections[arm.key] = select_best(arm.key, trials, arm.budget.num_samples, now)
        except NoFinishedTrialError as error:
            missing.append(str(error))
    return selections, missing


def retrainings(plan: Plan, arm: Arm, ledger: Ledger, selection: Selection) -> tuple[TrialOutcome, ...]:
    """Return the retrainings of an arm's selected trial so far, in the order of their seeds."""
    return tuple(ledger.outcomes(retrain_work(plan, arm, selection.trial).key).values())


def retraining_is_over(plan: Plan, arm: Arm, ledger: Ledger, selection: Selection) -> bool:
    """Return whether all requested retrainings of the selected trial are over."""
    outcomes = retrainings(plan, arm, ledger, selection)
    return len(outcomes) >= plan.design.seeds and all(outcome.is_final for outcome in outcomes)


def models_to_test(plan: Plan, arm: Arm, ledger: Ledger, selection: Selection) -> tuple[TrialOutcome, ...]:
    """Return the models to test for a selection: its retrainings that ended with a model, or the trial itself.

    The trial itself is tested where the study has no retraining seeds.

    Raises:
        NoFinishedTrialError: seeds are requested and no retraining ended with an objective and a model.
    """
    if not plan.design.seeds:
        return (selection.trial,)
    outcomes = retrainings(plan, arm, ledger, selection)
    if models := tuple(outcome for outcome in outcomes if is_candidate(outcome)):
        return models
    raise NoFinishedTrialError(
        f"{arm.key}: at least one of {plan.design.seeds} retrainings must end with an objective and a model, none did "
        f"({'; '.join(outcome.reason for outcome in outcomes if outcome.reason) or 'none has ended'})"
    )


def is_recorded(ledger: Ledger, arm: str, selection: Selection) -> bool:
    """Return whether a selection equals the ledger's last one of the arm, except for its time."""
    last = ledger.last("selected", arm)
    return last is not None and _timeless(last["selection"]) == _timeless(selection.as_dict())


def names_of(models: Sequence[TrialOutcome]) -> list[list[Any]]:
    """Return the id and the best epoch of each model, in the ledger's form."""
    return [[model.trial_id, model.best_epoch] for model in models]


def reason_to_open(ledger: Ledger, arm: str, selection: Selection, models: Sequence[TrialOutcome]) -> str:
    """Return the reason to open the test patients for an arm's models; "" where that was done already."""
    last, trial_id = ledger.last("opened", arm), selection.trial.trial_id
    if last is None:
        return FIRST
    if last["models"] == names_of(models):
        return ""
    if last["trial"] != trial_id:
        return f"after more trials {trial_id} is selected instead of {last['trial']}"
    before, now = _described(last["models"], trial_id), _described(names_of(models), trial_id)
    return f"{now} instead of {before}"


def is_tested(ledger: Ledger, arm: str, models: Sequence[TrialOutcome]) -> bool:
    """Return whether the last test evaluation of an arm was made with these models."""
    last = ledger.last("tested", arm)
    return last is not None and last["models"] == names_of(models)


def search_is_over(arm: Arm, ledger: Ledger) -> bool:
    """Return whether no trial of an arm is left to start or to continue within the requested trials and minutes."""
    budget, outcomes = arm.budget, ledger.outcomes(arm.key)
    requested = _limit(budget.num_samples)
    if len(outcomes) >= requested and all(outcome.is_final for outcome in outcomes.values()):
        return True
    last = ledger.last("searched", arm.key)
    if last is None or last["per_arm"] != budget.per_arm:
        return False
    return _limit(last["num_samples"]) >= requested and _limit(last["minutes"]) >= _limit(budget.minutes)


def is_complete(plan: Plan, ledger: Ledger, selections: Mapping[str, Selection]) -> bool:
    """Return whether the whole study is done and delivered to the tracking store, including all optional entries."""
    if not ledger.events or ledger.events[-1]["event"] != "delivered" or ledger.events[-1].get("left_out"):
        return False
    return all(
        search_is_over(arm, ledger)
        and (arm.key not in selections or _is_finished(plan, arm, ledger, selections[arm.key]))
        for arm in plan.arms
    )


def arms_without_model(plan: Plan, ledger: Ledger, selections: Mapping[str, Selection]) -> list[str]:
    """Return one line for each arm with a selection but no model to test."""
    missing = []
    for arm in (arm for arm in plan.arms if arm.key in selections):
        try:
            models_to_test(plan, arm, ledger, selections[arm.key])
        except NoFinishedTrialError as error:
            missing.append(str(error))
    return missing


def _is_finished(plan: Plan, arm: Arm, ledger: Ledger, selection: Selection) -> bool:
    """Return whether an arm's selection is recorded, retrained and, where it has a model to test, tested."""
    if not is_recorded(ledger, arm.key, selection) or not retraining_is_over(plan, arm, ledger, selection):
        return False
    try:
        return is_tested(ledger, arm.key, models_to_test(plan, arm, ledger, selection))
    except NoFinishedTrialError:
        return True


def _described(models: Sequence[Sequence[Any]], trial_id: str) -> str:
    """Return a text about models of the selected trial: the trial itself or its retrainings."""
    if [name for name, _ in models] == [trial_id]:
        return f"{trial_id} itself as of epoch {models[0][1]}"
    return f"{len(models)} retrained model{'s' if len(models) > 1 else ''}"


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    timeless = {key: value for key, value in record.items() if key != "frozen_at"}
    return timeless | {"remarks": [current_remark(remark) for remark in record["remarks"]]}


def _limit(value: float | None) -> float:
    return math.inf if value is None else value

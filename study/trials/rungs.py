"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), as a pure rule over outcomes."""

from collections.abc import Iterable

import numpy as np

from study.question.space import Fidelity
from study.trials.outcome import TrialOutcome


def rungs(fidelity: Fidelity) -> tuple[int, ...]:
    """Give the epochs at which trials are compared: grace x factor^k, below the most epochs."""
    found, rung = [], fidelity.grace_epochs
    while rung < fidelity.max_epochs:
        found.append(rung)
        rung *= fidelity.reduction_factor
    return tuple(found)


def falls_behind(trial: TrialOutcome, others: Iterable[TrialOutcome], fidelity: Fidelity) -> bool:
    """Whether a trial is to be stopped after its last epoch.

    It is where this epoch is the first, from a rung on, that has an objective, and its objective is larger than the
    1 / `reduction_factor` quantile of those that other trials had there. The first trial at a rung goes on.
    """
    passed = [rung for rung in rungs(fidelity) if trial.epoch >= rung]
    if not passed or _first_at(trial, passed[-1]) != trial.epoch:
        return False
    history, rung = trial.history, passed[-1]
    known = [other.history[epoch] for other in others if (epoch := _first_at(other, rung)) is not None]
    if not known:
        return False
    return history[trial.epoch] > float(np.quantile(known, 1 / fidelity.reduction_factor))


def _first_at(trial: TrialOutcome, rung: int) -> int | None:
    """Give a trial's first epoch, from a rung on, that has an objective."""
    return next((epoch for epoch in trial.history if epoch >= rung), None)

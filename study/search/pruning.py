"""Early stopping as a pure rule over outcomes: asynchronous successive halving (ASHA; Li et al., MLSys 2020), medians.

Ray Tune's schedulers keep their state in the driver's memory. These rules are computed from the ledger instead, so a
restarted driver prunes the same trials. Tests compare them with Ray Tune's ASHA and Optuna's `MedianPruner`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from study.search.outcome import TrialOutcome
from study.search.space import Fidelity


def rungs(fidelity: Fidelity) -> tuple[int, ...]:
    """Return the epochs at which trials are compared: grace_epochs x reduction_factor^k, below max_epochs."""
    epochs, rung = [], fidelity.grace_epochs
    while rung < fidelity.max_epochs:
        epochs.append(rung)
        rung *= fidelity.reduction_factor
    return tuple(epochs)


class PruningRule(Protocol):
    """Decides after each epoch whether a trial is pruned."""

    def update(self, trial: TrialOutcome) -> None:
        """Update the rule with the epochs of a trial so far, and with its end."""

    def prunes(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned after its last epoch."""


def pruning_rule(scheduler: str, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> PruningRule:
    """Return the rule of a scheduler, `asha`, `median` or `none`, with the outcomes of the trials so far."""
    if scheduler == "median":
        return Median(fidelity, outcomes)
    unpruned = replace(fidelity, grace_epochs=fidelity.max_epochs)  # without a rung
    return Asha(unpruned if scheduler == "none" else fidelity, outcomes)


class Asha:
    """The rule of ASHA, with the costs of an arm's trials at each rung: objectives of which a lower one is better.

    The cost of a trial at a rung never changes, so it is stored and not computed again for each decision.

    Args:
        fidelity: determines the rungs.
        outcomes: outcomes of the trials so far.
    """

    def __init__(self, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> None:
        self._factor = fidelity.reduction_factor
        self._costs: dict[int, dict[str, float]] = {rung: {} for rung in rungs(fidelity)}
        for outcome in outcomes:
            self.update(outcome)

    def update(self, trial: TrialOutcome) -> None:
        """Update the rungs with the epochs of a trial so far."""
        history = trial.history
        for rung, costs in self._costs.items():
            epoch = _first_at(history, rung)
            if epoch is not None:
                costs[trial.trial_id] = trial.ranked_by.cost(history[epoch])

    def prunes(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned after its last epoch.

        Only the last rung that the trial has reached counts. The last epoch must be the first one at or after this rung
        with an objective. The trial is pruned if its lowest cost so far is larger than the 1 / `reduction_factor`
        quantile of the other trials' costs at the rung. The first trial at a rung continues.
        """
        reached = [rung for rung in self._costs if trial.epoch >= rung]
        history = trial.history
        if not reached or _first_at(history, reached[-1]) != trial.epoch:
            return False
        others = [value for name, value in self._costs[reached[-1]].items() if name != trial.trial_id]
        cost = trial.ranked_by.cost(history[trial.epoch])
        return bool(others) and cost > float(np.quantile(others, 1 / self._factor))


class Median:
    """The median rule (Golovin et al., KDD 2017) as in Optuna: a trial is pruned where others were better by its epoch.

    Args:
        fidelity: epochs before which no trial is pruned.
        outcomes: outcomes of the trials so far.
    """

    def __init__(self, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> None:
        self._grace = fidelity.grace_epochs
        self._complete: dict[str, Mapping[int, float]] = {}
        for outcome in outcomes:
            self.update(outcome)

    def update(self, trial: TrialOutcome) -> None:
        """Note the costs of a complete trial."""
        if trial.state == "complete":
            cost = trial.ranked_by.cost
            self._complete[trial.trial_id] = {epoch: cost(value) for epoch, value in trial.history.items()}

    def prunes(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned after its last epoch, which must have an objective.

        It is pruned if its lowest cost so far is larger than the median of that of the complete trials at the same
        epoch.
        """
        if trial.epoch < self._grace or trial.ranked_by.value(trial.epochs[-1].metrics) is None:
            return False
        others = [history[trial.epoch] for history in self._complete.values() if trial.epoch in history]
        return bool(others) and trial.ranked_by.cost(trial.history[trial.epoch]) > float(np.median(others))


def _first_at(history: Mapping[int, float], rung: int) -> int | None:
    """Return the first epoch with an objective at or after a rung; None where there is none."""
    return next((epoch for epoch in history if epoch >= rung), None)

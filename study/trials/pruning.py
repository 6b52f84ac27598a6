"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), as a function of outcomes."""

from collections.abc import Iterable, Mapping

import numpy as np

from study.plan.search_space import Fidelity
from study.trials.outcome import TrialOutcome


def rungs(fidelity: Fidelity) -> tuple[int, ...]:
    """Return the epochs at which trials are compared: grace_epochs x reduction_factor^k, below max_epochs."""
    found, rung = [], fidelity.grace_epochs
    while rung < fidelity.max_epochs:
        found.append(rung)
        rung *= fidelity.reduction_factor
    return tuple(found)


class Standings:
    """The objectives of an arm's trials at each rung, updated as trials progress.

    The objective of a trial at a rung never changes, so it is stored and not computed again for each decision.

    Args:
        fidelity: determines the rungs.
        outcomes: outcomes of the trials so far.
    """

    def __init__(self, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> None:
        self._factor = fidelity.reduction_factor
        self._objectives: dict[int, dict[str, float]] = {rung: {} for rung in rungs(fidelity)}
        for outcome in outcomes:
            self.follow(outcome)

    def follow(self, trial: TrialOutcome) -> None:
        """Update the rungs with the epochs of a trial so far."""
        history = trial.history
        for rung, objectives in self._objectives.items():
            epoch = _first_at(history, rung)
            if epoch is not None:
                objectives[trial.trial_id] = history[epoch]

    def falls_behind(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned after its last epoch.

        Only the last rung that the trial has reached counts. The last epoch must be the first one at or after this rung
        with an objective. The trial is pruned if its best objective so far is larger than the 1 / `reduction_factor`
        quantile of the other trials' objectives at the rung. The first trial at a rung continues.
        """
        passed = [rung for rung in self._objectives if trial.epoch >= rung]
        history = trial.history
        if not passed or _first_at(history, passed[-1]) != trial.epoch:
            return False
        known = [value for name, value in self._objectives[passed[-1]].items() if name != trial.trial_id]
        return bool(known) and history[trial.epoch] > float(np.quantile(known, 1 / self._factor))


def falls_behind(trial: TrialOutcome, others: Iterable[TrialOutcome], fidelity: Fidelity) -> bool:
    """Return whether a trial is pruned after its last epoch, computed from outcomes alone; see `Standings`."""
    return Standings(fidelity, others).falls_behind(trial)


def _first_at(history: Mapping[int, float], rung: int) -> int | None:
    """Return the first epoch with an objective at or after a rung; None where there is none."""
    return next((epoch for epoch in history if epoch >= rung), None)

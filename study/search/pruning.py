"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), as a pure rule over outcomes.

Ray Tune's `ASHAScheduler` keeps its state in the driver's memory. This rule is computed from the ledger instead, so a
restarted driver prunes the same trials. A test compares the two.
"""

from collections.abc import Iterable, Mapping

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


class Asha:
    """The pruning rule, with the objectives of an arm's trials at each rung.

    The objective of a trial at a rung never changes, so it is stored and not computed again for each decision.

    Args:
        fidelity: determines the rungs.
        outcomes: outcomes of the trials so far.
    """

    def __init__(self, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> None:
        self._factor = fidelity.reduction_factor
        self._objectives: dict[int, dict[str, float]] = {rung: {} for rung in rungs(fidelity)}
        for outcome in outcomes:
            self.update(outcome)

    def update(self, trial: TrialOutcome) -> None:
        """Update the rungs with the epochs of a trial so far."""
        history = trial.history
        for rung, objectives in self._objectives.items():
            epoch = _first_at(history, rung)
            if epoch is not None:
                objectives[trial.trial_id] = history[epoch]

    def prunes(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned after its last epoch.

        Only the last rung that the trial has reached counts. The last epoch must be the first one at or after this rung
        with an objective. The trial is pruned if its best objective so far is larger than the 1 / `reduction_factor`
        quantile of the other trials' objectives at the rung. The first trial at a rung continues.
        """
        reached = [rung for rung in self._objectives if trial.epoch >= rung]
        history = trial.history
        if not reached or _first_at(history, reached[-1]) != trial.epoch:
            return False
        others = [value for name, value in self._objectives[reached[-1]].items() if name != trial.trial_id]
        return bool(others) and history[trial.epoch] > float(np.quantile(others, 1 / self._factor))


def _first_at(history: Mapping[int, float], rung: int) -> int | None:
    """Return the first epoch with an objective at or after a rung; None where there is none."""
    return next((epoch for epoch in history if epoch >= rung), None)

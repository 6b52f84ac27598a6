"""Early stopping by asynchronous successive halving (ASHA; Li et al., MLSys 2020), as a pure rule over outcomes."""

from collections.abc import Iterable, Mapping

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


class Standings:
    """What the trials of an arm had at each rung: a function of their outcomes, kept as these grow.

    What a trial had at a rung never changes again, so nobody has to look at all epochs of all trials once more.

    Args:
        fidelity: says where the rungs are.
        outcomes: of the trials so far.
    """

    def __init__(self, fidelity: Fidelity, outcomes: Iterable[TrialOutcome] = ()) -> None:
        self._factor = fidelity.reduction_factor
        self._objectives: dict[int, dict[str, float]] = {rung: {} for rung in rungs(fidelity)}
        for outcome in outcomes:
            self.follow(outcome)

    def follow(self, trial: TrialOutcome) -> None:
        """Take in the epochs that a trial has by now."""
        history = trial.history
        for rung, objectives in self._objectives.items():
            epoch = _first_at(history, rung)
            if epoch is not None:
                objectives[trial.trial_id] = history[epoch]

    def falls_behind(self, trial: TrialOutcome) -> bool:
        """Whether a trial is to be stopped after its last epoch.

        It is where this epoch is the first, from a rung on, that has an objective, and its objective is larger than the
        1 / `reduction_factor` quantile of those that other trials had there. The first trial at a rung goes on.
        """
        passed = [rung for rung in self._objectives if trial.epoch >= rung]
        history = trial.history
        if not passed or _first_at(history, passed[-1]) != trial.epoch:
            return False
        known = [value for name, value in self._objectives[passed[-1]].items() if name != trial.trial_id]
        return bool(known) and history[trial.epoch] > float(np.quantile(known, 1 / self._factor))


def falls_behind(trial: TrialOutcome, others: Iterable[TrialOutcome], fidelity: Fidelity) -> bool:
    """Whether a trial is to be stopped after its last epoch, by nothing but these outcomes; see `Standings`."""
    return Standings(fidelity, others).falls_behind(trial)


def _first_at(history: Mapping[int, float], rung: int) -> int | None:
    """Give a trial's first epoch, from a rung on, that has an objective."""
    return next((epoch for epoch in history if epoch >= rung), None)

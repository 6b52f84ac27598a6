"""Simulated searches: the study's own decisions applied to trainings whose objectives are known in advance.

The next trial and early stopping are decided by the study's functions (`study.trials.sampling` and
`study.trials.pruning`). Only the training and the clock are simulated. The duration of an epoch differs between trials
by up to a tenth, so that concurrent trials are not synchronous.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from study.plan.search_space import Fidelity
from study.store_names import EARLY, OBJECTIVE
from study.trials.outcome import EpochRecord, TrialOutcome, trial_name
from study.trials.pruning import Asha

Sample = Mapping[str, Any]
Draw = Callable[[int, Sequence[TrialOutcome]], Sample]
"""Returns the sample of a trial for its number, from 1, and the other trials' outcomes."""
Train = Callable[[int, Sample], Sequence[float]]
"""Returns the objective after each epoch for a trial's number and sample; NaN for epochs without a validation."""
SPREAD = 0.1
"""Largest relative deviation of a trial's epoch duration."""


@dataclass(frozen=True)
class Replayed:
    """A finished search.

    Attributes:
        trials: the trials in the order in which they were drawn.
        ended: the same trials in the order in which they ended.
        epochs: the total epochs of all trials at the end of each trial of `ended`.
    """

    trials: tuple[TrialOutcome, ...]
    ended: tuple[TrialOutcome, ...]
    epochs: tuple[int, ...]

    def selected(self, count: int | None = None) -> TrialOutcome:
        """Return the trial that a study would select, of all trials or of the first `count` that ended."""
        return min(self.ended[:count], key=lambda trial: (trial.objective, trial.trial_id))


def replay(draw: Draw, train: Train, fidelity: Fidelity, trials: int, at_once: int, seed: int) -> Replayed:
    """Simulate a search to its end.

    Args:
        draw: returns the sample of a trial.
        train: returns the objectives of a trial.
        fidelity: epochs and early stopping.
        trials: total number of trials.
        at_once: largest number of concurrent trials.
        seed: seed of the epoch durations.
    """
    lengths = np.random.default_rng(seed).uniform(1 - SPREAD, 1 + SPREAD, trials)
    outcomes: list[TrialOutcome] = []
    curves: list[Sequence[float]] = []
    due: list[tuple[float, int]] = []
    ended: list[TrialOutcome] = []
    spent, epochs = 0, []

    def begin(now: float) -> None:
        place = len(outcomes)
        sample = draw(place + 1, outcomes)
        outcomes.append(TrialOutcome(place + 1, trial_name(place + 1), sample))
        curves.append(train(place + 1, sample))
        heapq.heappush(due, (now + lengths[place], place))

    for _ in range(min(at_once, trials)):
        begin(0.0)
    while due:
        now, place = heapq.heappop(due)
        known = outcomes[place]
        epoch, last = known.epoch + 1, known.epoch + 1 == fidelity.max_epochs
        spent += 1
        objective = float(curves[place][epoch - 1])
        metrics = {} if math.isnan(objective) else {OBJECTIVE: objective}
        trial = known.with_epoch(EpochRecord(epoch, 0, metrics))
        pruned = Asha(fidelity, [other for other in outcomes if other is not known]).prunes(trial)
        if last:
            trial = replace(trial, state="complete")
        elif pruned:
            trial = replace(trial, state="stopped", reason=EARLY)
        outcomes[place] = trial
        if trial.over:
            ended.append(trial)
            epochs.append(spent)
            if len(outcomes) < trials:
                begin(now)
        else:
            heapq.heappush(due, (now + lengths[place], place))
    return Replayed(tuple(outcomes), tuple(ended), tuple(epochs))

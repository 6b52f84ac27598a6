"""Searches in simulated time: the study's own decisions over trainings whose objectives are known beforehand.

What is drawn next (`study.trials.suggestion`) and what stops (`study.trials.rungs`) are the functions that a study
calls; only the training and the clock are invented. The epochs of one trial last up to a tenth longer or shorter than
those of another, so that trials that run at once do not march in step.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from study.question.space import Fidelity
from study.store_layout import EARLY, OBJECTIVE
from study.trials.outcome import EpochRecord, TrialOutcome, trial_name
from study.trials.rungs import falls_behind

Sample = Mapping[str, Any]
Draw = Callable[[int, Sequence[TrialOutcome]], Sample]
"""Gives the sample of a trial by its number, from 1, and the others' outcomes."""
Train = Callable[[int, Sample], Sequence[float]]
"""Gives what a trial by its number and sample would have as objective after each epoch, NaN where none is validated."""
SPREAD = 0.1
"""How much the epochs of one trial may last longer or shorter than those of another."""


@dataclass(frozen=True)
class Replayed:
    """A search that is over.

    Attributes:
        trials: in the order in which they were drawn.
        ended: the same in the order in which they ended.
        epochs: trained by all trials together when each of `ended` did.
    """

    trials: tuple[TrialOutcome, ...]
    ended: tuple[TrialOutcome, ...]
    epochs: tuple[int, ...]

    def selected(self, count: int | None = None) -> TrialOutcome:
        """Give the trial that a study would choose, of all or of the first `count` that ended."""
        return min(self.ended[:count], key=lambda trial: (trial.objective, trial.trial_id))


def replay(draw: Draw, train: Train, fidelity: Fidelity, trials: int, at_once: int, seed: int) -> Replayed:
    """Run a search to its end.

    Args:
        draw: what a trial is.
        train: what it would give.
        fidelity: epochs and early stopping.
        trials: drawn in all.
        at_once: most trials at once.
        seed: of how long epochs last.
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
        behind = falls_behind(trial, [other for other in outcomes if other is not known], fidelity)
        if last:
            trial = replace(trial, state="complete")
        elif behind:
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

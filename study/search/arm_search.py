"""The decisions of one round of trainings: which runs next, when one stops, what a failure means. No Ray in it.

A round is the search of an arm, or the retrainings of its winner, which differ by their `Work` only.

All of them follow from the ledger, so a driver that starts again decides what the one before would have decided.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from statistics import fmean, median

from study.search.recorder import ArmRecorder
from study.search.work import Work
from study.store_layout import EARLY, TIME_BUDGET
from study.trials.failures import Cause
from study.trials.outcome import EpochRecord, TrialOutcome
from study.trials.rungs import Standings

MOST_FAILURES = 3
"""Attempts at a trial that the machine may end one after the other, without a new epoch between them."""

LEAST_OVERTIME_SECONDS = 60.0
"""How long trials without an objective are waited for when the time is over; as long again as the round if longer."""
EPOCHS_TIMED = 32
"""So many of the newest epochs say by their mean duration how long a trial needs to its first validation."""


class ArmSearch:
    """Decides for one arm. Attempts at trials are named by whoever runs them.

    Args:
        work: how many trials there are, what each one is, and their fidelity.
        recorder: knows the trials, and is told of all that happens.
        concurrent: most trials at once.

    Attributes:
        halted: why nothing new is begun and running trials stop after their epoch; "" while the search goes on.
        faulty: whether it was halted because the disk is full or cannot be written.
        error: of the operating system that halted it, where it was met in this process.
        limit: most trials at once by now.
    """

    def __init__(self, work: Work, recorder: ArmRecorder, concurrent: int) -> None:
        self._work, self._recorder = work, recorder
        self._standings = Standings(work.fidelity, recorder.outcomes.values())
        self._active: dict[str, str] = {}
        self._since: dict[str, float] = {}
        settings = recorder.task.settings.training
        self._first_validation = min(settings.validate_every, work.fidelity.max_epochs)
        self._deadline = self._latest = math.inf
        earlier = [b.at_ms - a.at_ms for o in recorder.outcomes.values() for a, b in pairwise(o.epochs)]
        self._epoch_seconds = deque([median(earlier) / 1000] if earlier else [], maxlen=EPOCHS_TIMED)
        self.limit = concurrent
        self.halted = ""
        self.faulty = False
        self.error: OSError | None = None

    @property
    def idle(self) -> bool:
        """Whether no attempt is under way."""
        return not self._active

    @property
    def late(self) -> bool:
        """Whether the time of the round is over."""
        return time.monotonic() >= self._deadline

    @property
    def over(self) -> bool:
        """Whether all attempts are to be stopped at once: the time is over, and each trial was validated.

        A trial without an objective would end without a model, so it is waited for, within bounds.
        """
        if not self.late or self.halted or time.monotonic() >= self._latest:
            return self.late
        return all(self._recorder.outcomes[trial_id].objective is not None for trial_id in self._active.values())

    def begin(self, seconds: float | None) -> None:
        """The round begins, and its time is over in so many seconds; None for no limit."""
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            self._latest = self._deadline + max(seconds, LEAST_OVERTIME_SECONDS)

    def settle(self) -> None:
        """End the trials whose last epoch was recorded just before a driver was killed."""
        for outcome in self._recorder.unfinished():
            if outcome.state == "running" and self._decided(outcome) and self._recorder.has_model(outcome):
                with self._guarded():
                    self._end(outcome)

    def work_left(self) -> bool:
        """Whether a trial is to begin or to go on, as far as there is time."""
        return bool(self._active or self._waiting()) or self._may_draw()

    def next_trial(self, attempt: str) -> TrialOutcome | None:
        """Give the trial that an attempt is to run, unfinished ones first; None where there is none for now."""
        if self.halted or len(self._active) >= self.limit:
            return None
        known, waiting = self._recorder.outcomes, self._waiting()
        if not waiting and not self._may_draw():
            return None
        with self._guarded():
            if not waiting:
                number = len(known) + 1
                waiting = [self._recorder.drawn(number, self._work.draw(number, known.values()))]
            self._recorder.started(waiting[0])
            self._active[attempt], self._since[attempt] = waiting[0], time.monotonic()
            return self._recorder.outcomes[waiting[0]]
        return None

    def reported(self, attempt: str, epoch: int, metrics: Mapping[str, float], node: str = "") -> bool:
        """An attempt ended an epoch; give whether it is to stop. A repeated epoch is answered as it was before."""
        trial_id = self._active[attempt]
        known = self._recorder.outcomes[trial_id]
        began, self._since[attempt] = self._since[attempt], time.monotonic()
        if epoch <= known.epoch:
            return bool(self.halted) or (known.behind and epoch == known.epoch)
        with self._guarded():
            now = known.with_epoch(EpochRecord(epoch, int(time.time() * 1000), metrics, node))
            behind = self._standings.falls_behind(now)
            self._recorder.reported(trial_id, epoch, metrics, behind, node)
            self._standings.follow(now)
            self._epoch_seconds.append(self._since[attempt] - began)
            return behind or bool(self.halted) or (self.late and now.objective is not None)
        return True

    def returned(self, attempt: str) -> None:
        """An attempt is over without an error: it trained all epochs, or was told to stop."""
        trial = self._recorder.outcomes[self._active.pop(attempt)]
        if self._decided(trial):
            with self._guarded():
                self._end(trial)
        elif self.halted:
            self._recorder.paused(trial.trial_id)
        elif self.late:
            with self._guarded():
                self._end(trial, TIME_BUDGET)
        else:
            self._failed(trial, Cause.MACHINE, "ended before its last epoch")

    def raised(self, attempt: str, cause: Cause, reason: str) -> None:
        """An attempt ended with an error.

        What the training did is final. What the machine did is tried again from the last checkpoint, at most
        MOST_FAILURES times without a new epoch between; where memory was short, with one trial fewer beside it. A full
        disk halts the search, since no trial is to blame for it.
        """
        self._failed(self._recorder.outcomes[self._active.pop(attempt)], cause, reason)

    def halt(self, reason: str, faulty: bool = False) -> None:
        """Begin nothing new and stop what runs after its epoch."""
        self.halted = self.halted or reason
        self.faulty = self.faulty or faulty

    def close(self, cut_reason: str | None) -> None:
        """Whoever ran the attempts has stopped: the time budget cut those under way, or they are paused (None)."""
        while self._active:
            trial = self._recorder.outcomes[self._active.popitem()[1]]
            if self._decided(trial) or (cut_reason and not self.halted):
                with self._guarded():
                    self._end(trial, cut_reason or "")
            else:
                self._recorder.paused(trial.trial_id)

    def _waiting(self) -> list[str]:
        """Return the trials that are to go on, that nothing works on, and that there is time for."""
        active = set(self._active.values())
        return [o.trial_id for o in self._recorder.unfinished() if o.trial_id not in active and self._in_time(o)]

    def _may_draw(self) -> bool:
        most = self._work.most
        return (most is None or len(self._recorder.outcomes) < most) and self._in_time()

    def _in_time(self, trial: TrialOutcome | None = None) -> bool:
        """Whether a trial, a new one where None, is probably validated for the first time before the time is over.

        By the epochs so far; where none is known it is tried, and also where the arm would else have no objective.
        """
        left = self._deadline - time.monotonic()
        epoch, validated = (0, False) if trial is None else (trial.epoch, trial.objective is not None)
        if left <= 0 or validated or not self._epoch_seconds:
            return left > 0
        if (self._first_validation - epoch) * fmean(self._epoch_seconds) <= left:
            return True
        return not self._active and all(o.objective is None for o in self._recorder.outcomes.values())

    def _decided(self, trial: TrialOutcome) -> bool:
        return trial.behind or trial.epoch >= self._work.fidelity.max_epochs

    def _end(self, trial: TrialOutcome, cut_reason: str = "") -> None:
        if trial.epoch >= self._work.fidelity.max_epochs:
            self._recorder.ended(trial.trial_id, "complete", "")
        else:
            self._recorder.ended(trial.trial_id, "stopped", EARLY if trial.behind else cut_reason)

    def _failed(self, trial: TrialOutcome, cause: Cause, reason: str) -> None:
        if cause is Cause.DISK:
            self.halt(reason, faulty=True)
            self._recorder.paused(trial.trial_id)
            return
        with self._guarded():
            if cause is Cause.TRAINING:
                self._recorder.ended(trial.trial_id, "failed", reason)
                return
            self._recorder.attempt_failed(trial.trial_id, reason)
            if trial.failures + 1 >= MOST_FAILURES:
                self._recorder.ended(trial.trial_id, "failed", f"{MOST_FAILURES} attempts in a row: {reason}")
            elif cause is Cause.MEMORY:
                self.limit = max(1, self.limit - 1)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Halt the search where the ledger or a model cannot be written, instead of going on without a record."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            self.halt(f"{type(error).__name__}: {error}", faulty=True)

"""Which trial runs next, when it stops, and which failure is retried, in one round of trainings.

A round is the search of an arm or the retrainings of its winner. They differ by their `Work` only. This module does not
use Ray. The decisions follow from the ledger, so a restarted driver decides as the one before would have.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import pairwise
from statistics import fmean, median

from study.plan.capacity import larger_share
from study.search.outcome import EpochRecord, TrialOutcome
from study.search.pruning import pruning_rule
from study.store_names import EARLY, TIME_BUDGET
from study.trials.recorder import ArmRecorder
from study.trials.work import Work

MOST_ATTEMPTS_WITHOUT_EPOCH = 3
"""A trial fails after this many consecutive attempts that the machine ended, without a new epoch between them."""

MOST_LOST_NODES = 20
"""Number of consecutive attempts that may end with their node without being counted: spot machines may vanish."""

LEAST_OVERTIME_SECONDS = 60.0
"""Least overtime for trials without an objective. The overtime is the duration of the round where that is longer."""
EPOCHS_TIMED = 32
"""The time of a trial to its first validation is estimated from the mean duration of this many recent epochs."""


class Cause(Enum):
    """The cause of a failed attempt.

    TRAINING: the loss, the objective, the data, the settings or the code; a retry would fail again.
    MACHINE: a killed worker, or an error of the operating system.
    LOST: the node is gone.
    MEMORY: out of memory, on the machine.
    GPU_MEMORY: out of memory, on the GPU.
    DISK: the disk is full.
    NODE: the node joined after the study began and lacks what its trials need.
    """

    TRAINING = "training"
    MACHINE = "machine"
    LOST = "lost"
    MEMORY = "memory"
    GPU_MEMORY = "GPU memory"
    DISK = "disk"
    NODE = "node"


class ArmSearch:
    """Decides which trials of an arm run and when they stop. The caller chooses the names of the attempts at trials.

    Args:
        work: number, content and fidelity of the trials.
        recorder: holds the trials and records all events.
        concurrent: largest number of concurrent trials, infinite for as many as there are slots.
        gpus: GPUs of a trial.

    Attributes:
        halted: the reason why no trial starts and running ones stop after their epoch; "" while the search continues.
        by_error: whether an error of a machine halted the search: a disk that is full or cannot be written, or a node.
        error: the operating system's error that halted the search, if it was raised in this process.
        stranded: whether the search was halted because no node is there.
        slots: number of trials that fit on the machines now. On a cluster it changes while the search runs.
        gpus: GPUs of a trial that starts now. Out-of-memory errors of a GPU increase a share of one.
    """

    def __init__(self, work: Work, recorder: ArmRecorder, concurrent: float, gpus: float = 0.0) -> None:
        self._work, self._recorder = work, recorder
        self._rule = pruning_rule(work.scheduler, work.fidelity, recorder.outcomes.values())
        self._active: dict[str, str] = {}
        self._lost = Counter[tuple[str, int]]()  # lost nodes by trial and epoch
        self._since: dict[str, float] = {}
        self._gpus: dict[str, float] = {}
        settings = recorder.task.settings.training
        self._first_validation = min(settings.validate_every, work.fidelity.max_epochs)
        self._deadline = self._latest = math.inf
        earlier = [b.at_ms - a.at_ms for o in recorder.outcomes.values() for a, b in pairwise(o.epochs)]
        self._epoch_seconds = deque([median(earlier) / 1000] if earlier else [], maxlen=EPOCHS_TIMED)
        self._concurrent, self._fewer = concurrent, 0
        self.slots, self.gpus = math.inf, gpus
        self.halted = ""
        self.by_error = self.stranded = False
        self.error: OSError | None = None

    @property
    def idle(self) -> bool:
        """Return whether no attempt is running."""
        return not self._active

    @property
    def limit(self) -> float:
        """The largest number of concurrent trials now. Each out-of-memory error reduces it by one, to one at least."""
        return min(self.slots, max(1, min(self._concurrent, self.slots) - self._fewer))

    @property
    def wanted(self) -> float:
        """The number of slots that trials could use now, if they were there."""
        if self.halted:
            return 0
        to_draw = 0.0
        if self._may_draw():
            to_draw = math.inf if self._work.most is None else self._work.most - len(self._recorder.outcomes)
        return min(self._concurrent, len(self._active) + len(self._waiting()) + to_draw)

    @property
    def late(self) -> bool:
        """Return whether the time of the round is over."""
        return time.monotonic() >= self._deadline

    @property
    def must_stop(self) -> bool:
        """Return whether all attempts must stop now: the time is over and each running trial has an objective.

        A trial without an objective would end without a model, so the round waits for it, within the overtime. A halted
        search does not wait, and where no node is there, it stops at once.
        """
        if self.stranded:
            return True
        if not self.late or self.halted or time.monotonic() >= self._latest:
            return self.late
        return all(self._recorder.outcomes[trial_id].objective is not None for trial_id in self._active.values())

    def begin(self, seconds: float | None) -> None:
        """Start the time of the round: its limit in seconds, None for no limit."""
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            self._latest = self._deadline + max(seconds, LEAST_OVERTIME_SECONDS)

    def end_finished(self) -> None:
        """End the trials that had reached their last epoch, or were pruned, when an earlier driver was killed."""
        for outcome in self._recorder.unfinished():
            if outcome.state == "running" and self._is_finished(outcome) and self._recorder.has_model(outcome):
                with self._guarded():
                    self._end(outcome)

    def work_left(self) -> bool:
        """Return whether a trial is running, or is to start or continue in the time that is left."""
        return bool(self._active or self._waiting()) or self._may_draw()

    def next_trial(self, attempt: str) -> TrialOutcome | None:
        """Start and return the trial of a new attempt, unfinished trials first; None where no trial can start now."""
        if self.halted or len(self._active) >= self.limit:
            return None
        outcomes, waiting = self._recorder.outcomes, self._waiting()
        if not waiting and not self._may_draw():
            return None
        with self._guarded():
            if not waiting:
                number = len(outcomes) + 1
                waiting = [self._recorder.drawn(number, self._work.draw(number, outcomes.values()))]
            self._recorder.started(waiting[0])
            self._active[attempt], self._since[attempt] = waiting[0], time.monotonic()
            trial = self._recorder.outcomes[waiting[0]]
            last = 0 < self.gpus < 1 and trial.failures + 1 >= MOST_ATTEMPTS_WITHOUT_EPOCH
            self._gpus[attempt] = 1.0 if last else self.gpus
            return trial
        return None

    def gpus_of(self, attempt: str) -> float:
        """Return the GPUs of a running attempt. The last attempt at a trial that has a share gets a whole one."""
        return self._gpus[attempt]

    def reported(self, attempt: str, epoch: int, metrics: Mapping[str, float], node: str = "") -> bool:
        """Record an epoch of an attempt and return whether the attempt must stop.

        For an epoch that is already recorded, return the same decision as before, or stop where the search is halted.
        """
        trial_id = self._active[attempt]
        before = self._recorder.outcomes[trial_id]
        began, self._since[attempt] = self._since[attempt], time.monotonic()
        if epoch <= before.epoch:
            return bool(self.halted) or (before.pruned and epoch == before.epoch)
        with self._guarded():
            now = before.with_epoch(EpochRecord(epoch, int(time.time() * 1000), metrics, node))
            pruned = self._rule.prunes(now)
            self._recorder.reported(trial_id, epoch, metrics, pruned, node)
            self._rule.update(now)
            self._epoch_seconds.append(self._since[attempt] - began)
            return pruned or bool(self.halted) or (self.late and now.objective is not None)
        return True

    def returned(self, attempt: str) -> None:
        """Handle an attempt that ended without an error: after all epochs, or because it was stopped."""
        trial = self._recorder.outcomes[self._active.pop(attempt)]
        del self._gpus[attempt]
        if self._is_finished(trial):
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
        """Handle an attempt that ended with an error.

        An error of the training is final: the trial fails. After an error of the machine the trial is retried from its
        last checkpoint; it fails after MOST_ATTEMPTS_WITHOUT_EPOCH attempts without a new epoch between them. Attempts
        that lost their node are not counted. Out of memory also reduces the number of concurrent trials by one. Out of
        memory on a GPU also increases a trial's share of a GPU, because the remaining trials may still run on the same
        one of several GPUs. A full disk, or a node that cannot run trials, halts the search and pauses the trial.
        """
        trial, gpus = self._recorder.outcomes[self._active.pop(attempt)], self._gpus.pop(attempt)
        if cause is Cause.GPU_MEMORY and gpus >= 1:
            reason += "; it had a GPU to itself, so it needs a smaller training.batch_size or model.widths"
        self._failed(trial, cause, reason)
        if cause is Cause.GPU_MEMORY and gpus < 1 and (share := larger_share(gpus)) > self.gpus:
            self._recorder.note(
                f"a GPU had too little memory for {int(1 / gpus)} trials: from now on a trial gets {share:g} GPU "
                f"(next time: --gpus-per-trial {share:g})"
            )
            self.gpus = share

    def halt(self, reason: str, by_error: bool = False) -> None:
        """Start no further trial and stop the running ones after their epoch.

        Args:
            reason: shown to the user. The first reason is kept.
            by_error: whether an error of a machine is the reason.
        """
        self.halted = self.halted or reason
        self.by_error = self.by_error or by_error

    def strand(self, reason: str) -> None:
        """Stop everything, because there has been no node for trials for too long."""
        self.halt(reason, by_error=True)
        self.stranded = True

    def close(self, stop_reason: str | None) -> None:
        """End or pause the trials of all attempts, after the process that ran the attempts has stopped.

        Args:
            stop_reason: reason for the trials that the time budget stops; None pauses them.
        """
        while self._active:
            trial = self._recorder.outcomes[self._active.popitem()[1]]
            if self._is_finished(trial) or (stop_reason and not self.halted):
                with self._guarded():
                    self._end(trial, stop_reason or "")
            else:
                self._recorder.paused(trial.trial_id)

    def _waiting(self) -> list[str]:
        """Return the ids of the unfinished trials without a running attempt that can continue in the time left."""
        active = set(self._active.values())
        return [o.trial_id for o in self._recorder.unfinished() if o.trial_id not in active and self._in_time(o)]

    def _may_draw(self) -> bool:
        most = self._work.most
        return (most is None or len(self._recorder.outcomes) < most) and self._in_time()

    def _in_time(self, trial: TrialOutcome | None = None) -> bool:
        """Return whether a trial, a new one where None, can reach its first validation before the time is over.

        The estimate uses the durations of recent epochs. While time is left, the result is also True where no epoch is
        known, where the trial has an objective, and where no trial of the arm has one and none is running.
        """
        left = self._deadline - time.monotonic()
        epoch, validated = (0, False) if trial is None else (trial.epoch, trial.objective is not None)
        if left <= 0 or validated or not self._epoch_seconds:
            return left > 0
        if (self._first_validation - epoch) * fmean(self._epoch_seconds) <= left:
            return True
        return not self._active and all(o.objective is None for o in self._recorder.outcomes.values())

    def _is_finished(self, trial: TrialOutcome) -> bool:
        """Return whether a trial is pruned or has reached its last epoch."""
        return trial.pruned or trial.epoch >= self._work.fidelity.max_epochs

    def _end(self, trial: TrialOutcome, stop_reason: str = "") -> None:
        if trial.epoch >= self._work.fidelity.max_epochs:
            self._recorder.ended(trial.trial_id, "complete", "")
        else:
            self._recorder.ended(trial.trial_id, "stopped", EARLY if trial.pruned else stop_reason)
        self._rule.update(self._recorder.outcomes[trial.trial_id])

    def _failed(self, trial: TrialOutcome, cause: Cause, reason: str) -> None:
        if cause in (Cause.DISK, Cause.NODE):
            self.halt(reason, by_error=True)
            self._recorder.paused(trial.trial_id)
            return
        with self._guarded():
            if cause is Cause.TRAINING:
                self._recorder.ended(trial.trial_id, "failed", reason)
                return
            if cause is Cause.LOST and self._lost[trial.trial_id, trial.epoch] < MOST_LOST_NODES:
                self._lost[trial.trial_id, trial.epoch] += 1
                self._recorder.node_lost(trial.trial_id)
                return
            self._recorder.attempt_failed(trial.trial_id, reason, MOST_ATTEMPTS_WITHOUT_EPOCH)
            if trial.failures + 1 >= MOST_ATTEMPTS_WITHOUT_EPOCH:
                self._recorder.ended(
                    trial.trial_id, "failed", f"{MOST_ATTEMPTS_WITHOUT_EPOCH} attempts in a row: {reason}"
                )
            elif cause is Cause.MEMORY:
                self._fewer += self.limit > 1

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Halt the search where the ledger or a model cannot be written."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            self.halt(f"{type(error).__name__}: {error}", by_error=True)

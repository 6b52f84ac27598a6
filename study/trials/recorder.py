"""Records the events of an arm's trials, first in the ledger, then in the tracking store and the progress.

Search and selection read the ledger. Writes to the store go through the outbox, so a slow or unavailable store does not
delay the search or lose a trial.
"""

import shutil
from collections.abc import Mapping
from functools import partial

from study.store_names import INTERRUPTED
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker
from study.trials.ledger import Ledger
from study.trials.outcome import TrialOutcome
from study.trials.progress import StudyProgress
from study.trials.trial import ArmTask, TrialSpec, freeze_model, keep_best_only
from study.trials.trial_runs import TrialRuns
from study.trials.work import Drawn


class ArmRecorder:
    """Records the trials of one arm, or the retrainings of its winner.

    Args:
        task: the common input of the trials. Its `arm` is their key in the ledger.
        tags: tags of the arm in the tracking store.
        ledger, tracker, outbox, progress: where events are recorded.
        row: row of the progress; by default the task's arm.
        retrains: id of the retrained trial; "" for the trials of a search.
    """

    def __init__(
        self,
        task: ArmTask,
        tags: Mapping[str, str],
        ledger: Ledger,
        tracker: StudyTracker,
        outbox: Outbox,
        progress: StudyProgress,
        *,
        row: str = "",
        retrains: str = "",
    ) -> None:
        self.task = task
        self.row = row or task.arm
        self._ledger, self._outbox, self._progress = ledger, outbox, progress
        self._runs = TrialRuns(task, tags, ledger, tracker, retrains)

    @property
    def outcomes(self) -> Mapping[str, TrialOutcome]:
        """A live view of the ledger's trials by id, in the order in which they were drawn."""
        return self._ledger.outcomes(self.task.arm)

    def unfinished(self) -> list[TrialOutcome]:
        """Return the trials that are not over, in the same order."""
        return self._ledger.unfinished(self.task.arm)

    def catch_up(self, counted: bool = True) -> None:
        """Update the tracking store and the disk from the ledger, for the trials of earlier drivers.

        Args:
            counted: whether the progress counts these trials.
        """
        for outcome in self.outcomes.values():
            if outcome.over:
                self._tidy(outcome)
            if counted:
                self._progress.known(self.row, outcome)
            self._outbox.put(partial(self._runs.whole, outcome))

    def drawn(self, number: int, drawn: Drawn) -> str:
        """Record a new trial and return its id."""
        own = {} if drawn.seed is None else {"seed": drawn.seed}
        content = {"trial": drawn.trial_id, "number": number, "sample": dict(drawn.sample), **own}
        self._runs.drawn_here(drawn.trial_id)
        self._ledger.append("drawn", arm=self.task.arm, **content)
        return drawn.trial_id

    def started(self, trial_id: str) -> None:
        """Record the start of an attempt at a trial."""
        if self.outcomes[trial_id].cut:
            self._ledger.append("continued", arm=self.task.arm, trial=trial_id)
        self._progress.trial_started(self.row, trial_id)
        self._outbox.put(partial(self._runs.start, self.outcomes[trial_id]))

    def reported(self, trial_id: str, epoch: int, metrics: Mapping[str, float], behind: bool, node: str) -> None:
        """Record a new epoch of a trial. `behind` is whether the trial is pruned, `node` the address of its node."""
        self._ledger.append(
            "epoch", arm=self.task.arm, trial=trial_id, epoch=epoch, metrics=dict(metrics), behind=behind, node=node
        )
        outcome = self.outcomes[trial_id]
        self._progress.epoch_done(self.row, trial_id, outcome.objective)
        self._outbox.put(partial(self._runs.epochs, trial_id))

    def attempt_failed(self, trial_id: str, reason: str) -> None:
        """Record that the machine ended an attempt. The trial is not over."""
        self._ledger.append("failure", arm=self.task.arm, trial=trial_id, reason=reason)
        self._progress.note(f"{self.row}: trial {trial_id} was interrupted, it goes on from its checkpoint: {reason}")

    def paused(self, trial_id: str) -> None:
        """Mark a trial as interrupted in the progress and the tracking store. A later driver continues it."""
        self._progress.trial_ended(self.row, trial_id, "interrupted", INTERRUPTED)
        self._outbox.put(partial(self._runs.pause, self.outcomes[trial_id]))

    def ended(self, trial_id: str, state: str, reason: str) -> None:
        """Record the end of a trial: `complete`, `stopped` or `failed`.

        The best model is frozen, unless the trial failed. Other files are deleted once the trial cannot continue.
        """
        known = self.outcomes[trial_id]
        folder = self._spec(known).folder
        model = freeze_model(folder, known.best_epoch) if state != "failed" and known.best_epoch else None
        self._ledger.append(
            "ended",
            arm=self.task.arm,
            trial=trial_id,
            state=state,
            reason=reason,
            model=None if model is None else str(model.relative_to(self._ledger.folder)),
        )
        outcome = self.outcomes[trial_id]
        self._tidy(outcome)
        self._progress.trial_ended(self.row, trial_id, state, reason)
        self._outbox.put(partial(self._runs.end, outcome))

    def has_model(self, outcome: TrialOutcome) -> bool:
        """Return whether the best model of a trial is on the disk. True for a trial without an objective."""
        return not outcome.best_epoch or freeze_model(self._spec(outcome).folder, outcome.best_epoch) is not None

    def _tidy(self, outcome: TrialOutcome) -> None:
        """Delete the files of a trial that is over except its best model, and all files of a failed one."""
        folder = self._spec(outcome).folder
        if outcome.state == "failed":
            shutil.rmtree(folder, ignore_errors=True)
        elif outcome.over:
            keep_best_only(folder)

    def _spec(self, outcome: TrialOutcome) -> TrialSpec:
        return TrialSpec(self.task, outcome.trial_id, outcome.sample)

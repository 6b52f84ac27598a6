"""Records the events of an arm's trials: first in the ledger, then in the tracking store and the progress display.

Search and selection read the ledger. Writes to the store go through the outbox, so a slow or unavailable store does not
delay the search or lose a trial.
"""

import shutil
from collections.abc import Mapping
from functools import partial

from jointnet.settings import Settings, settings_to_dict
from jointnet.train.checkpoint_files import checkpoint_files
from study.search.outcome import TrialOutcome
from study.search.parameters import value_text
from study.store_names import INTERRUPTED, best_name, ending
from study.tracking.outbox import Outbox
from study.tracking.runs import NOTE, Row, StudyTracker, arm_title
from study.trials.ledger import Ledger
from study.trials.progress import StudyProgress
from study.trials.trial import ArmTask, TrialSpec, freeze_model, keep_best_only
from study.trials.trial_files import CHECKPOINTS
from study.trials.work import Drawn

STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""MLflow status by state. KILLED: interrupted trials, and those that the time budget stopped without a model."""
MODEL_FOLDER = "model"
"""Artifact folder of a trial's run."""


class ArmRecorder:
    """Records the trials of one arm, or the retrainings of its winner.

    Args:
        task: the common input of the trials. Its `arm` is their key in the ledger.
        tags: tags of the arm in the tracking store.
        ledger, tracker, outbox, progress: where events are recorded.
        row: row of the progress display; by default the task's arm.
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
            counted: whether the progress display counts these trials.
        """
        for outcome in self.outcomes.values():
            if outcome.is_final:
                self._delete_files(outcome)
            if counted:
                self._progress.add_earlier(self.row, outcome)
            self._outbox.put(partial(self._runs.log_all, outcome))

    def drawn(self, number: int, drawn: Drawn) -> str:
        """Record a new trial and return its id."""
        seed = {} if drawn.seed is None else {"seed": drawn.seed}
        content = {"trial": drawn.trial_id, "number": number, "sample": dict(drawn.sample), **seed}
        self._runs.drawn_here(drawn.trial_id)
        self._ledger.append("drawn", arm=self.task.arm, **content)
        return drawn.trial_id

    def started(self, trial_id: str) -> None:
        """Record the start of an attempt at a trial."""
        if self.outcomes[trial_id].out_of_time:
            self._ledger.append("continued", arm=self.task.arm, trial=trial_id)
        self._progress.trial_started(self.row, trial_id)
        self._outbox.put(partial(self._runs.start, self.outcomes[trial_id]))

    def reported(self, trial_id: str, epoch: int, metrics: Mapping[str, float], pruned: bool, node: str) -> None:
        """Record a new epoch of a trial, whether the trial is pruned after it, and the address of its node."""
        self._ledger.append(
            "epoch", arm=self.task.arm, trial=trial_id, epoch=epoch, metrics=dict(metrics), pruned=pruned, node=node
        )
        self._progress.epoch_done(self.row, self.outcomes[trial_id])
        self._outbox.put(partial(self._runs.epochs, trial_id))

    def attempt_failed(self, trial_id: str, reason: str, most: int) -> None:
        """Record that the machine ended an attempt, and note how the trial is retried, up to `most` attempts."""
        self._ledger.append("failure", arm=self.task.arm, trial=trial_id, reason=reason)
        outcome = self.outcomes[trial_id]
        if outcome.failures < most:
            count = f"{outcome.failures} of {most} without a new epoch"
            self._note_retry(outcome, f"an attempt at trial {trial_id} failed ({count}): {reason.rstrip('.')}")

    def node_lost(self, trial_id: str) -> None:
        """Note that an attempt ended with its node, and how the trial is retried."""
        self._note_retry(self.outcomes[trial_id], f"the node of trial {trial_id} is gone")

    def _note_retry(self, outcome: TrialOutcome, what: str) -> None:
        resumes = checkpoint_files(self._spec(outcome).folder / CHECKPOINTS)
        self._progress.note(f"{self.row}: {what}; it {'resumes from its checkpoint' if resumes else 'starts again'}")

    def note(self, text: str) -> None:
        """Print a permanent line about the arm."""
        self._progress.note(f"{self.row}: {text}")

    def paused(self, trial_id: str) -> None:
        """Mark a trial as interrupted in the progress and the tracking store. A later driver continues it."""
        self._progress.trial_ended(self.row, trial_id, "interrupted", INTERRUPTED)
        self._outbox.put(partial(self._runs.pause, self.outcomes[trial_id]))

    def ended(self, trial_id: str, state: str, reason: str) -> None:
        """Record the end of a trial: `complete`, `stopped` or `failed`.

        The best model is frozen, unless the trial failed. Other files are deleted once the trial cannot continue.
        """
        before = self.outcomes[trial_id]
        folder = self._spec(before).folder
        model = freeze_model(folder, before.best_epoch) if state != "failed" and before.best_epoch else None
        self._ledger.append(
            "ended",
            arm=self.task.arm,
            trial=trial_id,
            state=state,
            reason=reason,
            model=None if model is None else str(model.relative_to(self._ledger.folder)),
        )
        outcome = self.outcomes[trial_id]
        self._delete_files(outcome)
        self._progress.trial_ended(self.row, trial_id, state, reason)
        self._outbox.put(partial(self._runs.end, outcome))

    def has_model(self, outcome: TrialOutcome) -> bool:
        """Return whether the best model of a trial is on the disk. True for a trial without an objective."""
        return not outcome.best_epoch or freeze_model(self._spec(outcome).folder, outcome.best_epoch) is not None

    def _delete_files(self, outcome: TrialOutcome) -> None:
        """Delete the files of a trial that is over except its best model, and all files of a failed one."""
        folder = self._spec(outcome).folder
        if outcome.state == "failed":
            shutil.rmtree(folder, ignore_errors=True)
        elif outcome.is_final:
            keep_best_only(folder)

    def _spec(self, outcome: TrialOutcome) -> TrialSpec:
        return TrialSpec(self.task, outcome.trial_id, outcome.sample)


class TrialRuns:
    """Writes the trials of one arm, or the retrainings of its winner, to the tracking store.

    Every write is idempotent. All methods except `drawn_here` run in the outbox's thread.

    Args:
        task: the common input of the trials. Its `arm` is their key in the ledger.
        tags: tags of the arm in the tracking store.
        ledger: the epochs of a trial are read from it.
        tracker: writes to the store.
        retrains: id of the retrained trial; "" for the trials of a search.
    """

    def __init__(
        self, task: ArmTask, tags: Mapping[str, str], ledger: Ledger, tracker: StudyTracker, retrains: str
    ) -> None:
        self._task, self._tags, self._retrains = task, dict(tags), retrains
        self._ledger, self._tracker = ledger, tracker
        self._drawn_here: set[str] = set()
        self._with_settings: set[str] = set()  # trials whose settings are in the store
        self._logged: dict[str, int] = {}  # number of epochs in the store, by trial

    def drawn_here(self, trial_id: str) -> None:
        """Note that this driver drew the trial, so no other one can have created its run. Any thread may call this."""
        self._drawn_here.add(trial_id)

    def start(self, outcome: TrialOutcome) -> None:
        """Log that the trial is running, and its settings."""
        run_id = self._run_of(outcome)
        if not self._tracker.is_running(run_id):
            self._tracker.tag(run_id, self._running_tags(outcome))
            self._tracker.set_status(run_id, "RUNNING")
        self._tracker.log_json(run_id, "settings.json", settings_to_dict(self._settings(outcome)))
        self._with_settings.add(outcome.trial_id)

    def epochs(self, trial_id: str) -> None:
        """Log the epochs that are not in the store yet, in one call."""
        outcome, logged = self._ledger.outcomes(self._task.arm)[trial_id], self._logged.get(trial_id, 0)
        new, before = outcome.epochs[logged:], outcome.epochs[:logged][-1:]
        if new:
            moved = not before or before[0].node != new[-1].node
            rows = [(each.epoch, each.at_ms, each.metrics) for each in new]
            self._tracker.log_rows(self._run_of(outcome), rows, {"trial.node": new[-1].node} if moved else {})
            self._logged[trial_id] = logged + len(new)

    def pause(self, outcome: TrialOutcome) -> None:
        """Log that the trial is interrupted."""
        run_id = self._run_of(outcome)
        self._tracker.tag(run_id, {"trial.state": "interrupted", "trial.reason": INTERRUPTED})
        self._tracker.set_status(run_id, "KILLED", outcome.until_ms)

    def end(self, outcome: TrialOutcome) -> None:
        """Log the trial's best epoch, its model and how it ended.

        Data that the store rejected before are logged again, so a run with the end tags is complete.
        """
        if outcome.trial_id not in self._with_settings:
            self.start(outcome)
        self.epochs(outcome.trial_id)
        run_id = self._run_of(outcome)
        if outcome.model is not None:
            self._tracker.log_file(run_id, outcome.model, MODEL_FOLDER)
        rows: list[Row] = []
        if (best := outcome.best) is not None:
            metrics = {best_name(name): value for name, value in best.metrics.items() if name.startswith("val/")}
            rows.append((best.epoch, best.at_ms, metrics))
        self._tracker.log_rows(run_id, rows, {NOTE: self._end_note(outcome), **end_tags(outcome)})
        without_model = outcome.out_of_time and outcome.model is None
        self._tracker.set_status(run_id, "KILLED" if without_model else STATUS[outcome.state], outcome.until_ms)

    def log_all(self, outcome: TrialOutcome) -> None:
        """Log everything about a trial, unless its end and its model are in the store already."""
        folder = None if outcome.model is None else MODEL_FOLDER
        if outcome.state != "running" and self._tracker.has_ended_run(
            self._kind, outcome.trial_id, self._tags, end_tags(outcome), folder
        ):
            self._with_settings.add(outcome.trial_id)
            self._logged[outcome.trial_id] = len(outcome.epochs)
            return
        self.start(outcome)
        self.epochs(outcome.trial_id)
        if outcome.state == "running":
            self.pause(outcome)
        else:
            self.end(outcome)

    def _settings(self, outcome: TrialOutcome) -> Settings:
        return TrialSpec(self._task, outcome.trial_id, outcome.sample).settings

    def _run_of(self, outcome: TrialOutcome) -> str:
        """Return the id of the trial's run, which is created where it is missing."""
        settings = self._settings(outcome)
        loss = settings.loss
        params = {
            **outcome.sample,
            "lambda_1": loss.lambda_1,
            "lambda_2": loss.lambda_2,
            "lambda_3": loss.lambda_3,
            "alpha": loss.alpha,
            "model": settings.model.name,
            "max_epochs": settings.training.epochs,
        }
        return self._tracker.trial_run(
            self._kind,
            outcome.trial_id,
            self._name(outcome),
            self._trial_tags(outcome),
            params,
            self._running_tags(outcome),
            began_ms=outcome.began_ms,
            drawn_here=outcome.trial_id in self._drawn_here,
        )

    @property
    def _kind(self) -> str:
        return "retrain" if self._retrains else "trial"

    def _name(self, outcome: TrialOutcome) -> str:
        return f"{arm_title(self._tags)} {outcome.trial_id}"

    def _trial_tags(self, outcome: TrialOutcome) -> dict[str, str]:
        if not self._retrains:
            return self._tags
        own = {"retrain.of": self._retrains, "retrain.seed_index": str(outcome.number), "seed": str(outcome.seed)}
        return {**self._tags, **own}

    def _running_tags(self, outcome: TrialOutcome) -> dict[str, str]:
        note = f"{self._description(outcome)}. One point per epoch."
        return {"trial.state": "running", "trial.reason": "", NOTE: note}

    def _end_note(self, outcome: TrialOutcome) -> str:
        best = "No validation."
        if outcome.objective is not None:
            value = f"{outcome.ranked_by.metric} {outcome.objective_text(4)}"
            best = f"Best {value} in epoch {outcome.best_epoch} of {outcome.epoch}."
        end = ending(outcome.state, outcome.reason)
        reason = f": {outcome.reason}" if outcome.state == "failed" else ""
        return f"{self._description(outcome)}. {best} Ended: {end}{reason}."

    def _description(self, outcome: TrialOutcome) -> str:
        of = f" ({self._retrains} retrained with the new seed {outcome.seed})" if self._retrains else ""
        sample = ", ".join(f"{name} {value_text(value)}" for name, value in outcome.sample.items())
        return f"{self._name(outcome)}{of}: {sample or 'the settings of its arm'}"


def end_tags(outcome: TrialOutcome) -> dict[str, str]:
    """Return the tags of a trial's end. They are set after all other data, followed only by the status."""
    return {"trial.state": outcome.state, "trial.reason": outcome.reason, "trial.epochs": str(outcome.epoch)}

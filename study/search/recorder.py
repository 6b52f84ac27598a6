"""What happens to the trials of an arm: first written to the ledger, then told to the tracking store and the progress.

The ledger is what search and selection read. The store is told through the outbox, so that a store that is slow or
down costs neither a trial nor time.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from typing import Any

from jointnet.settings import settings_to_dict
from study.search.progress import StudyProgress
from study.search.work import Drawn
from study.store_layout import BEST, INTERRUPTED, OBJECTIVE, ending
from study.tracking.outbox import Outbox
from study.tracking.tracker import NOTE, Row, StudyTracker, arm_title
from study.trials.ledger import Ledger
from study.trials.outcome import TrialOutcome
from study.trials.trial import ArmTask, TrialSpec, freeze_model, keep_best_only

STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""How the tracking store shows the ends of trials; those that the time budget cut, or that wait, are KILLED there."""


class ArmRecorder:
    """Follows the trials of one arm, or the retrainings of its winner.

    Args:
        task: what they share; its `arm` names them in the ledger.
        tags: of the arm in the tracking store.
        ledger, tracker, outbox, progress: where it is told.
        row: of the progress; the task's arm where not given.
        retrains: the trial that these are retrainings of; "" for the trials of a search.
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
        self.row, self._retrains = row or task.arm, retrains
        self._tags, self._ledger, self._tracker = dict(tags), ledger, tracker
        self._outbox, self._progress = outbox, progress
        self._drawn_here: set[str] = set()
        self._told: dict[str, int] = {}  # epochs that the store has, by trial; known to the outbox's thread alone

    @property
    def outcomes(self) -> Mapping[str, TrialOutcome]:
        """The trials by id, in the order in which they were drawn, as the ledger has them at any time."""
        return self._ledger.outcomes(self.task.arm)

    def unfinished(self) -> list[TrialOutcome]:
        """Give the trials that are to run on, in that order."""
        return self._ledger.unfinished(self.task.arm)

    def catch_up(self, counted: bool = True) -> None:
        """Bring store and disk to what the ledger says of the trials that drivers before this one left.

        Args:
            counted: whether the progress counts them.
        """
        for outcome in self.outcomes.values():
            if outcome.over:
                self._tidy(outcome)
            if counted:
                self._progress.known(self.row, outcome)
            self._outbox.put(partial(self._tell_whole, outcome))

    def drawn(self, number: int, drawn: Drawn) -> str:
        """A trial is drawn; give its id."""
        own = {} if drawn.seed is None else {"seed": drawn.seed}
        content = {"trial": drawn.trial_id, "number": number, "sample": dict(drawn.sample), **own}
        self._drawn_here.add(drawn.trial_id)
        self._ledger.append("drawn", arm=self.task.arm, **content)
        return drawn.trial_id

    def started(self, trial_id: str) -> None:
        """An attempt at a trial begins."""
        if self.outcomes[trial_id].cut:
            self._ledger.append("continued", arm=self.task.arm, trial=trial_id)
        self._progress.trial_started(self.row, trial_id)
        self._outbox.put(partial(self._tell_start, self.outcomes[trial_id]))

    def reported(self, trial_id: str, epoch: int, metrics: Mapping[str, float], behind: bool, node: str) -> None:
        """A trial ended an epoch that was not recorded before, on the node of this address."""
        self._ledger.append(
            "epoch", arm=self.task.arm, trial=trial_id, epoch=epoch, metrics=dict(metrics), behind=behind, node=node
        )
        outcome = self.outcomes[trial_id]
        self._progress.epoch_done(self.row, trial_id, outcome.objective)
        self._outbox.put(partial(self._tell_epochs, trial_id))

    def attempt_failed(self, trial_id: str, reason: str) -> None:
        """The machine ended an attempt; the trial is not over."""
        self._ledger.append("failure", arm=self.task.arm, trial=trial_id, reason=reason)
        self._progress.note(f"{self.row}: trial {trial_id} was interrupted, it goes on from its checkpoint: {reason}")

    def paused(self, trial_id: str) -> None:
        """Nothing works on the trial any more, and a later driver goes on with it."""
        self._progress.trial_ended(self.row, trial_id, "interrupted", INTERRUPTED)
        self._outbox.put(partial(self._tell_pause, self.outcomes[trial_id]))

    def ended(self, trial_id: str, state: str, reason: str) -> None:
        """A trial is over: `complete`, `stopped` or `failed`. Its best model stays, and nothing else that it wrote."""
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
        self._outbox.put(partial(self._tell_end, outcome))

    def has_model(self, outcome: TrialOutcome) -> bool:
        """Whether the best model of a trial is on the disk, where it had an objective at all."""
        return not outcome.best_epoch or freeze_model(self._spec(outcome).folder, outcome.best_epoch) is not None

    def _tidy(self, outcome: TrialOutcome) -> None:
        """Bound the disk: of a trial that is over only the best model stays, of a failed one nothing."""
        folder = self._spec(outcome).folder
        if outcome.state == "failed":
            shutil.rmtree(folder, ignore_errors=True)
        elif outcome.over:
            keep_best_only(folder)

    def _spec(self, outcome: TrialOutcome) -> TrialSpec:
        return TrialSpec(self.task, outcome.trial_id, outcome.sample)

    # What the tracking store is told. Each may be told again.

    def _run_of(self, outcome: TrialOutcome) -> str:
        settings = self._spec(outcome).settings
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
            self._own_tags(outcome),
            params,
            self._running(outcome),
            drawn_here=outcome.trial_id in self._drawn_here,
        )

    def _running(self, outcome: TrialOutcome) -> dict[str, str]:
        """Give the tags of a trial that runs."""
        return {"trial.state": "running", "trial.reason": "", NOTE: f"{self._what(outcome)}. One point per epoch."}

    @property
    def _kind(self) -> str:
        return "retrain" if self._retrains else "trial"

    def _name(self, outcome: TrialOutcome) -> str:
        return f"{arm_title(self._tags)} {'seed' if self._retrains else 'trial'} {outcome.number}"

    def _own_tags(self, outcome: TrialOutcome) -> dict[str, str]:
        if not self._retrains:
            return self._tags
        own = {"retrain.of": self._retrains, "retrain.seed_index": str(outcome.number), "seed": str(outcome.seed)}
        return {**self._tags, **own}

    def _tell_start(self, outcome: TrialOutcome) -> None:
        run_id = self._run_of(outcome)
        if not self._tracker.is_running(run_id):
            self._tracker.tag(run_id, self._running(outcome))
            self._tracker.set_status(run_id, "RUNNING")
        self._tracker.log_json(run_id, "settings.json", settings_to_dict(self._spec(outcome).settings))

    def _tell_epochs(self, trial_id: str) -> None:
        """Tell the epochs that were not told yet: of several that waited for a slow store, in one call."""
        outcome, told = self.outcomes[trial_id], self._told.get(trial_id, 0)
        new, before = outcome.epochs[told:], outcome.epochs[:told][-1:]
        if new:
            moved = not before or before[0].node != new[-1].node
            rows = [(each.epoch, each.at_ms, each.metrics) for each in new]
            self._tracker.log_rows(self._run_of(outcome), rows, {"trial.node": new[-1].node} if moved else {})
            self._told[trial_id] = told + len(new)

    def _tell_pause(self, outcome: TrialOutcome) -> None:
        run_id = self._run_of(outcome)
        self._tracker.tag(run_id, {"trial.state": "interrupted", "trial.reason": INTERRUPTED})
        self._tracker.set_status(run_id, "KILLED")

    def _tell_end(self, outcome: TrialOutcome) -> None:
        run_id = self._run_of(outcome)
        if outcome.model is not None:
            self._tracker.log_file(run_id, outcome.model, "model")
        rows: list[Row] = []
        if outcome.best is not None:
            best, known = outcome.best, outcome.best.metrics.items()
            rows.append(
                (best.epoch, best.at_ms, {f"{BEST}{name}": value for name, value in known if name.startswith("val/")})
            )
        self._tracker.log_rows(run_id, rows, {NOTE: self._end_of(outcome), **_end_tags(outcome)})
        self._tracker.set_status(run_id, "KILLED" if outcome.cut else STATUS[outcome.state])

    def _tell_whole(self, outcome: TrialOutcome) -> None:
        """Tell all of a trial, unless the store has its end already."""
        if outcome.state != "running" and self._tracker.holds(
            self._kind, outcome.trial_id, self._tags, _end_tags(outcome)
        ):
            self._told[outcome.trial_id] = len(outcome.epochs)
            return
        self._tell_start(outcome)
        self._tell_epochs(outcome.trial_id)
        if outcome.state == "running":
            self._tell_pause(outcome)
        else:
            self._tell_end(outcome)

    def _end_of(self, outcome: TrialOutcome) -> str:
        """Describe a trial that has ended."""
        best = "No validation."
        if outcome.objective is not None:
            best = f"Best {OBJECTIVE} {outcome.objective:.4f} in epoch {outcome.best_epoch} of {outcome.epoch}."
        end = ending(outcome.state, outcome.reason)
        reason = f": {outcome.reason}" if outcome.state == "failed" else ""
        return f"{self._what(outcome)}. {best} Ended: {end}{reason}."

    def _what(self, outcome: TrialOutcome) -> str:
        of = f" ({self._retrains} retrained with the fresh seed {outcome.seed})" if self._retrains else ""
        return f"{self._name(outcome)}{of}: {_shown(outcome.sample)}"


def _end_tags(outcome: TrialOutcome) -> dict[str, str]:
    """Give the tags that say how a trial ended; a run that has them, and a status, has everything."""
    return {"trial.state": outcome.state, "trial.reason": outcome.reason, "trial.epochs": str(outcome.epoch)}


def _shown(sample: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.items())

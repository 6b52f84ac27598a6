"""What became of the trials of an arm: kept in memory, written to the tracking store, shown by the progress.

The memory is what the selection reads. A fault of the store never stops a search: it is said once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jointnet.settings import settings_to_dict
from study.progress import StudyProgress
from study.store_layout import EARLY, OBJECTIVE, TIME_BUDGET, ending
from study.tracking import StudyTracker
from study.trial import ArmTask, TrialSpec, freeze_model


@dataclass(frozen=True)
class TrialOutcome:
    """One trial so far.

    Attributes:
        run_id: its run in the tracking store; None where the store could not be written.
        state: `running`, `complete`, `stopped` (early, by ASHA or the time budget), `failed` or `interrupted`.
        reason: why it stopped or failed.
        objective: the best so far; None before the first validation.
        best_epoch: the epoch of that objective.
        epoch: the last epoch.
        metrics: of the best epoch.
        model: the file of the best epoch's model; None while the trial runs, or where it left none.
    """

    trial_id: str
    sample: Mapping[str, Any]
    folder: Path
    run_id: str | None = None
    state: str = "running"
    reason: str = ""
    objective: float | None = None
    best_epoch: int = 0
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    model: Path | None = None


class ArmRecorder:
    """Follows the trials of one arm."""

    def __init__(
        self, task: ArmTask, arm_run: str, tags: Mapping[str, str], tracker: StudyTracker, progress: StudyProgress
    ) -> None:
        self._task, self._arm_run, self._tags = task, arm_run, dict(tags)
        self._tracker, self._progress = tracker, progress
        self._warned = False
        self._nodes: dict[str, str] = {}
        self.outcomes: dict[str, TrialOutcome] = {}

    def started(self, trial_id: str, sample: Mapping[str, Any]) -> None:
        """A trial starts, or starts again."""
        spec = TrialSpec(self._task, trial_id, dict(sample))
        self.outcomes[trial_id] = TrialOutcome(trial_id, spec.sample, spec.folder)
        self._progress.trial_started(self._task.arm, trial_id)
        run_id = self._safely(lambda: self._open_run(spec))
        self.outcomes[trial_id] = replace(self.outcomes[trial_id], run_id=run_id)

    def placed(self, trial_id: str, node: str) -> None:
        """A trial runs on the node of this address."""
        if self._nodes.get(trial_id) != node:
            self._nodes[trial_id] = node
            run_id = self.outcomes[trial_id].run_id
            if run_id is not None:
                self._safely(lambda: self._tracker.tag(run_id, {"trial.node": node}))

    def reported(
        self, trial_id: str, epoch: int, metrics: Mapping[str, float], objective: float | None, best_epoch: int
    ) -> None:
        """A trial ends an epoch; an epoch that is reported again, after a restart, counts once."""
        known = self.outcomes[trial_id]
        if epoch <= known.epoch:
            return
        kept = dict(metrics) if best_epoch == epoch else known.metrics
        now = replace(known, epoch=epoch, objective=objective, best_epoch=best_epoch, metrics=kept)
        self.outcomes[trial_id] = now
        self._progress.epoch_done(self._task.arm, trial_id, objective)
        if now.run_id is not None:
            self._safely(lambda: self._tracker.log_metrics(str(now.run_id), metrics, step=epoch))

    def ended(self, trial_id: str) -> None:
        """A trial trained all its epochs, or was stopped early."""
        complete = self.outcomes[trial_id].epoch >= self._task.settings.training.epochs
        self._end(trial_id, "complete" if complete else "stopped", "" if complete else EARLY, "FINISHED")

    def failed(self, trial_id: str, reason: str) -> None:
        """A trial raised."""
        self._end(trial_id, "failed", reason, "FAILED")

    def close(self, reason: str) -> None:
        """The search is over: end what still runs, for this reason."""
        state = "stopped" if reason == TIME_BUDGET else "interrupted"
        for trial_id, outcome in list(self.outcomes.items()):
            if outcome.state == "running":
                self._end(trial_id, state, reason, "KILLED")

    def _end(self, trial_id: str, state: str, reason: str, status: str) -> None:
        known = self.outcomes[trial_id]
        model = freeze_model(known.folder, known.best_epoch) if state != "failed" and known.best_epoch else None
        now = replace(known, state=state, reason=reason, model=model)
        self.outcomes[trial_id] = now
        self._progress.trial_ended(self._task.arm, trial_id, state, reason)
        if now.run_id is not None:
            self._safely(lambda: self._close_run(now, status))

    def _open_run(self, spec: TrialSpec) -> str:
        settings = spec.settings
        loss = settings.loss
        params = {
            **spec.sample,
            "lambda_1": loss.lambda_1,
            "lambda_2": loss.lambda_2,
            "lambda_3": loss.lambda_3,
            "alpha": loss.alpha,
            "model": settings.model.name,
            "max_epochs": settings.training.epochs,
        }
        name = f"{self._task.arm} trial {list(self.outcomes).index(spec.trial_id) + 1}"
        run_id = self._tracker.trial_run(self._arm_run, spec.trial_id, name, self._tags, params)
        self._tracker.describe(run_id, f"{name}: {_shown(spec.sample)}. One point per epoch.")
        self._tracker.log_json(run_id, "settings.json", settings_to_dict(settings))
        return run_id

    def _close_run(self, outcome: TrialOutcome, status: str) -> None:
        run_id = str(outcome.run_id)
        try:
            self._tracker.tag(run_id, {"trial.state": outcome.state, "trial.reason": outcome.reason})
            self._tracker.describe(run_id, self._told(outcome))
            if outcome.model is not None:
                self._tracker.log_file(run_id, outcome.model, "model")
        finally:
            self._tracker.end(run_id, status)

    def _told(self, outcome: TrialOutcome) -> str:
        """Describe a trial that has ended."""
        best = "No validation."
        if outcome.objective is not None:
            best = f"Best {OBJECTIVE} {outcome.objective:.4f} in epoch {outcome.best_epoch} of {outcome.epoch}."
        end = ending(outcome.state, outcome.reason)
        reason = f": {outcome.reason}" if outcome.state == "failed" else ""
        return f"{self._task.arm}, {_shown(outcome.sample)}. {best} Ended: {end}{reason}."

    def _safely(self, write: Callable[[], Any]) -> Any:
        """Give what `write` gives; None, and one warning, where the store cannot be written."""
        try:
            return write()
        except Exception as error:  # a tracking store that is down must not cost the search
            if not self._warned:
                self._warned = True
                self._progress.note(f"WARNING: {self._task.arm}: the tracking store cannot be written: {error}")
            return None


def _shown(sample: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.items())

"""The runs of an arm's trials in the tracking store. Every write can be repeated without an effect."""

from collections.abc import Mapping
from typing import Any

from jointnet.settings import Settings, settings_to_dict
from study.store_names import BEST, INTERRUPTED, OBJECTIVE, ending
from study.tracking.runs import NOTE, Row, StudyTracker, arm_title
from study.trials.ledger import Ledger
from study.trials.outcome import TrialOutcome
from study.trials.trial import ArmTask, TrialSpec

STATUS = {"complete": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""MLflow status by state. Trials that were stopped by the time budget or interrupted are KILLED."""
MODEL_FOLDER = "model"
"""Artifact folder of a trial's run."""


class TrialRuns:
    """Writes the trials of one arm, or the retrainings of its winner, to the tracking store.

    All methods except `drawn_here` run in the outbox's thread.

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
        self._started: set[str] = set()  # trials whose settings are in the store
        self._told: dict[str, int] = {}  # number of epochs in the store, by trial

    def drawn_here(self, trial_id: str) -> None:
        """Note that this driver drew the trial, so no other one can have created its run. Any thread may call this."""
        self._drawn_here.add(trial_id)

    def start(self, outcome: TrialOutcome) -> None:
        """Log that the trial is running, and its settings."""
        run_id = self._run_of(outcome)
        if not self._tracker.is_running(run_id):
            self._tracker.tag(run_id, self._running(outcome))
            self._tracker.set_status(run_id, "RUNNING")
        self._tracker.log_json(run_id, "settings.json", settings_to_dict(self._settings(outcome)))
        self._started.add(outcome.trial_id)

    def epochs(self, trial_id: str) -> None:
        """Log the epochs that are not in the store yet, in one call."""
        outcome, told = self._ledger.outcomes(self._task.arm)[trial_id], self._told.get(trial_id, 0)
        new, before = outcome.epochs[told:], outcome.epochs[:told][-1:]
        if new:
            moved = not before or before[0].node != new[-1].node
            rows = [(each.epoch, each.at_ms, each.metrics) for each in new]
            self._tracker.log_rows(self._run_of(outcome), rows, {"trial.node": new[-1].node} if moved else {})
            self._told[trial_id] = told + len(new)

    def pause(self, outcome: TrialOutcome) -> None:
        """Log that the trial is interrupted."""
        run_id = self._run_of(outcome)
        self._tracker.tag(run_id, {"trial.state": "interrupted", "trial.reason": INTERRUPTED})
        self._tracker.set_status(run_id, "KILLED", outcome.until_ms)

    def end(self, outcome: TrialOutcome) -> None:
        """Log the trial's best epoch, its model and how it ended.

        Data that the store rejected before are logged again, so a run with the end tags is complete.
        """
        if outcome.trial_id not in self._started:
            self.start(outcome)
        self.epochs(outcome.trial_id)
        run_id = self._run_of(outcome)
        if outcome.model is not None:
            self._tracker.log_file(run_id, outcome.model, MODEL_FOLDER)
        rows: list[Row] = []
        if outcome.best is not None:
            best, known = outcome.best, outcome.best.metrics.items()
            rows.append(
                (best.epoch, best.at_ms, {f"{BEST}{name}": value for name, value in known if name.startswith("val/")})
            )
        self._tracker.log_rows(run_id, rows, {NOTE: self._end_of(outcome), **end_tags(outcome)})
        self._tracker.set_status(run_id, "KILLED" if outcome.cut else STATUS[outcome.state], outcome.until_ms)

    def whole(self, outcome: TrialOutcome) -> None:
        """Log everything about a trial, unless its end and its model are in the store already."""
        folder = None if outcome.model is None else MODEL_FOLDER
        if outcome.state != "running" and self._tracker.holds(
            self._kind, outcome.trial_id, self._tags, end_tags(outcome), folder
        ):
            self._started.add(outcome.trial_id)
            self._told[outcome.trial_id] = len(outcome.epochs)
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
            self._own_tags(outcome),
            params,
            self._running(outcome),
            began_ms=outcome.began_ms,
            drawn_here=outcome.trial_id in self._drawn_here,
        )

    def _running(self, outcome: TrialOutcome) -> dict[str, str]:
        """Return the tags of a running trial."""
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

    def _end_of(self, outcome: TrialOutcome) -> str:
        """Return the note of a trial that has ended."""
        best = "No validation."
        if outcome.objective is not None:
            best = f"Best {OBJECTIVE} {outcome.objective:.4f} in epoch {outcome.best_epoch} of {outcome.epoch}."
        end = ending(outcome.state, outcome.reason)
        reason = f": {outcome.reason}" if outcome.state == "failed" else ""
        return f"{self._what(outcome)}. {best} Ended: {end}{reason}."

    def _what(self, outcome: TrialOutcome) -> str:
        of = f" ({self._retrains} retrained with the fresh seed {outcome.seed})" if self._retrains else ""
        return f"{self._name(outcome)}{of}: {_shown(outcome.sample)}"


def end_tags(outcome: TrialOutcome) -> dict[str, str]:
    """Return the tags of a trial's end. They are set after all other data, followed only by the status."""
    return {"trial.state": outcome.state, "trial.reason": outcome.reason, "trial.epochs": str(outcome.epoch)}


def _shown(sample: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.items())

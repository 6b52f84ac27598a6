"""Selection of one trial per arm by the objective on the validation patients, before the test patients are opened."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from study.store_names import OBJECTIVE, TIME_BUDGET, ending
from study.trials.outcome import TrialOutcome


class NoFinishedTrialError(Exception):
    """No trial of an arm ended with an objective and a model, so none can be selected."""


@dataclass(frozen=True)
class Selection:
    """The selected trial of an arm.

    Attributes:
        candidates: number of candidates for the selection.
        remarks: lines about trials that were no candidates or were stopped by the time budget.
    """

    arm: str
    trial: TrialOutcome
    model: Path
    candidates: int
    remarks: tuple[str, ...]
    frozen_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return the selection as it is recorded in the ledger."""
        return {
            "arm": self.arm,
            "metric": OBJECTIVE,
            "trial_id": self.trial.trial_id,
            "objective": self.trial.objective,
            "epoch": self.trial.best_epoch,
            "parameters": dict(self.trial.sample),
            "candidates": self.candidates,
            "remarks": list(self.remarks),
            "frozen_at": self.frozen_at.isoformat(),
            "validation": {name: value for name, value in self.trial.metrics.items() if name.startswith("val/")},
        }


def select_best(arm: str, trials: Iterable[TrialOutcome], planned: int | None, now: datetime) -> Selection:
    """Select the trial with the smallest objective, of equal ones the first by id.

    A trial is a candidate if it ended (complete, pruned, or stopped by the time budget), has a finite objective, and
    has the model of its best epoch. Failed and running trials are no candidates. Where fewer than `planned` trials are
    candidates (None: as many as the time allowed), the remarks give the reasons.

    Raises:
        NoFinishedTrialError: there is no candidate.
    """
    trials = list(trials)
    candidates = [trial for trial in trials if is_candidate(trial)]
    remarks = _remarks(trials, planned)
    if not candidates:
        told = "; ".join(remarks) or "no trial was started"
        raise NoFinishedTrialError(
            f"{arm}: at least one trial must end with an objective and a model, none did ({told})"
        )
    best = min(candidates, key=lambda trial: (trial.objective, trial.trial_id))
    assert best.model is not None
    return Selection(arm, best, best.model, len(candidates), remarks, now)


def is_candidate(trial: TrialOutcome) -> bool:
    """Return whether a trial ended with a finite objective and a model."""
    finite = trial.objective is not None and math.isfinite(trial.objective)
    return trial.state in ("complete", "stopped") and finite and trial.model is not None


def _remarks(trials: list[TrialOutcome], planned: int | None) -> tuple[str, ...]:
    """Return lines about trials that were no candidates or were stopped by the time budget, in the report's terms."""
    counts = {
        ending("failed", ""): sum(trial.state == "failed" for trial in trials),
        ending("running", ""): sum(trial.state == "running" for trial in trials),
        ending("stopped", TIME_BUDGET): sum(trial.out_of_time for trial in trials),
        "ended without a model": sum(
            trial.state in ("complete", "stopped") and not is_candidate(trial) for trial in trials
        ),
        "never started": 0 if planned is None else planned - len(trials),
    }
    whole = max(planned or 0, len(trials))
    return tuple(f"{count} of {whole} trials {what}" for what, count in counts.items() if count > 0)

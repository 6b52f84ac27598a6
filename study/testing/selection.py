"""The choice of one trial per arm by the objective on the validation patients, before the test patients are opened."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from study.store_layout import OBJECTIVE, TIME_BUDGET, ending
from study.trials.outcome import TrialOutcome


class NoFinishedTrialError(Exception):
    """No trial of an arm ended with an objective and a model, so that none can be selected."""


@dataclass(frozen=True)
class Selection:
    """The chosen trial of an arm, frozen.

    Attributes:
        candidates: trials that it was chosen among.
        remarks: what a reader must know of the trials that were no candidates, or were cut short.
    """

    arm: str
    trial: TrialOutcome
    model: Path
    candidates: int
    remarks: tuple[str, ...]
    frozen_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Give the selection as it is recorded."""
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
    """Choose the trial with the smallest objective; at equal ones the first by id.

    A trial is a candidate where it ended (complete, stopped early, or cut short by the time budget after an epoch or
    more) and its model of the best epoch is on disk. A failed or running one never is. Where fewer than `planned`
    trials are candidates (None: as many as the time allowed), the remarks say why.

    Raises:
        NoFinishedTrialError: where there is no candidate.
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
    """Whether a trial ended with an objective and a model."""
    finite = trial.objective is not None and math.isfinite(trial.objective)
    return trial.state in ("complete", "stopped") and finite and trial.model is not None


def _remarks(trials: list[TrialOutcome], planned: int | None) -> tuple[str, ...]:
    """Say which trials were no candidates or were cut short; how they ended, in the words that the report counts by."""
    counts = {
        ending("failed", ""): sum(trial.state == "failed" for trial in trials),
        ending("running", ""): sum(trial.state == "running" for trial in trials),
        ending("stopped", TIME_BUDGET): sum(trial.cut for trial in trials),
        "ended without a model": sum(
            trial.state in ("complete", "stopped") and not is_candidate(trial) for trial in trials
        ),
        "never started": 0 if planned is None else planned - len(trials),
    }
    whole = max(planned or 0, len(trials))
    return tuple(f"{count} of {whole} trials {what}" for what, count in counts.items() if count > 0)

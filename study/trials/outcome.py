"""What became of a trial so far, as the ledger's events tell it: pure values, and how one event changes them."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from study.store_layout import OBJECTIVE, TIME_BUDGET


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a trial: number from 1, when it was reported (Unix time in ms), metrics, address of its node."""

    epoch: int
    at_ms: int
    metrics: Mapping[str, float]
    node: str = ""


@dataclass(frozen=True)
class TrialOutcome:
    """One trial so far.

    Attributes:
        number: of the trial in its arm, from 1.
        sample: what was drawn for it.
        state: `running` (begun and not over, whether or not a process works on it now), `complete`, `stopped` (early,
            or by the time budget) or `failed`.
        reason: why it stopped or failed.
        epochs: all that were reported, in order.
        behind: whether early stopping decided against it at its last epoch.
        failures: attempts that the machine ended since the last epoch.
        model: the file of the best epoch's model; None while the trial runs, or where it left none.
        seed: of the training, of a retraining; None is the study's, as in all trials of a search.
        began_ms, until_ms: when it was drawn, and when its last event was (Unix time).
    """

    number: int
    trial_id: str
    sample: Mapping[str, Any]
    state: str = "running"
    reason: str = ""
    epochs: tuple[EpochRecord, ...] = field(default=(), repr=False)
    behind: bool = False
    failures: int = 0
    model: Path | None = None
    seed: int | None = None
    began_ms: int | None = None
    until_ms: int | None = None

    @property
    def epoch(self) -> int:
        """The last epoch, 0 before the first."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def best(self) -> EpochRecord | None:
        """The first epoch of the least finite objective."""
        finite = [epoch for epoch in self.epochs if math.isfinite(epoch.metrics.get(OBJECTIVE, math.nan))]
        return min(finite, key=lambda epoch: epoch.metrics[OBJECTIVE], default=None)

    @property
    def objective(self) -> float | None:
        """The best so far; None before the first validation."""
        return None if self.best is None else self.best.metrics[OBJECTIVE]

    @property
    def best_epoch(self) -> int:
        """The epoch of the objective, 0 before the first validation."""
        return 0 if self.best is None else self.best.epoch

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the best epoch."""
        return {} if self.best is None else self.best.metrics

    @property
    def cut(self) -> bool:
        """Whether the time budget ended it: it can be selected, and goes on where there is more time."""
        return self.state == "stopped" and self.reason == TIME_BUDGET

    @property
    def over(self) -> bool:
        """Whether it never runs again."""
        return self.state != "running" and not self.cut

    @property
    def history(self) -> dict[int, float]:
        """The best objective so far after each epoch from the first one that has it."""
        found: dict[int, float] = {}
        best = math.inf
        for epoch in self.epochs:
            value = epoch.metrics.get(OBJECTIVE, math.nan)
            best = min(best, value) if math.isfinite(value) else best
            if math.isfinite(best):
                found[epoch.epoch] = best
        return found

    def with_epoch(self, record: EpochRecord, behind: bool = False) -> "TrialOutcome":
        """Give the trial with one more epoch."""
        return replace(self, epochs=(*self.epochs, record), behind=behind, failures=0)


def trial_name(number: int) -> str:
    """Give the id of a trial by its number from 1; ids sort like numbers."""
    return f"t{number:04}"


def after(outcome: TrialOutcome | None, event: Mapping[str, Any], folder: Path) -> TrialOutcome | None:
    """Return a trial's outcome after one of its events.

    Args:
        outcome: before it; None before the trial was drawn.
        event: of the ledger, see `study.trials.ledger`.
        folder: of the study; a model's path in an event is relative to it.
    """
    kind, at_ms = event["event"], event.get("at_ms")
    if kind == "drawn":
        sample = dict(event["sample"])
        known = TrialOutcome(int(event["number"]), str(event["trial"]), sample, seed=event.get("seed"))
        return replace(known, began_ms=at_ms, until_ms=at_ms)
    if outcome is None:
        return None
    outcome = replace(outcome, until_ms=at_ms)
    if kind == "epoch":
        record = EpochRecord(int(event["epoch"]), int(event["at_ms"]), event["metrics"], sys.intern(str(event["node"])))
        return outcome.with_epoch(record, bool(event["behind"]))
    if kind == "failure":
        return replace(outcome, failures=outcome.failures + 1)
    if kind == "ended":
        model = folder / event["model"] if event["model"] else None
        return replace(outcome, state=str(event["state"]), reason=str(event["reason"]), model=model)
    if kind == "continued":
        return replace(outcome, state="running", reason="", model=None)
    return outcome

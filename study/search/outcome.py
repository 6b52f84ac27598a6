"""The outcome of a trial so far, as a frozen value, and its update by an event of the ledger."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.store_names import TIME_BUDGET


class NoFinishedTrialError(Exception):
    """No trial of an arm ended with an objective and a model, so none can be selected."""


@dataclass(frozen=True)
class EpochRecord:
    """An `EpochReport` as the ledger holds it: number from 1, time (Unix time in ms), metrics, address of the node."""

    epoch: int
    at_ms: int
    metrics: Mapping[str, float]
    node: str = ""


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of a trial so far.

    Attributes:
        number: number of the trial in its arm, from 1.
        sample: the drawn parameter values.
        state: `running` (drawn and not over, whether or not a process works on it now), `complete`, `stopped` (pruned,
            or stopped by the time budget) or `failed`.
        reason: why the trial stopped or failed.
        epochs: all reported epochs, in order.
        pruned: whether early stopping prunes the trial after its last epoch.
        failures: number of attempts that the machine ended since the last epoch.
        model: model file of the best epoch; None while the trial runs, or where it has none.
        seed: training seed of a retraining; None is the study's seed, as in all trials of a search.
        began_ms, until_ms: times of the draw and of the last event (Unix time in ms).
        ranked_by: the objective of the study.
    """

    number: int
    trial_id: str
    sample: Mapping[str, Any]
    state: str = "running"
    reason: str = ""
    epochs: tuple[EpochRecord, ...] = field(default=(), repr=False)
    pruned: bool = False
    failures: int = 0
    model: Path | None = None
    seed: int | None = None
    began_ms: int | None = None
    until_ms: int | None = None
    ranked_by: Objective = field(default=REGISTRATION_RATIO, repr=False)

    @property
    def epoch(self) -> int:
        """The number of the last epoch; 0 before the first."""
        return self.epochs[-1].epoch if self.epochs else 0

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the best finite objective, the first of equal ones; None before the first validation."""
        return self.ranked_by.best(self.epochs)

    @property
    def objective(self) -> float | None:
        """The best objective so far; None before the first validation."""
        return None if self.best is None else self.best.metrics[self.ranked_by.metric]

    @property
    def values(self) -> tuple[float, ...] | None:
        """The values of all metrics of the objective in the best epoch; None where one is missing."""
        return None if self.best is None else self.ranked_by.values(self.best.metrics)

    @property
    def costs(self) -> tuple[float, ...]:
        """What ranks the trial: the best objective so far, and of equal ones the further metrics of the same epoch.

        Their signs are those with which lower ones are better. What is missing is infinite.
        """
        known = [(each, each.value(self.metrics)) for each in self.ranked_by.all]
        return tuple(math.inf if value is None else each.cost(value) for each, value in known)

    def objective_text(self, digits: int = 3) -> str:
        """Return the best objective so far with its unit; "" before the first validation."""
        return "" if self.objective is None else self.ranked_by.text(self.objective, digits)

    @property
    def best_epoch(self) -> int:
        """The number of the epoch with the best objective; 0 before the first validation."""
        return 0 if self.best is None else self.best.epoch

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the best epoch; empty before the first validation."""
        return {} if self.best is None else self.best.metrics

    @property
    def out_of_time(self) -> bool:
        """Return whether the time budget stopped the trial. It can be selected, and continues if there is time."""
        return self.state == "stopped" and self.reason == TIME_BUDGET

    @property
    def is_final(self) -> bool:
        """Return whether the trial is final and never runs again."""
        return self.state != "running" and not self.out_of_time

    @property
    def history(self) -> dict[int, float]:
        """The best objective so far after each epoch, from the first epoch with an objective."""
        best_so_far: dict[int, float] = {}
        best: float | None = None
        for epoch in self.epochs:
            value, cost = self.ranked_by.value(epoch.metrics), self.ranked_by.cost
            if value is not None and (best is None or cost(value) < cost(best)):
                best = value
            if best is not None:
                best_so_far[epoch.epoch] = best
        return best_so_far

    def with_epoch(self, record: EpochRecord, pruned: bool = False) -> "TrialOutcome":
        """Return the outcome with one more epoch."""
        return replace(self, epochs=(*self.epochs, record), pruned=pruned, failures=0)


def trial_name(number: int) -> str:
    """Return the id of a trial from its number, from 1. Up to 9999 trials the ids sort like the numbers."""
    return f"t{number:04}"


def after(
    outcome: TrialOutcome | None, event: Mapping[str, Any], folder: Path, objective: Objective = REGISTRATION_RATIO
) -> TrialOutcome | None:
    """Return a trial's outcome after an event.

    Args:
        outcome: the outcome before the event; None before the trial was drawn.
        event: an event of the ledger, see `study.trials.ledger`.
        folder: folder of the study. The path of a model in an event is relative to it.
        objective: the objective of the study.
    """
    kind, at_ms = event["event"], event.get("at_ms")
    if kind == "drawn":
        sample, seed = dict(event["sample"]), event.get("seed")
        drawn = TrialOutcome(int(event["number"]), str(event["trial"]), sample, seed=seed, ranked_by=objective)
        return replace(drawn, began_ms=at_ms, until_ms=at_ms)
    if outcome is None:
        return None
    outcome = replace(outcome, until_ms=at_ms)
    if kind == "epoch":
        record = EpochRecord(int(event["epoch"]), int(event["at_ms"]), event["metrics"], sys.intern(str(event["node"])))
        return outcome.with_epoch(record, bool(event["pruned"] if "pruned" in event else event["behind"]))
    if kind == "failure":
        return replace(outcome, failures=outcome.failures + 1)
    if kind == "ended":
        model = folder / event["model"] if event["model"] else None
        return replace(outcome, state=str(event["state"]), reason=str(event["reason"]), model=model)
    if kind == "continued":
        return replace(outcome, state="running", reason="", model=None)
    return outcome

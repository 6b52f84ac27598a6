"""Outcomes of trials from their objectives per epoch."""

from collections.abc import Sequence
from pathlib import Path

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.search.outcome import EpochRecord, TrialOutcome, trial_name


def outcome(
    number: int,
    values: Sequence[float | tuple[float, ...] | None],
    state: str = "complete",
    reason: str = "",
    sample: dict | None = None,
    model: Path | None = None,
    ranked_by: Objective = REGISTRATION_RATIO,
) -> TrialOutcome:
    """Return a trial with these objectives from epoch 1 on: None without validation, tuples for several metrics."""
    names = [each.metric for each in ranked_by.all]
    metrics = [
        {} if value is None else dict(zip(names, value if isinstance(value, tuple) else (value,), strict=False))
        for value in values
    ]
    epochs = tuple(
        EpochRecord(epoch, 1000 + epoch, {"train/loss": 1.0} | own) for epoch, own in enumerate(metrics, start=1)
    )
    drawn = sample or {"alpha": 0.5}
    return TrialOutcome(number, trial_name(number), drawn, state, reason, epochs, model=model, ranked_by=ranked_by)

"""Outcomes of trials from their objectives per epoch."""

from pathlib import Path

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.search.outcome import EpochRecord, TrialOutcome, trial_name


def outcome(
    number: int,
    values: list[float | None],
    state: str = "complete",
    reason: str = "",
    sample: dict | None = None,
    model: Path | None = None,
    ranked_by: Objective = REGISTRATION_RATIO,
) -> TrialOutcome:
    """Return a trial with these objectives from epoch 1 on; None is an epoch without validation."""
    epochs = tuple(
        EpochRecord(epoch, 1000 + epoch, {"train/loss": 1.0} | ({} if value is None else {ranked_by.metric: value}))
        for epoch, value in enumerate(values, start=1)
    )
    drawn = sample or {"alpha": 0.5}
    return TrialOutcome(number, trial_name(number), drawn, state, reason, epochs, model=model, ranked_by=ranked_by)

"""How long a study will probably take: epochs by ASHA's rungs, seconds by what an epoch took on one CPU core."""

import math

from jointnet.settings import Settings, load_settings
from study.planning.plan import Arm, Plan
from study.question.space import Fidelity

SECONDS_PER_PATIENT_EPOCH = {"joint": 0.5, "standalone": 0.12}
"""By model: one epoch of one training patient on one CPU core, on the phantom with MEASURED_SETTINGS.

A validated patient costs half of it. Good to a factor of two.
"""
MEASURED_SETTINGS = "quick"
MINUTES_BESIDE_SEARCH = 1.5
"""Ray's start, the cache, the sealed test and the report."""
_MANY = 1000


def expected_epochs(fidelity: Fidelity, num_samples: int) -> float:
    """Give the epochs of all trials where at each rung one trial in `reduction_factor` goes on, but at least one."""
    epochs, reached, going_on = 0.0, 0, float(num_samples)
    rung = fidelity.grace_epochs
    while reached < fidelity.max_epochs:
        rung = min(rung, fidelity.max_epochs)
        epochs += going_on * (rung - reached)
        reached, rung = rung, rung * fidelity.reduction_factor
        going_on = max(1.0, going_on / fidelity.reduction_factor)
    return epochs


def relative_work(settings: Settings) -> float:
    """Give the cost of a training step relative to MEASURED_SETTINGS: pixels x channels squared, over the levels."""
    return _work(settings) / _work(load_settings(MEASURED_SETTINGS))


def seconds_per_epoch(plan: Plan, arm: Arm) -> float | None:
    """Give the expected seconds of one epoch of one trial, its share of the validations included.

    They are scaled by `relative_work` where the settings are not MEASURED_SETTINGS; None on a GPU, where none was
    measured.
    """
    if plan.resources.device != "cpu":
        return None
    settings, counts = arm.space.settings_of(arm.model), arm.split.counts
    patients = counts.train + 0.5 * counts.validation / settings.training.validate_every
    return SECONDS_PER_PATIENT_EPOCH[arm.model] * relative_work(settings) * patients


def arm_epochs(plan: Plan, arm: Arm) -> float | None:
    """Give the epochs of all trials of an arm together that its search probably needs.

    None where it draws trials until its minutes are over and no epoch was ever measured on this device.
    """
    samples = arm.space.budget.num_samples
    if samples is not None:
        return expected_epochs(arm.space.fidelity, samples)
    seconds, share = seconds_per_epoch(plan, arm), budget_share_minutes(plan, arm)
    return None if seconds is None or share is None else share * 60 * plan.resources.concurrent / seconds


def arm_trials(plan: Plan, arm: Arm) -> float | None:
    """Give the trials of an arm: those asked for, or as many as probably fit its minutes; None where nobody knows."""
    if arm.space.budget.num_samples is not None:
        return arm.space.budget.num_samples
    epochs = arm_epochs(plan, arm)
    each = expected_epochs(arm.space.fidelity, _MANY) / _MANY
    return None if epochs is None else max(1.0, epochs / each)


def arm_minutes(plan: Plan, arm: Arm) -> float | None:
    """Give the expected minutes of an arm's search: the estimate, at most its share of the time budget.

    None where neither is known.
    """
    seconds, share, samples = (
        seconds_per_epoch(plan, arm),
        budget_share_minutes(plan, arm),
        arm.space.budget.num_samples,
    )
    if seconds is None or samples is None:
        return share
    at_once = min(plan.resources.concurrent, samples)
    estimate = expected_epochs(arm.space.fidelity, samples) * seconds / at_once / 60
    return estimate if share is None else min(estimate, share)


def retrain_minutes(plan: Plan, arm: Arm) -> float | None:
    """Give the expected minutes of an arm's retrainings, which all train to the end; None where nobody knows."""
    seconds, seeds = seconds_per_epoch(plan, arm), plan.design.seeds
    if not seeds:
        return 0.0
    turns = -(-seeds // plan.resources.concurrent)
    return None if seconds is None else turns * arm.space.fidelity.max_epochs * seconds / 60


def training_hours(plan: Plan) -> float | None:
    """Give the expected hours of all trials and retrainings, one after the other; None where nobody knows.

    Times the CPU cores or GPUs of a trial these are CPU- or GPU-hours.
    """
    total = 0.0
    for arm in plan.arms:
        epochs, seconds, share = arm_epochs(plan, arm), seconds_per_epoch(plan, arm), budget_share_minutes(plan, arm)
        if epochs is None or seconds is None:
            return None
        most = math.inf if share is None else share * plan.resources.concurrent / 60
        total += min(epochs * seconds / 3600, most)
        total += plan.design.seeds * arm.space.fidelity.max_epochs * seconds / 3600
    return total


def budget_share_minutes(plan: Plan, arm: Arm) -> float | None:
    """Give an arm's share of the time budget: its own minutes, or an equal share of its search's; None: no limit."""
    budget = arm.space.budget
    if budget.minutes is None or budget.per_arm:
        return budget.minutes
    return budget.minutes / sum(other.space.name == arm.space.name for other in plan.arms)


def expected_minutes(plan: Plan) -> float | None:
    """Give the expected minutes of the whole study, None where those of an arm are not known."""
    minutes = [each for arm in plan.arms for each in (arm_minutes(plan, arm), retrain_minutes(plan, arm))]
    known = [each for each in minutes if each is not None]
    return MINUTES_BESIDE_SEARCH + sum(known) if len(known) == len(minutes) else None


def _work(settings: Settings) -> float:
    model = settings.model
    pixels = 1 / (settings.training.downsampling * model.stem) ** 2
    return sum(pixels / 4**level * width**2 for level, width in enumerate(model.widths))

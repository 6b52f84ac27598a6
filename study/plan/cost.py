"""Estimated cost of a study: its duration and its use of the disk.

The duration is the number of epochs from ASHA's rungs, times the measured seconds of an epoch. The disk holds the model
of every training, the checkpoints of running trainings, and the ledger; these values are upper bounds. Where trials are
drawn until the time is over both are based on an estimated number of trials. One step of a model whose cost is unknown
is timed.
"""

import math
import time
from functools import lru_cache

from jointnet.models import model_of
from jointnet.settings import Settings, load_settings
from jointnet.system.quota import torch_threads
from jointnet.train.checkpoint_files import KEPT
from study.plan.plan import Arm, Plan, annotated_training, unlabelled_training
from study.search.space import Fidelity

MEASURED_SETTINGS = "quick"
"""Settings with which `Model.seconds_per_patient_epoch` was measured."""
SLICES = 15
"""Labelled slices of a patient of the phantom, on which the seconds were measured."""
MINUTES_OUTSIDE_SEARCH = 1.5
"""Minutes for the start of Ray, the cache, the test evaluation and the report."""
SIZES = ("model.widths", "model.stem", "training.downsampling", "training.batch_size", "training.steps")
"""Settings that decide the cost of a training."""
_MANY = 1000
COPIES_IN_CHECKPOINT = 5
"""The weights, their average, the best weights, and Adam's two moments."""
COPIES_OUTSIDE_CHECKPOINTS = 2
"""`model.pt` and `previous.pt` of a running trial."""
LEDGER_BYTES_PER_EPOCH = 1500


def expected_epochs(fidelity: Fidelity, num_samples: int) -> float:
    """Return the total epochs of all trials if one trial in `reduction_factor`, but at least one, passes each rung."""
    epochs, reached, trials = 0.0, 0, float(num_samples)
    rung = fidelity.grace_epochs
    while reached < fidelity.max_epochs:
        rung = min(rung, fidelity.max_epochs)
        epochs += trials * (rung - reached)
        reached, rung = rung, rung * fidelity.reduction_factor
        trials = max(1.0, trials / fidelity.reduction_factor)
    return epochs


def relative_work(settings: Settings) -> float:
    """Return the cost of a training step, the sum over levels of pixels x channels^2, relative to MEASURED_SETTINGS."""
    return _work(settings) / _work(load_settings(MEASURED_SETTINGS))


def searched_sizes(arm: Arm) -> tuple[str, ...]:
    """Return the searched parameters by which the cost of a training differs, such as `model.widths`.

    The estimates are of the arm's settings. Options of the user's own models may matter.
    """
    names = (parameter.name for parameter in arm.parameters)
    return tuple(name for name in names if name in SIZES or name.startswith("model.options."))


def is_timed(arm: Arm) -> bool:
    """Return whether a step of the arm's model is timed, since its cost is unknown."""
    return model_of(arm.model).seconds_per_patient_epoch is None


def seconds_per_epoch(plan: Plan, arm: Arm) -> float | None:
    """Return the expected seconds of one epoch of one trial, including its share of the validations.

    A validation patient takes half as long as a training patient. With `training.steps` an epoch trains on as many
    patients as its steps have slices of. The value is scaled by `relative_work`, which is 1 for MEASURED_SETTINGS.
    None on a GPU.
    """
    if plan.resources.device != "cpu":
        return None
    settings, counts = arm.settings, arm.split.counts
    measured = model_of(arm.model).seconds_per_patient_epoch
    patient = _timed(settings) if measured is None else measured * relative_work(settings)
    training: float = annotated_training(plan.data, arm) + unlabelled_training(plan.data, arm)
    if settings.training.steps is not None:
        training = settings.training.steps / settings.training.epochs * settings.training.batch_size / SLICES
    patients = training + 0.5 * counts.validation / settings.training.validate_every
    return patient * patients


@lru_cache
def _timed(settings: Settings) -> float:
    """Return the seconds per epoch and training patient from the time of one step."""
    return seconds_per_step(settings) * SLICES / settings.training.batch_size


def seconds_per_step(settings: Settings) -> float:
    """Return the seconds of a training step on this machine's CPU, of the second of two steps, with one thread."""
    import torch  # slow to import

    from jointnet.batches.synthetic_pairs import SyntheticPairs
    from jointnet.train.loop import new_learner, train_epoch

    with torch_threads(1), torch.random.fork_rng(devices=()):
        learner, generator = new_learner(settings, 2, torch.device("cpu")), torch.Generator().manual_seed(0)
        batches = [torch.arange(settings.training.batch_size)]
        for _ in range(2):
            started = time.perf_counter()
            train_epoch(learner, SyntheticPairs(settings), batches, generator, False)
            seconds = time.perf_counter() - started
    return seconds


def arm_epochs(plan: Plan, arm: Arm) -> float | None:
    """Return the expected total epochs of all trials of an arm.

    None where trials are drawn until the minutes are over and no epoch was measured on this device.
    """
    samples = arm.budget.num_samples
    if samples is not None:
        return _epochs_of_trials(arm, samples)
    seconds, share = seconds_per_epoch(plan, arm), budget_share_minutes(plan, arm)
    return None if seconds is None or share is None else share * 60 * plan.resources.concurrent / seconds


def _epochs_of_trials(arm: Arm, samples: int) -> float:
    unpruned = float(samples * arm.space.fidelity.max_epochs)
    return unpruned if arm.space.search.scheduler == "none" else expected_epochs(arm.space.fidelity, samples)


def arm_trials(plan: Plan, arm: Arm) -> float | None:
    """Return the trials of an arm: as requested, or the expected number for its minutes; None where it is unknown."""
    if arm.budget.num_samples is not None:
        return arm.budget.num_samples
    epochs = arm_epochs(plan, arm)
    each = _epochs_of_trials(arm, _MANY) / _MANY
    return None if epochs is None else max(1.0, epochs / each)


def arm_minutes(plan: Plan, arm: Arm) -> float | None:
    """Return the expected minutes of an arm's search: the estimate, limited to the arm's share of the time budget.

    None where neither is known.
    """
    seconds, share, samples = (
        seconds_per_epoch(plan, arm),
        budget_share_minutes(plan, arm),
        arm.budget.num_samples,
    )
    if seconds is None or samples is None:
        return share
    concurrent = min(plan.resources.concurrent, samples)
    estimate = _epochs_of_trials(arm, samples) * seconds / concurrent / 60
    return estimate if share is None else min(estimate, share)


def retrain_minutes(plan: Plan, arm: Arm) -> float | None:
    """Return the expected minutes of an arm's retrainings, none of which is pruned; None where they are unknown."""
    seconds, seeds = seconds_per_epoch(plan, arm), plan.design.seeds
    if not seeds:
        return 0.0
    rounds = -(-seeds // plan.resources.concurrent)
    return None if seconds is None else rounds * arm.space.fidelity.max_epochs * seconds / 60


def training_hours(plan: Plan) -> float | None:
    """Return the summed expected hours of all trials and retrainings; None where they are unknown.

    Multiplied by the CPU cores or GPUs of a trial they are CPU-hours or GPU-hours.
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
    """Return an arm's share of the time budget in minutes; None for no limit.

    It is the arm's own minutes, or an equal share of the minutes of its search.
    """
    budget = arm.budget
    if budget.minutes is None or budget.per_arm:
        return budget.minutes
    return budget.minutes / sum(other.space.name == arm.space.name for other in plan.arms)


def expected_minutes(plan: Plan) -> float | None:
    """Return the expected minutes of the whole study; None where those of an arm are unknown."""
    minutes = [each for arm in plan.arms for each in (arm_minutes(plan, arm), retrain_minutes(plan, arm))]
    estimated = [each for each in minutes if each is not None]
    return MINUTES_OUTSIDE_SEARCH + sum(estimated) if len(estimated) == len(minutes) else None


@lru_cache
def model_bytes(settings: Settings) -> int:
    """Return the size of a model's weights in bytes."""
    import torch  # planning does not need it otherwise

    from jointnet.networks import build_model

    with torch.device("meta"):
        model = build_model(settings)
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def model_megabytes(plan: Plan) -> float | None:
    """Return the size in MB of the best models of all trials and retrainings; None where their number is unknown.

    The tracking store holds a second copy, which is not included.
    """
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    sizes = [model_bytes(arm.settings) for arm in plan.arms]
    estimated = [count * size for count, size in zip(trainings, sizes, strict=True) if count is not None]
    return sum(estimated) / 1e6 if len(estimated) == len(sizes) else None


def checkpoint_megabytes(plan: Plan) -> float:
    """Return the largest size in MB of a running trial: while it writes a checkpoint beside the KEPT last ones."""
    copies = (KEPT + 1) * COPIES_IN_CHECKPOINT + COPIES_OUTSIDE_CHECKPOINTS
    return max(copies * model_bytes(arm.settings) for arm in plan.arms) / 1e6


def ledger_megabytes(plan: Plan) -> float | None:
    """Return the size of the ledger in MB; None where the number of trials is unknown."""
    trainings = [_trainings(plan, arm) for arm in plan.arms]
    epochs = [
        count * arm.space.fidelity.max_epochs
        for count, arm in zip(trainings, plan.arms, strict=True)
        if count is not None
    ]
    return sum(epochs) * LEDGER_BYTES_PER_EPOCH / 1e6 if len(epochs) == len(trainings) else None


def _trainings(plan: Plan, arm: Arm) -> float | None:
    """Return the number of trials and retrainings of an arm; None where it is unknown."""
    trials = arm_trials(plan, arm)
    return None if trials is None else trials + plan.design.seeds


def _work(settings: Settings) -> float:
    model = settings.model
    pixels = 1 / (settings.training.downsampling * model.stem) ** 2
    return sum(pixels / 4**level * width**2 for level, width in enumerate(model.widths))

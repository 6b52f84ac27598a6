"""Training of one epoch: the model, its optimiser, and the optimisation steps."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jointnet.data.dataset import SlicePairDataset
from jointnet.errors import TrainingDivergedError
from jointnet.networks import build_model
from jointnet.networks.precision import computing_in, training_precision
from jointnet.settings import OptimiserSettings, Settings
from jointnet.train.augmentation import apply, draw
from jointnet.train.gradients import shared_gradient_norms
from jointnet.train.losses import branch_losses, weighted_losses

LARGEST_GRADIENT = 5.0
"""Largest norm of a step's gradient; larger gradients are clipped."""
WARM_UP = 0.05
"""Share of a cosine schedule's steps over which the learning rate rises linearly from 0."""

FUSED = ("cpu", "cuda")
"""Devices on which the fused Adam is used. On two CPU cores a step takes 0.5 ms instead of 6 ms."""


@dataclass(frozen=True)
class Learner:
    """The state of a training: the model, its moving average, and the optimiser.

    Attributes:
        settings: the settings of the training.
        model: the model that is optimised.
        averaged: the model with the moving average of the weights, which is validated and saved.
        optimiser: Adam.
        schedule: the learning rate schedule, one value per step.
        scaler: the gradient scaler, used in fp16.
    """

    settings: Settings
    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler


def new_learner(settings: Settings, steps: int, device: torch.device) -> Learner:
    """Create an untrained learner.

    The weights come from torch's global random number generator. `steps` is the number of steps per epoch.
    """
    model = build_model(settings).to(device)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings.optimiser.learning_rate,
        weight_decay=settings.optimiser.weight_decay,
        fused=device.type in FUSED,
    )
    rate = learning_rate_factor(settings.optimiser, steps, settings.training.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    scaler = torch.amp.GradScaler(device.type, enabled=training_precision(device) is torch.float16)
    return Learner(settings, model, copy.deepcopy(model), optimiser, schedule, scaler)


def learning_rate_factor(settings: OptimiserSettings, steps: int, epochs: int) -> Callable[[int], float]:
    """Return a function from optimiser step to learning rate factor. `steps` is the number of steps per epoch."""
    total = steps * epochs

    def step(done: int) -> float:
        return settings.step_factor ** (done // steps // settings.step_epochs)

    def cosine(done: int) -> float:
        warm = min(1.0, (done + 1) / max(1.0, WARM_UP * total))
        return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done / total)))

    return step if settings.schedule == "step" else cosine


def train_epoch(
    learner: Learner, pairs: SlicePairDataset, generator: torch.Generator, measure_gradients: bool
) -> dict[str, float]:
    """Train for one epoch and return the mean losses and, if `measure_gradients`, each branch's gradient norm.

    The gradient norms are measured in the last step.

    Raises:
        TrainingDivergedError: if the loss is not finite.
    """
    settings, model = learner.settings, learner.model
    optimiser, schedule, scaler = learner.optimiser, learner.schedule, learner.scaler
    model.train()
    device = generator.device
    precision = training_precision(device)
    order = torch.randperm(len(pairs), generator=generator, device=device)
    sums: dict[str, Tensor] = {}
    batches = order.split(settings.training.batch_size)
    gradients: dict[str, float] = {}
    for number, indices in enumerate(batches, start=1):
        batch = pairs.batch(indices)
        batch = apply(draw(settings.augmentation, len(indices), generator), batch)
        with computing_in(precision, device):
            output = model(batch.cine, batch.lge)
        losses = branch_losses(output, batch.cine_labels, batch.lge_labels, settings.loss)
        weighted = weighted_losses(losses, settings.loss)
        total = torch.stack(list(weighted.values())).sum()
        if not torch.isfinite(total):
            shown = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
            raise TrainingDivergedError(f"the loss must be finite, got {total.item():g} ({shown})")
        if measure_gradients and number == len(batches):
            gradients = shared_gradient_norms(weighted, model.parameters())
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(total).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        scaler.step(optimiser)
        scaler.update()
        schedule.step()
        move_average(learner.averaged, model, min(settings.training.average_decay, 1 - 10 / (10 + schedule.last_epoch)))
        for name, loss in {"train/loss": total, **{f"train/loss/{k}": v for k, v in losses.items()}}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + loss.detach() * len(indices)
    totals = torch.stack(list(sums.values())).tolist()  # one read: each read from a GPU waits for it
    means = {name: total / len(pairs) for name, total in zip(sums, totals, strict=True)}
    return means | {f"train/gradient/{name}": norm for name, norm in gradients.items()}


def move_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Update the exponential moving average of the weights in place.

    `train_epoch` starts with a small decay and increases it to `average_decay`, so that the average forgets the random
    initial weights.
    """
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)

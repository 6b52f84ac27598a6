"""Training of one model: the optimiser, the steps of an epoch, the validation, and the best weights so far in a file.

A callback receives the metrics of each epoch.

The average of the weights is an exponential moving average whose decay increases from 0 to `average_decay`, so that it
forgets the random initial weights. `torch.optim.swa_utils.AveragedModel` has a constant decay, so only its update
function is used.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from jointnet.batches.augmentation import apply_augmentation, draw_augmentation
from jointnet.batches.dataset import LabelledPatient, ShuffledPasses, SlicePairDataset, SlicePairs
from jointnet.compute.device import computing_in, resolve_device, training_precision
from jointnet.errors import SettingsError, TrainingDivergedError
from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.rows import EvaluatedPatient, cut_structure_rows, evaluate
from jointnet.model_file import save_model
from jointnet.model_path import MODEL_FILE
from jointnet.models import model_of, require_trained
from jointnet.networks import build_model
from jointnet.own_code import digests, named
from jointnet.settings import OptimiserSettings, Settings, TrainingSettings, own_code_of, settings_to_dict
from jointnet.structures import STRUCTURES
from jointnet.train.checkpoints import Checkpoints
from jointnet.train.losses import branch_losses, own_losses, weighted_losses
from jointnet.train.objective import REGISTRATION_RATIO, EpochReport, Objective

LARGEST_GRADIENT = 5.0
"""Largest norm of a step's gradient; larger gradients are clipped."""
WARM_UP = 0.05
"""Share of a cosine schedule's steps over which the learning rate rises linearly from 0."""

FUSED = ("cpu", "cuda")
"""Devices on which the fused Adam is used. On two CPU cores a step takes 0.5 ms instead of 6 ms."""


def train(
    settings: Settings,
    training: Sequence[LabelledPatient],
    validation: Sequence[EvaluatedPatient],
    *,
    seed: int,
    device: str = "auto",
    out: Path | None = None,
    checkpoints: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_resume: Callable[[int], None] | None = None,
    teachers: Sequence[str] = (),
    objective: Objective = REGISTRATION_RATIO,
) -> EpochReport:
    """Train a model and return the report of its best epoch.

    Args:
        settings: all settings of the training except data and seed.
        training: the training patients. A model that only registers does not use those of whom one scan is labelled.
        validation: the patients on whom the best epoch is chosen.
        seed: the seed of the initial weights, the order of slices and the augmentation.
        device: the device; `auto` selects a GPU if there is one.
        out: folder to which `model.pt`, the weights of the best epoch so far, is saved.
        checkpoints: folder for checkpoints (`jointnet.train.checkpoints`), written before `on_epoch` is called. If the
            folder contains a checkpoint of the same training, the training resumes from it. The caller removes the
            folder after the training.
        on_epoch: called after every epoch. Its exceptions end the training and are propagated. A resumed training
            first calls it for all epochs up to the checkpoint; later epochs are trained again.
        on_resume: called before those calls with the number of epochs that are not trained again.
        teachers: patients whose labels the teacher was trained with. They are stored in the model file, because they
            cannot be test patients.
        objective: the metric by which the best epoch is chosen.

    Raises:
        SettingsError: if the model is not one that is trained, or a validation lacks the objective.
        TrainingDivergedError: if the loss becomes NaN or infinite, or the objective is never finite.
        OSError: if a file cannot be written.
    """
    require_trained(settings.model.name)
    for reference in own_code_of(settings):
        named(reference)  # an error in it is found at once
    torch_device = torch.device(resolve_device(device))
    torch.manual_seed(seed)
    generator = torch.Generator(torch_device).manual_seed(seed)
    pairs = SlicePairDataset(
        [patient for patient in training if _is_learned_from(patient, settings)],
        settings.training.downsampling,
        settings.model.neighbours,
        torch_device,
        settings.model.structures,
    )
    passes = ShuffledPasses(len(pairs), settings.training.batch_size, generator)
    ends = epoch_ends(settings.training, passes.steps_per_pass)
    learner = new_learner(settings, ends[-1], torch_device)
    averaged = learner.averaged
    patients = {"training": [p.patient for p in training], "validation": [p.patient for p in validation]}
    if teachers:
        patients["teacher"] = list(teachers)
    checkpointing = None
    reports: list[EpochReport] = []
    best_weights: dict[str, Tensor] | None = None
    if checkpoints is not None:
        data = [[f"{p.patient} {p.digest}" for p in part] for part in (training, validation)]
        identity = {"settings": settings_to_dict(settings), "seed": seed, "data": data, "teachers": list(teachers)}
        identity |= digests(own_code_of(settings))
        identity |= {} if objective == REGISTRATION_RATIO else {"objective": objective.as_dict()}
        parts = {name: getattr(learner, name) for name in ("model", "averaged", "optimiser", "schedule", "scaler")}
        checkpointing = Checkpoints(checkpoints, identity, {**parts, "passes": passes}, generator)
        done, progress = checkpointing.restore()
        if done:
            reports = [EpochReport(**report) for report in progress["reports"]]
            best_weights = progress["best_weights"]
            if on_resume is not None:
                on_resume(done)
    best = objective.best(reports)
    if best is not None and best_weights is not None and out is not None:
        save_model(out / MODEL_FILE, best_weights, settings, patients, best.epoch)
    if on_epoch is not None:
        for report in reports:
            on_epoch(report)
    for epoch in range(len(reports) + 1, settings.training.epochs + 1):
        started = time.perf_counter()
        validates = epoch % settings.training.validate_every == 0 or epoch == settings.training.epochs
        batches = [passes.next_batch() for _ in range(ends[epoch] - ends[epoch - 1])]
        metrics = train_epoch(learner, pairs, batches, generator, validates)
        if validates:
            rows = evaluate(averaged, validation, str(torch_device), training_precision(torch_device))
            metrics |= named_metrics(rows, "val") | {"val/cut": float(len(cut_structure_rows(validation)))}
            if lacking := [each.metric for each in objective.all if each.metric not in metrics]:
                logged = ", ".join(name for name in metrics if name.startswith("val/"))
                raise SettingsError(
                    f"{name}: must be a metric of the validation, which has {logged}" for name in lacking
                )
        report = EpochReport(epoch, time.perf_counter() - started, metrics)
        reports.append(report)
        best = objective.best(reports)
        if best is report:
            best_weights = {name: tensor.detach().cpu().clone() for name, tensor in averaged.state_dict().items()}
            if out is not None:
                save_model(out / MODEL_FILE, best_weights, settings, patients, epoch)
        if checkpointing is not None and (validates or checkpointing.due):
            checkpointing.save(epoch, {"reports": [asdict(each) for each in reports], "best_weights": best_weights})
        if on_epoch is not None:
            on_epoch(report)
    if best is None:
        raise TrainingDivergedError(f"{objective.metric} must be finite in at least one epoch, got none")
    return best


def _is_learned_from(patient: LabelledPatient, settings: Settings) -> bool:
    """Return whether anything can be learned from a patient. Registration needs a structure labelled in both images."""
    model = settings.model
    labelled = patient.labelled()[:, [STRUCTURES.index(name) for name in model.structures]]
    return bool(labelled.any() if model_of(model.name).segments else labelled.all(0).any())


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
        precision: the type the network computes in.
    """

    settings: Settings
    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    precision: torch.dtype


def new_learner(settings: Settings, steps: int, device: torch.device, precision: torch.dtype | None = None) -> Learner:
    """Create an untrained learner. The weights come from torch's global random number generator.

    Args:
        settings: the settings of the training.
        steps: number of steps of the training.
        device: the device.
        precision: the type the network computes in; if None, that of a training on the device.
    """
    precision = precision or training_precision(device)
    model = build_model(settings).to(device)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings.optimiser.learning_rate,
        weight_decay=settings.optimiser.weight_decay,
        fused=device.type in FUSED,
    )
    rate = learning_rate_factor(settings.optimiser, steps, settings.training.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
    return Learner(settings, model, copy.deepcopy(model), optimiser, schedule, scaler, precision)


def epoch_ends(settings: TrainingSettings, steps_per_pass: int) -> tuple[int, ...]:
    """Return the number of steps done at the end of each epoch, beginning with 0 before the first.

    Without `training.steps` an epoch is a pass over the training slices, of `steps_per_pass` steps.
    """
    total = steps_per_pass * settings.epochs if settings.steps is None else settings.steps
    return tuple(total * epoch // settings.epochs for epoch in range(settings.epochs + 1))


def learning_rate_factor(settings: OptimiserSettings, steps: int, epochs: int) -> Callable[[int], float]:
    """Return a function from optimiser step to learning rate factor.

    Args:
        settings: the schedule.
        steps: number of steps of the training.
        epochs: number of epochs, over which the steps are spread as in `epoch_ends`.
    """

    def step(done: int) -> float:
        finished_epochs = ((done + 1) * epochs - 1) // steps
        return settings.step_factor ** (finished_epochs // settings.step_epochs)

    def cosine(done: int) -> float:
        warm = min(1.0, (done + 1) / max(1.0, WARM_UP * steps))
        return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done / steps)))

    return step if settings.schedule == "step" else cosine


def train_epoch(
    learner: Learner,
    pairs: SlicePairs,
    batches: Sequence[Tensor],
    generator: torch.Generator,
    measure_gradients: bool,
) -> dict[str, float]:
    """Train for one epoch and return the mean losses and, if `measure_gradients`, each branch's gradient norm.

    The gradient norms are measured in the last step. An epoch without a step has no losses.

    Args:
        learner: the state of the training, which is changed.
        pairs: the slice pairs.
        batches: the indices of the slice pairs of each step.
        generator: decides the augmentation.
        measure_gradients: whether to measure the gradient norms.

    Raises:
        TrainingDivergedError: if the loss is not finite.
    """
    settings, model = learner.settings, learner.model
    optimiser, schedule, scaler = learner.optimiser, learner.schedule, learner.scaler
    model.train()
    device = generator.device
    sums: dict[str, Tensor] = {}
    gradients: dict[str, float] = {}
    for number, indices in enumerate(batches, start=1):
        batch = pairs.batch(indices)
        batch = apply_augmentation(draw_augmentation(settings.augmentation, len(indices), generator), batch)
        with computing_in(learner.precision, device):
            output = model(batch.cine, batch.lge)
        losses = branch_losses(output, batch.cine_labels, batch.lge_labels, batch.field, batch.labelled, settings.loss)
        losses |= own_losses(output, batch, settings.loss)
        weighted = weighted_losses(losses, settings.loss)
        total = torch.stack(list(weighted.values())).sum()
        if not torch.isfinite(total):
            branches = ", ".join(f"{name} {loss.item():g}" for name, loss in losses.items())
            raise TrainingDivergedError(f"the loss must be finite, got {total.item():g} ({branches})")
        if measure_gradients and number == len(batches):
            gradients = shared_gradient_norms(weighted, model.parameters())
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(total).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        scaler.step(optimiser)
        scaler.update()
        schedule.step()
        decay = min(settings.training.average_decay, 1 - 10 / (10 + schedule.last_epoch))
        update_average = get_ema_multi_avg_fn(decay)
        update_average(list(learner.averaged.parameters()), list(model.parameters()), None)
        for name, loss in {"train/loss": total, **{f"train/loss/{k}": v for k, v in losses.items()}}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + loss.detach() * len(indices)
    totals = torch.stack(list(sums.values())).tolist() if sums else []  # one read: each read from a GPU waits for it
    trained = sum(len(indices) for indices in batches)
    means = {name: total / trained for name, total in zip(sums, totals, strict=True)}
    return means | {f"train/gradient/{name}": norm for name, norm in gradients.items()}


def shared_gradient_norms(losses: Mapping[str, Tensor], parameters: Iterable[nn.Parameter]) -> dict[str, float]:
    """Return the Euclidean norm of each branch's gradient on the parameters that at least two branches use.

    The lambdas affect only parameters that several branches share. On a parameter of a single branch, Adam cancels any
    constant factor, as long as gradients are not clipped. The gradient norms on the shared parameters therefore show
    the effect of the lambdas.

    Args:
        losses: a scalar for each branch, already multiplied by its lambda. Their graph is retained.
        parameters: the parameters of the model.

    Returns:
        A norm for each branch. Empty if no parameter is shared, as in a model with one branch.
    """
    if len(losses) < 2:
        return {}
    weights = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = {
        name: torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for name, loss in losses.items()
    }
    reached = [
        sum(gradient is not None for gradient in of_branches) for of_branches in zip(*gradients.values(), strict=True)
    ]
    norms: dict[str, Tensor] = {}
    for name, of_parameters in gradients.items():
        shared = [
            gradient.float().square().sum()
            for gradient, branches in zip(of_parameters, reached, strict=True)
            if gradient is not None and branches > 1
        ]
        if shared:
            norms[name] = torch.stack(shared).sum().sqrt()
    if not norms:
        return {}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))

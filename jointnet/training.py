"""Training one model: plain floats per epoch go to a callback, the best weights so far to a file."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jointnet.aggregation import named_metrics
from jointnet.augmentation import apply, draw
from jointnet.checkpoint import save_model
from jointnet.evaluation import evaluate
from jointnet.faults import SettingsFaultError
from jointnet.gradients import shared_gradient_norms
from jointnet.losses import branch_losses, weighted_losses
from jointnet.networks import build_model
from jointnet.resume import Checkpoints
from jointnet.scans.cache import CachedPatient
from jointnet.settings import OptimiserSettings, Settings, settings_to_dict
from jointnet.slices import LabelledPatient, SlicePairs

OBJECTIVE = "val/registration_ratio"
MODEL_FILE = "model.pt"
LARGEST_GRADIENT = 5.0
"""Norm that a step's gradient is cut to."""
WARM_UP = 0.05
"""Share of a cosine schedule's steps over which the learning rate rises from nothing."""


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class EpochReport:
    """One epoch: its number from 1, the seconds it took, and its metrics by name.

    Attributes:
        epoch: from 1.
        seconds: wall time of training and validation.
        metrics: `train/loss`, `train/loss/<branch>`, and after a validation `val/registration_ratio`,
            `val/<metric>/<structure>`, `val/lost`, and `train/gradient/<branch>`: the norm of the weighted branch's
            gradient, in the epoch's last step, on the parameters that branches share.
    """

    epoch: int
    seconds: float
    metrics: dict[str, float]


def train(
    settings: Settings,
    training: Sequence[LabelledPatient],
    validation: Sequence[CachedPatient],
    *,
    seed: int,
    device: str = "auto",
    out: Path | None = None,
    checkpoints: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_resume: Callable[[int], None] | None = None,
    teachers: Sequence[int] = (),
) -> EpochReport:
    """Train a model and give the report of its best epoch by `val/registration_ratio`.

    Args:
        settings: everything but data and seed.
        training: patients whose slices are learned from.
        validation: patients on whom the best epoch is chosen.
        seed: of the first weights, the order of slices and the augmentation.
        device: `auto` takes a GPU where there is one.
        out: folder that receives `model.pt`, the weights of the best epoch so far.
        checkpoints: folder that receives a checkpoint after every epoch, before `on_epoch` hears of it. Where it holds
            one of the same training, the training goes on from there; the caller removes the folder when it is done.
        on_epoch: called after every epoch; what it raises ends the training and is passed on. A training that goes on
            calls it for the epochs before again, so that whoever listens misses none.
        on_resume: called before that with the number of epochs that need not be trained again.
        teachers: patients whose labels a teacher saw; the model file names them, since they are no test either.

    Raises:
        TrainingDivergedError: where the loss becomes NaN or infinite, or the objective is finite after no epoch.
        OSError: where a file cannot be written.
    """
    where = torch.device(resolve_device(device))
    torch.manual_seed(seed)
    generator = torch.Generator(where).manual_seed(seed)
    model = build_model(settings).to(where)
    averaged = copy.deepcopy(model)
    pairs = SlicePairs(training, settings.training.downsampling, settings.model.neighbours, where)
    steps = math.ceil(len(pairs) / settings.training.batch_size)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=settings.optimiser.learning_rate, weight_decay=settings.optimiser.weight_decay
    )
    rate = learning_rate_factor(settings.optimiser, steps, settings.training.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    scaler = torch.amp.GradScaler(where.type, enabled=half_precision(where) is torch.float16)
    patients = {"training": [p.patient for p in training], "validation": [p.patient for p in validation]}
    if teachers:
        patients["teacher"] = list(teachers)
    kept = None
    reports: list[EpochReport] = []
    best_weights: dict[str, Tensor] | None = None
    if checkpoints is not None:
        data = [[f"{p.patient} {p.digest}" for p in part] for part in (training, validation)]
        identity = {"settings": settings_to_dict(settings), "seed": seed, "data": data, "teachers": list(teachers)}
        parts = {"model": model, "averaged": averaged, "optimiser": optimiser, "schedule": schedule, "scaler": scaler}
        kept = Checkpoints(checkpoints, identity, parts, generator)
        done, progress = kept.restore()
        if done:
            reports = [EpochReport(**report) for report in progress["reports"]]
            best_weights = progress["best_weights"]
            if on_resume is not None:
                on_resume(done)
    best = best_report(reports)
    if best is not None and best_weights is not None and out is not None:
        save_model(out / MODEL_FILE, best_weights, settings, patients, best.epoch)
    if on_epoch is not None:
        for report in reports:
            on_epoch(report)
    for epoch in range(len(reports) + 1, settings.training.epochs + 1):
        started = time.perf_counter()
        validates = epoch % settings.training.validate_every == 0 or epoch == settings.training.epochs
        metrics = _train_epoch(model, averaged, pairs, settings, optimiser, schedule, scaler, generator, validates)
        if validates:
            metrics |= named_metrics(evaluate(averaged, validation, str(where)), "val")
        report = EpochReport(epoch, time.perf_counter() - started, metrics)
        reports.append(report)
        best = best_report(reports)
        if best is report:
            best_weights = {name: tensor.detach().cpu().clone() for name, tensor in averaged.state_dict().items()}
            if out is not None:
                save_model(out / MODEL_FILE, best_weights, settings, patients, epoch)
        if kept is not None:
            kept.save(epoch, {"reports": [asdict(each) for each in reports], "best_weights": best_weights})
        if on_epoch is not None:
            on_epoch(report)
    if best is None:
        raise TrainingDivergedError(f"{OBJECTIVE} must be finite after some epoch, it never was")
    return best


def best_report(reports: Iterable[EpochReport]) -> EpochReport | None:
    """Give the first report of the least finite objective; None where there is no finite one."""
    finite = [report for report in reports if math.isfinite(report.metrics.get(OBJECTIVE, math.nan))]
    return min(finite, key=lambda report: report.metrics[OBJECTIVE], default=None)


def model_file(path: Path) -> Path:
    """Give the file of a trained model that a command names by itself or by the folder that holds it."""
    return path / MODEL_FILE if path.is_dir() else path


def resolve_device(device: str) -> str:
    """Give the device that `auto` stands for, or the one that was named.

    Raises:
        SettingsFaultError: where torch knows no such device, or this machine has none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:160]
        raise SettingsFaultError(
            f"--device: must be auto or a device of this machine, got {device!r}: {reason}"
        ) from None
    return device


def half_precision(device: torch.device) -> torch.dtype | None:
    """Give the 16-bit type that the networks are trained in: bf16 or fp16 on a GPU, bf16 on a CPU that has it."""
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else None
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def learning_rate_factor(settings: OptimiserSettings, steps: int, epochs: int) -> Callable[[int], float]:
    """Give the factor of the learning rate by optimiser step, for `steps` steps an epoch."""
    total = steps * epochs

    def step(done: int) -> float:
        return settings.step_factor ** (done // steps // settings.step_epochs)

    def cosine(done: int) -> float:
        warm = min(1.0, (done + 1) / max(1.0, WARM_UP * total))
        return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done / total)))

    return step if settings.schedule == "step" else cosine


def _train_epoch(
    model: nn.Module,
    averaged: nn.Module,
    pairs: SlicePairs,
    settings: Settings,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    scaler: torch.amp.GradScaler,
    generator: torch.Generator,
    measure_gradients: bool,
) -> dict[str, float]:
    """Pass once over the slices and give the mean losses, and on request the branches' gradients in the last step."""
    model.train()
    device = generator.device
    half = half_precision(device)
    order = torch.randperm(len(pairs), generator=generator, device=device)
    sums: dict[str, Tensor] = {}
    batches = order.split(settings.training.batch_size)
    gradients: dict[str, float] = {}
    for number, indices in enumerate(batches, start=1):
        batch = pairs.batch(indices)
        batch = apply(draw(settings.augmentation, len(indices), generator), batch)
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
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
        _average(averaged, model, min(settings.training.average_decay, 1 - 10 / (10 + schedule.last_epoch)))
        for name, loss in {"train/loss": total, **{f"train/loss/{k}": v for k, v in losses.items()}}.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + loss.detach() * len(indices)
    means = {name: float(value) / len(pairs) for name, value in sums.items()}
    return means | {f"train/gradient/{name}": norm for name, norm in gradients.items()}


def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's.

    The decay is 0 at first and grows to its own value, so that the first weights, which know nothing, are forgotten.
    """
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)

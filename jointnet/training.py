"""Training one model: plain floats per epoch go to a callback, the best weights so far to a file."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from jointnet.aggregation import named_metrics
from jointnet.checkpoint import save_model
from jointnet.epoch import TrainingDivergedError, new_learner, train_epoch
from jointnet.evaluation import evaluate
from jointnet.faults import SettingsFaultError
from jointnet.precision import training_precision
from jointnet.resume import Checkpoints
from jointnet.scans.cache import CachedPatient
from jointnet.settings import Settings, settings_to_dict
from jointnet.slices import LabelledPatient, SlicePairs

OBJECTIVE = "val/registration_ratio"
MODEL_FILE = "model.pt"


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
        checkpoints: folder that receives a checkpoint after every validation, and of the epochs between where one is
            due (`jointnet.resume`), before `on_epoch` hears of it. Where it holds one of the same training, the
            training goes on from there; the caller removes the folder when it is done.
        on_epoch: called after every epoch; what it raises ends the training and is passed on. A training that goes on
            calls it for the epochs before again, so that whoever listens misses none; those since the checkpoint are
            trained again.
        on_resume: called before that with the number of epochs that need not be trained again.
        teachers: patients whose labels a teacher saw; the model file names them, since they are no test either.

    Raises:
        TrainingDivergedError: where the loss becomes NaN or infinite, or the objective is finite after no epoch.
        OSError: where a file cannot be written.
    """
    where = torch.device(resolve_device(device))
    torch.manual_seed(seed)
    generator = torch.Generator(where).manual_seed(seed)
    pairs = SlicePairs(training, settings.training.downsampling, settings.model.neighbours, where)
    learner = new_learner(settings, math.ceil(len(pairs) / settings.training.batch_size), where)
    averaged = learner.averaged
    patients = {"training": [p.patient for p in training], "validation": [p.patient for p in validation]}
    if teachers:
        patients["teacher"] = list(teachers)
    kept = None
    reports: list[EpochReport] = []
    best_weights: dict[str, Tensor] | None = None
    if checkpoints is not None:
        data = [[f"{p.patient} {p.digest}" for p in part] for part in (training, validation)]
        identity = {"settings": settings_to_dict(settings), "seed": seed, "data": data, "teachers": list(teachers)}
        parts = {name: getattr(learner, name) for name in ("model", "averaged", "optimiser", "schedule", "scaler")}
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
        metrics = train_epoch(learner, pairs, generator, validates)
        if validates:
            metrics |= named_metrics(evaluate(averaged, validation, str(where), training_precision(where)), "val")
        report = EpochReport(epoch, time.perf_counter() - started, metrics)
        reports.append(report)
        best = best_report(reports)
        if best is report:
            best_weights = {name: tensor.detach().cpu().clone() for name, tensor in averaged.state_dict().items()}
            if out is not None:
                save_model(out / MODEL_FILE, best_weights, settings, patients, epoch)
        if kept is not None and (validates or kept.due):
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

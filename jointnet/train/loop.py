"""Training of one model. A callback receives the metrics of each epoch; the best weights so far are saved to a file."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from jointnet.data.cache import CachedPatient
from jointnet.data.dataset import LabelledPatient, SlicePairDataset
from jointnet.errors import SettingsError, TrainingDivergedError
from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import save_model
from jointnet.model_path import MODEL_FILE
from jointnet.networks.precision import training_precision
from jointnet.settings import Settings, settings_to_dict
from jointnet.train.checkpoints import Checkpoints
from jointnet.train.epoch import new_learner, train_epoch
from jointnet.train.epoch_report import OBJECTIVE, EpochReport, best_report


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
    """Train a model and return the report of its best epoch by `val/registration_ratio`.

    Args:
        settings: all settings of the training except data and seed.
        training: the training patients.
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

    Raises:
        TrainingDivergedError: if the loss becomes NaN or infinite, or the objective is never finite.
        OSError: if a file cannot be written.
    """
    where = torch.device(resolve_device(device))
    torch.manual_seed(seed)
    generator = torch.Generator(where).manual_seed(seed)
    pairs = SlicePairDataset(training, settings.training.downsampling, settings.model.neighbours, where)
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


def resolve_device(device: str) -> str:
    """Return the name of the device; `auto` becomes `cuda` if available, else `cpu`.

    Raises:
        SettingsError: if torch does not know the device, or this machine does not have it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:160]
        raise SettingsError(f"--device: must be auto or a device of this machine, got {device!r}: {reason}") from None
    return device

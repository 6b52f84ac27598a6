"""One trial: a drawn sample becomes settings, a training runs, and plain floats come back epoch by epoch.

It knows nothing of Ray or MLflow and runs by itself under a debugger. What it is given holds training and validation
patients only: the sealed test patients cannot reach it.
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointnet.atomic_file import write_whole
from jointnet.scans.cache import CachedPatient
from jointnet.settings import Settings
from jointnet.torch_file import read_torch
from jointnet.training import MODEL_FILE, EpochReport, train
from study.question.space import settings_of_sample
from study.store_layout import OBJECTIVE

PREVIOUS_FILE = "previous.pt"
"""The model of the best epoch that was surely reported; `model.pt` may be one epoch ahead of the reports."""
CHECKPOINTS = "checkpoints"
"""Folder, in the trial's own, that a killed trial goes on from."""
BEST_FILE = f"best/{MODEL_FILE}"


class ObjectiveNotFiniteError(Exception):
    """A validation gave no finite objective, so the trial cannot be ranked."""


@dataclass(frozen=True)
class ArmTask:
    """What all trials of an arm share.

    Attributes:
        arm: the arm's name.
        settings: what every trial starts from; `training.epochs` is the most that one may take.
        training, validation: the patients, ready on the common grid.
        seed: of the training; the same for all trials of a search, so that they differ by their sample only.
        device: `cpu` or `cuda`.
        threads: torch threads of a trial.
        folder: absolute; a trial writes into its own folder beneath it.
    """

    arm: str
    settings: Settings
    training: tuple[CachedPatient, ...]
    validation: tuple[CachedPatient, ...]
    seed: int
    device: str
    threads: int
    folder: Path


@dataclass(frozen=True)
class TrialSpec:
    """One trial of an arm: its id, its drawn sample, and its own seed (None: the task's)."""

    task: ArmTask
    trial_id: str
    sample: Mapping[str, Any]
    seed: int | None = None

    @property
    def folder(self) -> Path:
        """Where the trial leaves its best model so far."""
        return self.task.folder / self.trial_id

    @property
    def settings(self) -> Settings:
        """The settings with the sample in place."""
        return settings_of_sample(self.task.settings, self.sample)


@dataclass(frozen=True)
class TrialProgress:
    """What a trial says after an epoch.

    Attributes:
        epoch: 1-based.
        seconds: of the epoch.
        metrics: of the epoch, plain floats.
        objective: the best so far, which is that of the model on disk; None before the first validation.
        best_epoch: the epoch of that objective, 0 before the first validation.
    """

    epoch: int
    seconds: float
    metrics: Mapping[str, float]
    objective: float | None
    best_epoch: int


def run_trial(spec: TrialSpec, on_epoch: Callable[[TrialProgress], None] | None = None) -> TrialProgress:
    """Train one model and give its last progress; where the trial's folder holds a checkpoint, go on from there.

    The epochs before are told again.

    Raises:
        TrainingDivergedError: where the loss is no longer finite.
        ObjectiveNotFiniteError: where the objective is not.
    """
    torch.set_num_threads(spec.task.threads)
    spec.folder.mkdir(parents=True, exist_ok=True)
    last = TrialProgress(0, 0.0, {}, None, 0)

    def forward(report: EpochReport) -> None:
        nonlocal last
        metrics = {name: float(value) for name, value in report.metrics.items()}
        objective, best_epoch = last.objective, last.best_epoch
        if OBJECTIVE in metrics:
            value = metrics[OBJECTIVE]
            if not math.isfinite(value):
                raise ObjectiveNotFiniteError(f"{OBJECTIVE} must be finite, got {value} in epoch {report.epoch}")
            if objective is None or value < objective:
                objective, best_epoch = value, report.epoch
        last = TrialProgress(report.epoch, float(report.seconds), metrics, objective, best_epoch)
        if on_epoch is not None:
            on_epoch(last)
        if best_epoch == report.epoch:
            write_whole(spec.folder / PREVIOUS_FILE, (spec.folder / MODEL_FILE).read_bytes())

    train(
        spec.settings,
        spec.task.training,
        spec.task.validation,
        seed=spec.task.seed if spec.seed is None else spec.seed,
        device=spec.task.device,
        out=spec.folder,
        checkpoints=spec.folder / CHECKPOINTS,
        on_epoch=forward,
    )
    return last


def freeze_model(folder: Path, epoch: int) -> Path | None:
    """Give a copy of a trial's model of an epoch, `best/model.pt`; None where the trial left no such model.

    A trial that is stopped from outside may be training still and write once more, so the copy is what is checked.
    """
    frozen = folder / BEST_FILE
    for candidate in (folder / MODEL_FILE, folder / PREVIOUS_FILE):
        if candidate.is_file():
            content = candidate.read_bytes()
            if _sound_epoch(content) == epoch:
                frozen.parent.mkdir(exist_ok=True)
                write_whole(frozen, content)
                return frozen
    return None


def _sound_epoch(content: bytes) -> int | None:
    """Give the epoch of a model file that is whole and finite, None for another.

    No network is built for it, as `load_model` does, and no torch threads wait for cores that train: the driver asks
    this at the end of every trial.
    """
    try:
        read = read_torch(content)
        weights = read["weights"].values()
        finite = all(np.isfinite(tensor.float().numpy()).all() for tensor in weights)
        return int(read["epoch"]) if weights and finite else None
    except Exception:  # a damaged archive raises whatever its readers met
        return None


def keep_best_only(folder: Path) -> None:
    """Remove all that a trial that is over wrote into its folder, but its frozen model."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    for name in (MODEL_FILE, PREVIOUS_FILE):
        (folder / name).unlink(missing_ok=True)

"""One trial: the sample is applied to the settings, a model is trained, and metrics are reported after each epoch.

This module imports neither Ray nor MLflow nor Optuna, so a trial can run in a debugger, and Ray's workers, which import
this module only, start fast. A task has training and validation patients only: a trial has no access to the sealed test
patients.
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointnet.batches.dataset import LabelledPatient
from jointnet.compute.allocator import keep_freed_memory
from jointnet.evaluate.rows import EvaluatedPatient
from jointnet.model_file import read_torch
from jointnet.model_path import MODEL_FILE
from jointnet.own_code import OwnCode, receive
from jointnet.settings import Settings
from jointnet.system.atomic_file import write_whole
from jointnet.train.loop import train
from jointnet.train.objective import REGISTRATION_RATIO, EpochReport, Objective
from study.machines.fit_node import check_versions
from study.search.parameters import settings_of_sample
from study.trials.trial_files import CHECKPOINTS, IN_PLACE, PREVIOUS_FILE, TrialFiles

BEST_FILE = f"best/{MODEL_FILE}"
REPORT = "report"
"""Key of a report's content in Ray Tune. The content is a list, which Ray Tune does not flatten."""


class ObjectiveNotFiniteError(Exception):
    """The objective of a validation is not finite, so the trial cannot be ranked."""


@dataclass(frozen=True)
class ArmTask:
    """The common input of all trials of an arm.

    Attributes:
        arm: key of the arm in the ledger.
        settings: settings before a sample is applied. `training.epochs` is the largest number of epochs of a trial.
        training, validation: the prepared patients, on the common grid. Those without labels come last in `training`,
            with pseudo-labels.
        seed: training seed. It is the same for all trials of a search, so they differ by their sample only.
        device: `cpu` or `cuda`.
        threads: torch threads of a trial.
        folder: absolute folder, with a subfolder for each trial.
        code: the user's own code that the settings name, for workers that do not have it.
        teachers: patients that the teacher of the pseudo-labels was trained or validated on.
        downsamplings: the values of `training.downsampling` that trials have; () for that of the settings.
        objective: the metric by which a trial keeps its best model, and the further ones that it must have.
    """

    arm: str
    settings: Settings
    training: tuple[LabelledPatient, ...]
    validation: tuple[EvaluatedPatient, ...]
    seed: int
    device: str
    threads: int
    folder: Path
    code: tuple[OwnCode, ...] = ()
    teachers: tuple[str, ...] = ()
    downsamplings: tuple[int, ...] = ()
    objective: Objective = REGISTRATION_RATIO


@dataclass(frozen=True)
class TrialSpec:
    """One trial of an arm: its id, its sample, and its seed (None: the task's)."""

    task: ArmTask
    trial_id: str
    sample: Mapping[str, Any]
    seed: int | None = None

    @property
    def folder(self) -> Path:
        """The folder of the trial, which has its best model so far."""
        return self.task.folder / self.trial_id

    @property
    def settings(self) -> Settings:
        """The settings with the sample applied."""
        return settings_of_sample(self.task.settings, self.sample)


OnEpoch = Callable[[EpochReport], None]
RunTrial = Callable[[TrialSpec, OnEpoch], object]
"""Function that trains one trial and reports every epoch: `run_trial`, or a benchmark's own."""


def run_trial(spec: TrialSpec, on_epoch: OnEpoch | None = None) -> EpochReport:
    """Train one model and return the report of its best epoch.

    Training resumes from a checkpoint in the trial's folder. The epochs before the checkpoint are then reported again.

    Raises:
        TrainingDivergedError: the loss is not finite.
        ObjectiveNotFiniteError: the objective is not finite.
    """
    torch.set_num_threads(spec.task.threads)
    spec.folder.mkdir(parents=True, exist_ok=True)
    best, objective = None, spec.task.objective

    def forward(report: EpochReport) -> None:
        nonlocal best
        for each in objective.all:
            value = report.metrics.get(each.metric)
            if value is not None and not math.isfinite(value):
                raise ObjectiveNotFiniteError(f"{each.metric} must be finite, got {value} in epoch {report.epoch}")
        best = objective.best([report] if best is None else [best, report])
        if on_epoch is not None:
            on_epoch(report)
        if best is report:
            write_whole(spec.folder / PREVIOUS_FILE, (spec.folder / MODEL_FILE).read_bytes())

    return train(
        spec.settings,
        spec.task.training,
        spec.task.validation,
        seed=spec.task.seed if spec.seed is None else spec.seed,
        device=spec.task.device,
        out=spec.folder,
        checkpoints=spec.folder / CHECKPOINTS,
        on_epoch=forward,
        teachers=spec.task.teachers,
        objective=objective,
    )


def run_in_worker(
    config: Mapping[str, Any],
    task: ArmTask,
    report: Callable[[dict[str, Any]], None],
    run: RunTrial = run_trial,
    files: TrialFiles = IN_PLACE,
    versions: Mapping[str, str] | None = None,
) -> None:
    """Run one trial in a worker of Ray Tune. The next epoch starts only after the driver's decision.

    Args:
        config: id, sample and seed of the trial, and the number of the attempt at it.
        task: the common input of the trials.
        report: `ray.tune.report`; called after every epoch with the `EpochReport` as a plain dict.
        run: trains the trial.
        files: gives the attempt its folder, and brings its files to the driver's disk.
        versions: the driver's versions, which this process must have; None to check nothing.

    Raises:
        UnfitNodeError: this node joined late and cannot run the trial.
    """
    if versions is not None:
        check_versions(versions)
    keep_freed_memory()
    if task.device == "cuda":
        torch.cuda.empty_cache()  # GPU memory of the process's trial before is free for others
    receive(task.code)
    spec = TrialSpec(task, str(config["trial_id"]), dict(config["sample"]), config["seed"])
    with files.attempt(spec.folder, int(config["attempt"])) as own:

        def forward(epoch: EpochReport) -> None:
            own.keep()
            report({REPORT: [asdict(epoch)]})

        run(replace(spec, task=replace(task, folder=own.folder.parent)), forward)


def freeze_model(folder: Path, epoch: int) -> Path | None:
    """Copy a trial's model of an epoch to `best/model.pt` and return its path; None where there is no such model.

    A stopped trial may still be training and overwrite its model once more. So the content is read once, checked, and
    written as the copy.
    """
    frozen = folder / BEST_FILE
    for candidate in (folder / MODEL_FILE, folder / PREVIOUS_FILE):
        if candidate.is_file():
            content = candidate.read_bytes()
            if _model_epoch(content) == epoch:
                frozen.parent.mkdir(exist_ok=True)
                write_whole(frozen, content)
                return frozen
    return None


def _model_epoch(content: bytes) -> int | None:
    """Return the epoch of a model file; None where the file is damaged or a weight is not finite.

    The driver calls this at the end of every trial. To be fast it builds no network, unlike `load_model`, and uses
    numpy, because torch threads would wait for cores that are busy with training.
    """
    try:
        read = read_torch(content)
        weights = read["weights"].values()
        finite = all(np.isfinite(tensor.float().numpy()).all() for tensor in weights)
        return int(read["epoch"]) if weights and finite else None
    except Exception:  # a damaged archive can raise many types of exception
        return None


def keep_best_only(folder: Path) -> None:
    """Remove all files of a finished trial but its frozen model, also those that a killed process had half written."""
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    for path in (folder / MODEL_FILE, folder / PREVIOUS_FILE, *folder.rglob(".*.part")):
        path.unlink(missing_ok=True)

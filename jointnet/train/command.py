"""What the command `jointnet.train` does: choose the patients, prepare them, train, and write the model and its log."""

import argparse
import csv
import dataclasses
import json
import shutil
from collections.abc import Collection, Sequence
from typing import TextIO

import numpy as np
import torch

from jointnet.compute.device import resolve_device
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder, select
from jointnet.data.patient_roles import roles_of
from jointnet.errors import DataError, SettingsError, short_repr
from jointnet.evaluate.metrics import defined_metrics, labelled_structures, undefined_metric_errors
from jointnet.evaluate.rows import cut_structure_rows
from jointnet.model_file import SavedModel, load_model
from jointnet.model_path import MODEL_FILE, model_file
from jointnet.models import require_trained
from jointnet.patient_names import in_natural_order, names_text, parse_patients
from jointnet.preparation.cache import CachedPatient, fingerprint, prepare
from jointnet.preparation.counted_structures import left_out_text
from jointnet.preparation.patient_files import PatientFiles
from jointnet.settings import Settings, for_data, load_settings, settings_to_dict, with_epochs, with_values
from jointnet.system.commands import LARGEST_SEED
from jointnet.train.loop import train
from jointnet.train.objective import OBJECTIVE, EpochReport
from jointnet.train.pseudo_labels import (
    PseudoLabelledPatient,
    pseudo_label,
    seen_patients,
    teacher_errors,
    unlabelled_patients,
)

LARGEST_THREADS = 4096


def first_patients(
    patients: Sequence[str], training: int, validation: int, train_only: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the patients that take part: the first `training + validation` in natural order.

    The patients after them stay unseen with every seed. Patients of `train_only`, who lack labels of a scan, are not
    validated on.

    Raises:
        SettingsError: if there are too few patients, or a count is less than 1.
    """
    errors = [
        f"{name}: must be at least 1, got {count}"
        for name, count in (("--train", training), ("--val", validation))
        if count < 1
    ]
    if training + validation > len(patients):
        errors.append(
            f"--train + --val: must be at most the {len(patients)} patients there are, got {training} + {validation}"
        )
    if errors:
        raise SettingsError(errors)
    first = in_natural_order(patients)[: training + validation]
    whole = len(set(first) - set(train_only))
    if whole < validation:
        raise SettingsError(
            f"--val: must be at most the {whole} patient{'' if whole == 1 else 's'} of whom both scans are labelled, "
            f"of the first {len(first)}, got {validation}; --patients chooses others"
        )
    return tuple(first)


def draw_patients(
    patients: Sequence[str],
    training: int,
    validation: int,
    seed: int,
    train_only: Collection[str] = (),
    incomplete: Collection[str] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw the training and validation patients from `first_patients`. The seed decides who is validated on.

    Args:
        patients: the patients to draw from.
        training: number of training patients.
        validation: number of validation patients.
        seed: the seed of the draw.
        train_only: patients who lack labels of a scan. They are not validated on.
        incomplete: patients of whom not all structures can be measured. They validate only where the others do not
            suffice, of whom one is kept to train on.

    Raises:
        SettingsError: see `first_patients`.
    """
    first = first_patients(patients, training, validation, train_only)
    drawn = [first[place] for place in np.random.default_rng(seed).permutation(len(first))]
    whole = [name for name in drawn if name not in train_only]
    complete = [name for name in whole if name not in incomplete]
    kept = complete[: min(1, len(complete) - 1)]
    order = [*kept, *(name for name in whole if name not in complete), *complete[len(kept) :]]
    validated = order[-validation:]
    return tuple(in_natural_order(set(drawn) - set(validated))), tuple(in_natural_order(validated))


def train_model(options: argparse.Namespace) -> None:
    """Train one model, or continue an interrupted training from its checkpoints.

    Raises:
        SettingsError: with invalid options.
        DataError: with all errors of the scans.
        TrainingDivergedError: if the loss becomes NaN or infinite, or the objective is never finite.
    """
    settings = _settings(options)
    device = resolve_device(options.device)
    chosen = parse_patients(options.patients) if options.patients is not None else None
    unlabelled = unlabelled_patients(options.unlabelled, options.teacher, chosen)
    teacher = _teacher(options, unlabelled, device)
    dataset = load_dataset(options.data, options.dataset)
    settings = for_data(settings, dataset.structures)
    looked_at = None if chosen is None else (*chosen, *unlabelled)
    scans, errors = scan_folder(options.data, unlabelled, looked_at, dataset=dataset)
    allowed = chosen if chosen is not None else tuple(number for number in scans if number not in unlabelled)
    patients: dict[str, PatientFiles] = {files.patient: files for files in select(scans, allowed, errors)}
    roles = roles_of(patients.values(), settings.model.structures)
    for line in roles.text():
        print(line)
    labelled = first_patients((*roles.whole, *roles.partly), options.train, options.val, roles.partly)
    prepared = prepare(select(scans, (*labelled, *unlabelled), errors), options.cache, known_errors=errors)
    cached = {item.patient: item for item in prepared}
    defined = {name: defined_metrics(cached[name].labels(), cached[name].field()) for name in labelled}
    incomplete = [
        name for name, own in defined.items() if set(settings.model.structures) - set(labelled_structures(own))
    ]
    training, validation = draw_patients(labelled, options.train, options.val, options.seed, roles.partly, incomplete)
    if teacher and (shared := in_natural_order(set(validation) & set(teacher.patients["training"]))):
        raise SettingsError(f"--teacher: must not have been trained on validation patients, got {names_text(shared)}")
    print(f"{len(training)} training patients: {_listed(training)}")
    print(f"{len(validation)} validation patients: {_listed(validation)}", flush=True)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    pseudo_labelled = pseudo_label(teacher.model, [cached[number] for number in unlabelled], device) if teacher else []
    for patient in pseudo_labelled:
        print(
            f"patient {patient.patient}: pseudo-labels in {patient.labelled_slices} of {patient.prepared.slices} slices"
        )
    training_data: list[CachedPatient | PseudoLabelledPatient] = [
        *(cached[number] for number in training),
        *pseudo_labelled,
    ]
    errors = [
        *undefined_metric_errors(
            "--train: patients",
            {name: defined[name] for name in training}
            | {item.patient: defined_metrics(item.labels(), item.field()) for item in pseudo_labelled},
            "learned",
            settings.model.structures,
        ),
        *undefined_metric_errors(
            "--val: patients",
            {name: defined[name] for name in validation},
            "measured",
            settings.model.structures,
        ),
    ]
    if errors:
        raise DataError(errors)
    if len(cut := cut_structure_rows([cached[number] for number in (*training, *validation)])):
        print(left_out_text(len(cut), cut["patient"].nunique()))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / MODEL_FILE).unlink(missing_ok=True)
    config = {
        "settings": settings_to_dict(settings),
        "seed": options.seed,
        "training": training,
        "validation": validation,
        "unlabelled": {patient.patient: patient.labelled_slices for patient in pseudo_labelled},
        "teacher": None if teacher is None else {"model": str(options.teacher), "patients": teacher.patients},
        "data_fingerprint": fingerprint(cached.values()),
    }
    (options.out / "config.json").write_text(json.dumps(config, indent=1))
    checkpoints = options.out / "checkpoints"
    with (options.out / "log.csv").open("w", newline="") as stream:
        log = EpochLog(stream, settings.training.epochs)
        best = train(
            settings,
            training_data,
            [cached[number] for number in validation],
            seed=options.seed,
            device=device,
            out=options.out,
            checkpoints=checkpoints,
            on_epoch=log,
            teachers=seen_patients(teacher) if teacher else (),
            on_resume=lambda done: print(f"continuing after epoch {done} from {checkpoints}", flush=True),
        )
    shutil.rmtree(checkpoints)
    print(f"best epoch {best.epoch}: {OBJECTIVE} {best.metrics[OBJECTIVE]:.3f}; model in {options.out / MODEL_FILE}")


@dataclasses.dataclass
class EpochLog:
    """Callback that writes all metrics to a CSV (epoch, seconds, metric, value) and prints one line per epoch."""

    stream: TextIO
    epochs: int
    elapsed_s: float = 0.0

    def __call__(self, report: EpochReport) -> None:
        """Write and print the metrics of one epoch."""
        writer = csv.writer(self.stream)
        if report.epoch == 1:
            writer.writerow(["epoch", "seconds", "metric", "value"])
        for name, value in report.metrics.items():
            writer.writerow([report.epoch, f"{report.seconds:.3f}", name, repr(value)])
        self.stream.flush()
        self.elapsed_s += report.seconds
        left_min = self.elapsed_s / report.epoch * (self.epochs - report.epoch) / 60
        metrics = "  ".join(
            f"{name} {report.metrics[name]:.3f}"
            for name in ("train/loss", OBJECTIVE, "val/cd_mm/lv")
            if name in report.metrics
        )
        print(f"epoch {report.epoch}/{self.epochs}  {metrics}  {left_min:.1f} min left", flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings from the options, after checking the numeric options."""
    bounds = {"seed": (0, LARGEST_SEED), "threads": (1, LARGEST_THREADS)}
    given = {name: getattr(options, name) for name in bounds}
    errors = [
        f"--{name}: must be at least {bounds[name][0]} and at most {bounds[name][1]}, got {short_repr(value)}"
        for name, value in given.items()
        if value is not None and not bounds[name][0] <= value <= bounds[name][1]
    ]
    if errors:
        raise SettingsError(errors)
    require_trained(options.model)
    name = {"model.name": options.model}
    settings = with_values(load_settings(options.settings, with_values(Settings(), name)), name)
    return settings if options.epochs is None else with_epochs(settings, options.epochs)


def _teacher(options: argparse.Namespace, unlabelled: Sequence[str], device: str) -> SavedModel | None:
    """Return the model that predicts the pseudo-labels, or None if there are no unlabelled patients."""
    if options.teacher is None:
        return None
    path = model_file(options.teacher)
    teacher = load_model(path, device, options.allow_code)
    errors = teacher_errors(teacher, unlabelled)
    if path.absolute() == (options.out / MODEL_FILE).absolute():
        errors.append(f"--out: must be another folder than --teacher's, got {options.out}")
    if errors:
        raise SettingsError(errors)
    return teacher


def _listed(names: Sequence[str]) -> str:
    return (", " if any(" " in name for name in names) else " ").join(names)

"""Registration by cross-validation over patients, whole and with cut fields of view: one row for each way to register.

python benchmarks/accuracy/registration.py --out runs/registration [--data DIR] [--also NAME=DIR ...]
    [--search ablation] [--rows ARM-COUNT ...] [--validation 4] [--folds 5] [--seeds 3] [--jobs 1] [--pseudo-labels]

Rows without annotation: before registration, MIND descriptors, and SimpleITK where it is installed
(`pip install -e '.[benchmark]'`). Rows with annotation: an arm of a search file, at its own settings with nothing
searched, and a number of training patients, e.g. `joint-16`. The oracle is the best affine found on the manual labels,
of all structures or of some; or, for each slice, the mean of those of the patient's other slices.

Every patient is in one test fold per seed. `--validation` of the others choose the best epoch, and the training
patients are the first of the rest, so fewer are a subset of more. Each model is trained on `--data` and tested on the
same patients of `--data` and of every other folder, e.g. `--also cut=DIR`. `--pseudo-labels` trains each arm that
segments a second time, with the fold's other patients labelled by its first model.

`--jobs` trainings share the cores; one whose result is in --out already is not repeated (give another --out after the
code has changed). Without --data a phantom of 25 patients is used. Prints a table of the registration ratio and one
of the endpoints, and how many structures the common field cuts, and writes them to `table.txt`, and all rows to
`rows.csv`. The milliseconds per slice are those of predicting on one thread, with all stages of the model and without
the stages after the network (`feed-forward`): the median over the patients of a fold, mean over folds.
"""

import argparse
import copy
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from jointnet.data.folder import find_patients
from jointnet.evaluate.aggregation import ENDPOINTS, METRIC_TITLES, patient_means, registration_ratio
from jointnet.evaluate.mutual_information import is_installed, mutual_information
from jointnet.evaluate.oracle import oracle
from jointnet.evaluate.rows import EvaluatedPatient, cut_structure_rows, evaluate, predicted_rows
from jointnet.model_file import load_model, untrained_model
from jointnet.model_path import MODEL_FILE
from jointnet.models import MODELS
from jointnet.networks.apply import Prediction, predict
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.cache import CachedPatient, prepare
from jointnet.settings import Settings, settings_to_dict, with_values
from jointnet.structures import CLASS_INDEX
from jointnet.train.loop import train
from jointnet.train.pseudo_labels import pseudo_label
from study.search.file.reading import load_spaces

PHANTOM_PATIENTS = 25
ROWS = (
    "joint-16",
    "joint-5",
    "joint-1",
    "joint-no-descriptors-16",
    "standalone-16",
    "standalone-no-stages-16",
    "standalone-no-stages-long-16",
    "joint-dense-no-stages-16",
    "joint-dense-no-stages-long-16",
    "joint-dense-no-stages-long-5",
)
"""Arms of `ablation` and their numbers of training patients."""
WHOLE = "whole"
"""Name of the fields of view of `--data`."""

Patients = dict[str, list[CachedPatient]]
"""The same patients, in the same order, by the name of their fields of view."""


@dataclass(frozen=True)
class Task:
    """One training of a cross-validation.

    Attributes:
        row: name of the row of the table.
        settings: settings of the training.
        training, validation, unlabelled: patients; the unlabelled ones get pseudo-labels.
        test: test patients by the name of their fields of view.
        annotated: number of training and validation patients.
        seed: seed of the training.
        threads: number of torch's threads.
        folder: where the result is kept.
    """

    row: str
    settings: Settings
    training: list[CachedPatient]
    validation: list[CachedPatient]
    unlabelled: list[CachedPatient]
    test: Patients
    annotated: int
    seed: int
    threads: int
    folder: Path


def folds(patients: int, count: int, seed: int) -> list[list[int]]:
    """Return the patient positions of each test fold: a seeded permutation assigned to the folds in turn."""
    order = np.random.default_rng(seed).permutation(patients)
    return [sorted(order[start::count].tolist()) for start in range(count)]


def tasks_of(
    patients: Patients, arms: Mapping[str, Settings], seed: int, options: argparse.Namespace
) -> Iterator[Task]:
    """Yield the trainings of all rows and folds of one seed."""
    whole = patients[WHOLE]
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    for named in options.rows:
        arm, _, number = named.rpartition("-")
        count, settings = int(number), arms[arm]
        for fold, test in enumerate(folds(len(whole), options.folds, seed)):
            rest = [index for index in range(len(whole)) if index not in test]
            rest = np.random.default_rng([seed, fold]).permutation(rest).tolist()
            validation, others = rest[: options.validation], rest[options.validation :]
            training, unlabelled = ([whole[index] for index in part] for part in (others[:count], others[count:]))
            held_out = {name: [each[index] for index in test] for name, each in patients.items()}
            annotated = count + options.validation
            row = f"{arm}, {count} training, {options.validation} validation"
            folder = options.out / f"{named}-seed{seed}-fold{fold}"
            chosen = [whole[index] for index in validation]
            yield Task(row, settings, training, chosen, [], held_out, annotated, seed, threads, folder)
            if options.pseudo_labels and unlabelled and MODELS[settings.model.name].segments:
                row, folder = f"{row}, others pseudo-labelled", folder.with_name(f"{folder.name}-pseudo")
                yield Task(row, settings, training, chosen, unlabelled, held_out, annotated, seed, threads, folder)


def carry_out(task: Task) -> pd.DataFrame:
    """Train and test. A result in the task's folder, of the same settings and patients, is read instead."""
    kept, rows_file = task.folder / "task.json", task.folder / "rows.csv"
    groups = {"training": task.training, "validation": task.validation, "unlabelled": task.unlabelled, **task.test}
    digests = {name: [f"{patient.patient} {patient.digest}" for patient in group] for name, group in groups.items()}
    identity = json.loads(json.dumps([digests, settings_to_dict(task.settings), task.seed]))
    if kept.exists() and json.loads(kept.read_text()) == identity:
        return pd.read_csv(rows_file, dtype={"patient": str, "annotated": str})
    torch.set_num_threads(task.threads)
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    train(task.settings, task.training, task.validation, seed=task.seed, out=task.folder)
    if task.unlabelled:
        labelled = pseudo_label(load_model(task.folder / MODEL_FILE).model, task.unlabelled)
        train(task.settings, [*task.training, *labelled], task.validation, seed=task.seed, out=task.folder)
    minutes = (time.perf_counter() - started) / 60
    rows = measured(load_model(task.folder / MODEL_FILE).model, task.test)
    rows = rows.assign(row=task.row, annotated=str(task.annotated), seed=task.seed, minutes=minutes)
    rows.to_csv(rows_file, index=False)
    kept.write_text(json.dumps(identity))
    print(f"{task.folder.name}: {minutes:.1f} min, ratio {registration_ratio(rows[rows['fields'] == WHOLE]):.3f}")
    return rows


def measured(model: torch.nn.Module | None, patients: Patients) -> pd.DataFrame:
    """Return the rows of a model for all fields of view, with the milliseconds per slice that predicting takes."""
    parts = []
    for name, group in patients.items():
        rows = evaluate(model, group)
        if model is not None:
            rows["ms"] = predicting_ms(model, group)
            rows["ms_feed_forward"] = predicting_ms(feed_forward(model), group)
        parts.append(rows.assign(fields=name))
    return pd.concat(parts, ignore_index=True)


def feed_forward(model: torch.nn.Module) -> torch.nn.Module:
    """Return the same network without the stages after it."""
    settings: Settings = model.settings  # type: ignore[assignment]
    stages = {"registration.pooling": "independent", "registration.refinement": "none"}
    alone = copy.copy(model)
    alone.settings = with_values(settings, stages)  # type: ignore[assignment]
    return alone


def predicting_ms(model: torch.nn.Module, patients: Sequence[EvaluatedPatient]) -> float:
    """Return the milliseconds per slice that predicting takes on one thread: the median over patients."""
    scans = [(np.array(patient.images()), np.array(patient.field())) for patient in patients]
    threads, spent_ms = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for images, field in [scans[0], *scans]:  # the first prediction is slower
            started = time.perf_counter()
            predict(model, images, field=field)
            spent_ms.append(1000 * (time.perf_counter() - started) / len(images))
    finally:
        torch.set_num_threads(threads)
    return float(np.median(spent_ms[1:]))


def without_annotation(patients: Patients) -> Iterator[pd.DataFrame]:
    """Yield the rows of everything that needs no training."""
    found = {
        "before registration": measured(None, patients),
        "descriptors": measured(untrained_model("descriptors").model, patients),
        "oracle": predicted(patients, lambda patient: oracle(patient.labels())),
        "oracle of LV and myocardium": predicted(patients, lambda patient: oracle(only(patient.labels(), "lv", "myo"))),
        "oracle of RV": predicted(patients, lambda patient: oracle(only(patient.labels(), "rv"))),
        "oracle of the patient's other slices": predicted(patients, lambda patient: oracle_elsewhere(patient.labels())),
    }
    if is_installed():
        found["SimpleITK, mutual information"] = predicted(patients, mutual_information)
    for name, rows in found.items():
        yield rows.assign(row=name, annotated="all" if name.startswith("oracle") else "0", seed=0)


def only(labels: NDArray[np.uint8], *structures: str) -> NDArray[np.uint8]:
    """Return label maps with the given structures and background only."""
    return labels * np.isin(labels, [CLASS_INDEX[name] for name in structures]).astype(np.uint8)


def oracle_elsewhere(labels: NDArray[np.uint8]) -> Prediction:
    """Return for each slice the mean oracle of the other slices with labels in both images; if none, no change."""
    own = oracle(labels).theta
    labelled = ((labels > 0).sum((2, 3)) > 0).all(axis=1)
    theta = np.broadcast_to(np.eye(2, 3, dtype=own.dtype), own.shape).copy()
    for index in range(len(own)):
        others = labelled & (np.arange(len(own)) != index)
        if others.any():
            theta[index] = own[others].mean(0)
    return Prediction(theta, None, None)


def predicted(patients: Patients, predict: Callable[[EvaluatedPatient], Prediction]) -> pd.DataFrame:
    """Return the rows of all fields of view with any prediction of a patient."""
    return pd.concat([predicted_rows(group, predict).assign(fields=name) for name, group in patients.items()])


def figures(rows: pd.DataFrame) -> dict[str, float]:
    """Return the figures of one way to register, one seed and one kind of fields of view.

    The endpoints in mm are means and medians over patients; the changes compare the means.
    """
    by_patient = patient_means(rows)
    values = {"ratio": registration_ratio(rows)}
    for metric, structure in ENDPOINTS:
        own = by_patient.xs((metric, structure), level=("metric", "structure"))
        label = f"{structure} {METRIC_TITLES[metric]}"
        values[f"{label} mm"] = float(own["after"].mean())
        values[f"{label} median mm"] = float(own["after"].median())
        values[f"{label} %"] = 100 * (float(own["after"].mean() / own["before"].mean()) - 1)
    lv = rows[(rows["metric"] == "cd_mm") & (rows["structure"] == "lv")]
    means = by_patient.xs(("cd_mm", "lv"), level=("metric", "structure"))
    values["slices worse in LV CD %"] = 100 * float((lv["after"] > lv["before"]).mean())
    values["patients worse in LV CD"] = float((means["after"] > means["before"]).sum())
    values["lost structures"] = float(rows.loc[rows["metric"] == "asd_mm", "lost"].sum())
    for metric in ("dice_cine", "dice_lge"):
        own = by_patient[by_patient.index.get_level_values("metric") == metric]
        values[metric] = float(own["after"].mean())
    columns = {"ms per slice": "ms", "ms per slice, feed-forward": "ms_feed_forward", "minutes per training": "minutes"}
    values |= {title: float(rows[column].mean()) if column in rows else np.nan for title, column in columns.items()}
    return values


def cut_text(patients: Patients) -> str:
    """Return a line with the number of structures that the common field cuts, for each kind of fields of view."""
    counts = ", ".join(f"{name} {len(cut_structure_rows(group))}" for name, group in patients.items())
    return f"structures of a slice that the common field cuts, left out everywhere: {counts}\n"


def tables(rows: pd.DataFrame) -> str:
    """Return two tables as text: the ratios, and all figures; each is a mean over seeds with its SD in brackets."""
    keys = ["row", "annotated", "fields"]
    by_seed = pd.DataFrame({key: figures(part) for key, part in rows.groupby([*keys, "seed"], sort=False)}).T
    by_seed.index.names = [*keys, "seed"]
    grouped = by_seed.groupby(keys, sort=False)
    means, spreads = grouped.mean(), grouped.std()
    spread = spreads.map(lambda value: "" if np.isnan(value) else f" ({value:.2g})")
    cells = (means.map("{:.3g}".format) + spread).where(means.notna(), "")
    ratios = cells["ratio"].reset_index().pivot_table("ratio", keys[:2], "fields", aggfunc="first", sort=False)
    return f"{ratios.to_string()}\n\n{cells.T.to_string()}\n"


def main() -> None:
    """Run the cross-validation and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--search", default="ablation")
    parser.add_argument("--rows", nargs="*", default=ROWS, metavar="ARM-COUNT")
    parser.add_argument("--validation", type=int, default=4)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--pseudo-labels", action="store_true")
    options = parser.parse_args()
    (space,) = load_spaces([options.search])
    arms = {method.name: space.settings_of(method.name) for method in space.methods}
    for row in options.rows:
        arm, _, count = row.rpartition("-")
        if arm not in arms or not count.isdecimal():
            parser.error(f"--rows: ARM-COUNT with an arm of {options.search} ({', '.join(arms)}), got {row!r}")
    folder = options.data or Path(f"data/phantom-{PHANTOM_PATIENTS}-0").absolute()
    if options.data is None:
        write_phantom(folder, patients=PHANTOM_PATIENTS)
    named = {WHOLE: folder, **{name: Path(path) for name, _, path in (each.partition("=") for each in options.also)}}
    patients = {name: prepare(list(find_patients(path).values())) for name, path in named.items()}
    left = len(patients[WHOLE]) - math.ceil(len(patients[WHOLE]) / options.folds) - options.validation
    if any(not 1 <= int(row.rpartition("-")[2]) <= left for row in options.rows):
        rule = f"test and validation patients leave {left} to train on, so a COUNT must be 1 to {left}"
        parser.error(f"--rows: {rule}, got {' '.join(options.rows)}")
    found = list(without_annotation(patients))
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for seed in range(options.seeds):
            found += pool.map(carry_out, tasks_of(patients, arms, seed, options))
    rows = pd.concat(found, ignore_index=True)
    rows.to_csv(options.out / "rows.csv", index=False)
    text = tables(rows) + cut_text(patients)
    (options.out / "table.txt").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

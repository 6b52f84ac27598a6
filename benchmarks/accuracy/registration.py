"""Registration by cross-validation over patients: before, the oracle, each model and a classical baseline side by side.

python benchmarks/accuracy/registration.py --out runs/registration [--data DIR] [--folds 5] [--seeds 3]
    [--models joint standalone] [--settings default] [--epochs E] [--validation 4] [--jobs 1] [--classical]

Every patient is in one test fold per seed; `--validation` of the others choose the best epoch and the rest are trained
on. `--jobs` trainings share the cores; one whose result is in --out already is not repeated (give another --out after
the code has changed). Without --data a phantom of 25 patients is used. `--classical` adds SimpleITK's translation by
Mattes mutual information per slice (`pip install -e '.[benchmark]'`). Writes `rows.csv`, `table.md` and `table.json`
into --out, and prints the table: means over patients, and over seeds with their spread where there are several.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from jointnet.data.cache import CachedPatient, prepare
from jointnet.data.folder import find_patients
from jointnet.evaluate.aggregation import ENDPOINTS, patient_means, registration_ratio
from jointnet.evaluate.mutual_information import mutual_information
from jointnet.evaluate.oracle import oracle, reduction_share
from jointnet.evaluate.rows import evaluate, predicted_rows
from jointnet.model_file import load_model
from jointnet.model_path import MODEL_FILE
from jointnet.models import TRAINED
from jointnet.phantom.writer import write_phantom
from jointnet.settings import Settings, load_settings, settings_to_dict, with_values
from jointnet.train.loop import train

PHANTOM_PATIENTS = 25


def folds(patients: int, count: int, seed: int) -> list[list[int]]:
    """Return the patient positions of each test fold: a seeded permutation assigned to the folds in turn."""
    order = np.random.default_rng(seed).permutation(patients)
    return [sorted(order[start::count].tolist()) for start in range(count)]


class Task(NamedTuple):
    """One training of a cross-validation: patients by position, and the folder of its result."""

    settings: Settings
    training: list[CachedPatient]
    validation: list[CachedPatient]
    test: list[CachedPatient]
    seed: int
    threads: int
    folder: Path


class Outcome(NamedTuple):
    """The test rows of one training, its duration in minutes, and the number of the model's parameters."""

    rows: pd.DataFrame
    minutes: float
    parameters: int


def tasks_of(patients: Sequence[CachedPatient], name: str, seed: int, options: argparse.Namespace) -> list[Task]:
    """Return the trainings of a model and seed, one for each fold."""
    values: dict[str, Any] = {"model.name": name}
    if options.epochs:
        values["training.epochs"] = options.epochs
    settings = with_values(load_settings(options.settings), values)
    tasks = []
    for fold, test in enumerate(folds(len(patients), options.folds, seed)):
        rest = [index for index in range(len(patients)) if index not in test]
        rest = np.random.default_rng([seed, fold]).permutation(rest).tolist()
        validation, training = rest[: options.validation], rest[options.validation :]
        groups = [[patients[index] for index in group] for group in (training, validation, test)]
        threads = max(1, (os.cpu_count() or 1) // options.jobs)
        folder = options.out / f"{name}-seed{seed}-fold{fold}"
        tasks.append(Task(settings, *groups, seed, threads, folder))
    return tasks


def carry_out(task: Task) -> Outcome:
    """Train and test. A result in the task's folder, of the same settings and patients, is read instead."""
    kept, rows_file = task.folder / "task.json", task.folder / "rows.csv"
    groups = {"training": task.training, "validation": task.validation, "test": task.test}
    identity = {name: [f"{patient.patient} {patient.digest}" for patient in group] for name, group in groups.items()}
    identity |= {"settings": settings_to_dict(task.settings), "seed": task.seed}
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("identity") == json.loads(json.dumps(identity)):
        return Outcome(pd.read_csv(rows_file), known["minutes"], known["parameters"])
    torch.set_num_threads(task.threads)
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    train(task.settings, task.training, task.validation, seed=task.seed, out=task.folder)
    minutes = (time.perf_counter() - started) / 60
    model = load_model(task.folder / MODEL_FILE).model
    parameters = sum(value.numel() for value in model.parameters())
    rows = evaluate(model, task.test)
    rows.to_csv(rows_file, index=False)
    kept.write_text(json.dumps({"identity": identity, "minutes": minutes, "parameters": parameters}))
    print(f"{task.folder.name}: {minutes:.1f} min", flush=True)
    return Outcome(rows, minutes, parameters)


def figures(rows: pd.DataFrame, floor: pd.DataFrame) -> dict[str, float]:
    """Return the figures of one model and seed, means over patients."""
    means = patient_means(rows).groupby(["metric", "structure"]).mean()
    floors = patient_means(floor)["after"].groupby(["metric", "structure"]).mean()
    values: dict[str, float] = {}
    for metric, structure in ENDPOINTS:
        before, after = (float(means.loc[(metric, structure), when]) for when in ("before", "after"))
        label = f"{structure.upper() if structure != 'myo' else 'myo'} {metric.split('_')[0].upper()}"
        values[f"{label} mm"] = after
        values[f"{label} %"] = 100 * (after / before - 1)
        values[f"{label} of the oracle's reduction %"] = 100 * reduction_share(
            before, after, float(floors[metric, structure])
        )
    values["registration ratio"] = registration_ratio(rows)
    lv = rows[(rows["metric"] == "cd_mm") & (rows["structure"] == "lv")]
    by_patient = lv.groupby("patient")[["before", "after"]].mean()
    values["slices worse in LV CD %"] = 100 * float((lv["after"] > lv["before"]).mean())
    values["patients worse in LV CD"] = float((by_patient["after"] > by_patient["before"]).sum())
    values["lost structures"] = float(len(rows.loc[rows["lost"], ["patient", "slice", "structure"]].drop_duplicates()))
    for metric in ("dice_cine", "dice_lge"):
        if metric in means.index.get_level_values(0):
            values[f"{metric} mean of three"] = float(means.loc[metric, "after"].mean())
    return values


def main() -> None:
    """Run the cross-validation and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", type=int, default=4)
    parser.add_argument("--models", nargs="*", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--settings", default="default")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--classical", action="store_true")
    options = parser.parse_args()
    folder = options.data or Path(f"data/phantom-{PHANTOM_PATIENTS}-0").absolute()
    if options.data is None:
        write_phantom(folder, patients=PHANTOM_PATIENTS)
    patients = prepare(list(find_patients(folder).values()))
    floor = predicted_rows(patients, lambda patient: oracle(patient.labels()))
    columns: dict[str, list[dict[str, float]]] = {
        "before": [figures(predicted_rows(patients, lambda _: None), floor)],
        "oracle": [figures(floor, floor)],
    }
    if options.classical:
        columns["mutual information"] = [figures(predicted_rows(patients, mutual_information), floor)]
    kept = []
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in options.models:
            for seed in range(options.seeds):
                outcomes = list(pool.map(carry_out, tasks_of(patients, name, seed, options)))
                rows = pd.concat([outcome.rows for outcome in outcomes], ignore_index=True)
                kept.append(rows.assign(model=name, seed=seed))
                minutes = float(np.mean([outcome.minutes for outcome in outcomes]))
                extra = {"minutes a training": minutes, "parameters": float(outcomes[0].parameters)}
                columns.setdefault(name, []).append(figures(rows, floor) | extra)
    write(columns, kept, options.out)


def write(columns: dict[str, list[dict[str, float]]], rows: list[pd.DataFrame], out: Path) -> None:
    """Write the table as Markdown and JSON and the rows as CSV, and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    seeds = {name: pd.DataFrame(values) for name, values in columns.items()}
    means, spreads = (pd.DataFrame({name: each.agg(how) for name, each in seeds.items()}) for how in ("mean", "std"))
    cells = means.map("{:.2f}".format) + spreads.map(lambda value: "" if np.isnan(value) else f" ({value:.2f})")
    text = cells.where(means.notna(), "").reindex(seeds[list(seeds)[-1]].columns).to_string()
    print(text)
    (out / "table.md").write_text(f"```\n{text}\n```\n")
    (out / "table.json").write_text(json.dumps(columns, indent=1))
    if rows:
        pd.concat(rows, ignore_index=True).to_csv(out / "rows.csv", index=False)


if __name__ == "__main__":
    main()

"""Error against the number of annotated patients, with and without pseudo-labels, stand-alone and joint.

python benchmarks/accuracy/annotation.py --out runs/annotation [--data DIR] [--annotated 5 10 15] [--seeds 3] [--test 5]
    [--validation 4] [--models joint standalone] [--settings default] [--epochs E] [--jobs 1]

For each seed the test and validation patients are the same for all counts, and fewer annotated patients are a subset of
more. `weak` adds all patients who are left as unlabelled ones: a joint model trained on the annotated ones labels them
(`jointnet.train.pseudo_labels`), and a model is trained again on both. The validation patients are annotated as well.
Without --data a phantom of 25 patients is used. Writes `rows.csv` and `table.md` into --out.
"""

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from jointnet.data.cache import CachedPatient, prepare
from jointnet.data.folder import find_patients
from jointnet.evaluate.aggregation import registration_ratio
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model
from jointnet.model_path import MODEL_FILE
from jointnet.models import TRAINED
from jointnet.phantom.writer import write_phantom
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train.dataset import LabelledPatient
from jointnet.train.loop import train
from jointnet.train.pseudo_labels import pseudo_label

PHANTOM_PATIENTS = 25


class Groups(NamedTuple):
    """The annotated, unlabelled, validation and test patients."""

    annotated: list[CachedPatient]
    unlabelled: list[CachedPatient]
    validation: list[CachedPatient]
    test: list[CachedPatient]


class Task(NamedTuple):
    """The trainings of one count of annotated patients and one seed."""

    groups: Groups
    settings: dict[str, Settings]
    seed: int
    threads: int
    folder: Path


def draw_groups(patients: Sequence[CachedPatient], annotated: int, test: int, validation: int, seed: int) -> Groups:
    """Split a seeded permutation of the patients into test, validation, annotated and, the rest, unlabelled ones."""
    drawn = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    rest = drawn[test + validation :]
    return Groups(rest[:annotated], rest[annotated:], drawn[test : test + validation], drawn[:test])


def carry_out(task: Task) -> pd.DataFrame:
    """Train the joint teacher and every model with and without weak supervision, and return the test rows."""
    torch.set_num_threads(task.threads)
    found = [fit(task, "joint", "labels", task.groups.annotated)]
    teacher = load_model(task.folder / "joint-labels" / MODEL_FILE).model
    weak = pseudo_label(teacher, task.groups.unlabelled)
    for name in task.settings:
        if name != "joint":
            found.append(fit(task, name, "labels", task.groups.annotated))
        if weak:
            found.append(fit(task, name, "weak", [*task.groups.annotated, *weak]))
    rows = pd.concat(found)
    rows.to_csv(task.folder / "rows.csv", index=False)
    return rows


def fit(task: Task, name: str, kind: str, training: Sequence[LabelledPatient]) -> pd.DataFrame:
    """Train a model and return its test rows."""
    out = task.folder / f"{name}-{kind}"
    out.mkdir(parents=True, exist_ok=True)
    train(task.settings[name], training, task.groups.validation, seed=task.seed, out=out)
    rows = evaluate(load_model(out / MODEL_FILE).model, task.groups.test)
    ratio = registration_ratio(rows)
    annotated = len(task.groups.annotated)
    print(f"seed {task.seed}, {annotated} annotated, {name}, {kind}: test ratio {ratio:.3f}", flush=True)
    return rows.assign(model=name, kind=kind, annotated=annotated, seed=task.seed)


def main() -> None:
    """Run all trainings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--annotated", type=int, nargs="+", default=[5, 10, 15])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=5)
    parser.add_argument("--validation", type=int, default=4)
    parser.add_argument("--models", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--settings", default="default")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    folder = options.data or Path(f"data/phantom-{PHANTOM_PATIENTS}-0").absolute()
    if options.data is None:
        write_phantom(folder, patients=PHANTOM_PATIENTS)
    patients = prepare(list(find_patients(folder).values()))
    most = len(patients) - options.test - options.validation
    if max(options.annotated) > most:
        parser.error(f"--annotated: must be at most {most} of {len(patients)} patients, got {max(options.annotated)}")
    epochs = {"training.epochs": options.epochs} if options.epochs else {}
    names = ["joint", *(name for name in options.models if name != "joint")]
    settings = {name: with_values(load_settings(options.settings), {"model.name": name, **epochs}) for name in names}
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    tasks = []
    for seed in range(options.seeds):
        for count in sorted(options.annotated, reverse=True):
            groups = draw_groups(patients, count, options.test, options.validation, seed)
            tasks.append(Task(groups, settings, seed, threads, options.out / f"annotated{count}-seed{seed}"))
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = pd.concat(pool.map(carry_out, tasks), ignore_index=True)
    rows = rows[rows["model"].isin(options.models)]
    rows.to_csv(options.out / "rows.csv", index=False)
    ratios = pd.Series(
        {key: registration_ratio(part) for key, part in rows.groupby(["model", "kind", "annotated", "seed"])}
    ).rename_axis(["model", "kind", "annotated", "seed"])
    table = ratios.groupby(["model", "kind", "annotated"]).agg(["mean", "std", "count"]).round(3)
    print(table.to_string())
    (options.out / "table.md").write_text(f"```\n{table.to_string()}\n```\n")


if __name__ == "__main__":
    main()

"""What grows with the patients of a study: its start and its memory, and not the training step.

    python benchmarks/speed/growth_of_patients.py [--patients 45 150 450] [--phantom 3]

A few phantom patients are written, and copied under more numbers with another time stamp in the gzip header, so that
each file's content differs. Each number of patients is measured in a process of its own: finding the files, dealing the
splits and hashing the scans (`planning`), filling the cache, starting again from it, and an epoch of a tiny network,
whose time a step shows what reading a batch costs. Times of starts are linear, so they are told a patient.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from figures import Figure, add_options, tell
from one_arm import SPACE, resident_mb

from jointnet.data.cache import fingerprint_of_files, prepare
from jointnet.data.folder import find_patients
from jointnet.phantom.writer import write_phantom
from jointnet.settings import with_values
from jointnet.train.loop import train
from study.plan.splits import Counts, make_splits

TIME_STAMP = slice(4, 8)
"""Bytes of the time stamp in a gzip file."""
TINY = {
    "model.widths": [4, 4],
    "training.downsampling": 4,
    "training.epochs": 2,
    "training.validate_every": 2,
}
ROLES = ("planning", "filling the cache", "starting from the cache")
MOST_RATIO = 1.2


def main() -> None:
    """Measure each number of patients and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[45, 150, 450])
    parser.add_argument("--phantom", type=int, default=3, help="different patients; the others are copies")
    parser.add_argument("--single", type=Path, help="measure this folder in this process, and print it as JSON")
    add_options(parser, repeats=1)
    options = parser.parse_args()
    if options.single:
        print(json.dumps(measured(options.single)))
        return
    found: dict[int, list[dict[str, float]]] = {}
    for patients in options.patients:
        with tempfile.TemporaryDirectory() as scratch:
            write_patients(Path(scratch) / "scans", patients, options.phantom)
            found[patients] = [apart(Path(scratch)) for _ in range(options.repeats)]
    tell(figures_of(found), options, patients=options.patients)


def write_patients(folder: Path, patients: int, different: int) -> None:
    """Write a phantom of `different` patients, and copies of them under the following numbers."""
    write_phantom(folder, patients=different)
    own = [(path, path.read_bytes()) for path in sorted(folder.rglob("patient*.nii.gz"))]
    for number in range(different + 1, patients + 1):
        copied = f"patient{(number - 1) % different + 1}_"
        for path, content in own:
            if path.name.startswith(copied):
                changed = bytearray(content)
                changed[TIME_STAMP] = number.to_bytes(4, "little")
                path.with_name(path.name.replace(copied, f"patient{number}_")).write_bytes(changed)


def apart(scratch: Path) -> dict[str, float]:
    """Measure a folder of patients in a separate process, with an empty cache."""
    command = [sys.executable, __file__, "--single", str(scratch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    print(done.stdout.decode(), file=sys.stderr)
    return dict(json.loads(done.stdout))


def measured(scratch: Path) -> dict[str, float]:
    """Return seconds and MB for the patients in `scratch/scans`."""
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    began, before = time.perf_counter(), resident_mb()
    patients = find_patients(scratch / "scans")
    count = len(patients)
    make_splits(patients, [Counts(count - 10, 5, 5), Counts(count // 2, 5, 5)], 0)
    fingerprint_of_files(patients.values())
    found["planning"] = time.perf_counter() - began
    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        for what in ROLES[1:]:
            began = time.perf_counter()
            cached = prepare(list(patients.values()), Path(cache))
            found[what] = time.perf_counter() - began
        found["memory of the driver"] = resident_mb() - before
        settings = with_values(SPACE.settings_of("joint"), TINY)
        steps = math.ceil(sum(patient.slices for patient in cached[1:]) / settings.training.batch_size)
        seconds = list[float]()
        train(
            settings, cached[1:], cached[:1], seed=0, device="cpu", on_epoch=lambda told: seconds.append(told.seconds)
        )
    return {**found, "a training step": seconds[0] / steps, "patients": count}


def figures_of(found: Mapping[int, Sequence[Mapping[str, float]]]) -> list[Figure]:
    """Return the figures for each number of patients, and the ratios of the largest to the smallest number."""
    figures = []
    for patients, runs in found.items():
        for role in ROLES:
            each = tuple(1e3 * run[role] / patients for run in runs)
            figures.append(Figure(f"{patients} patients: {role}, a patient", each, "ms"))
        figures.append(
            Figure(f"{patients} patients: memory of the driver", tuple(r["memory of the driver"] for r in runs), "MB")
        )
        step = tuple(1e3 * run["a training step"] for run in runs)
        figures.append(Figure(f"{patients} patients: a training step", step, "ms"))
    few, many = min(found), max(found)
    for role in (*ROLES, "a training step"):
        each = 1.0 if role == "a training step" else few / many
        ratio = tuple(each * b[role] / a[role] for a, b in zip(found[few], found[many], strict=True))
        shown = role if role == "a training step" else f"{role}, a patient"
        figures.append(Figure(f"{shown}: {many} patients / {few}", ratio, "x", MOST_RATIO))
    return figures


if __name__ == "__main__":
    main()

"""What share of a training its validations take: evaluation, and the gradients' norms that a validated epoch measures.

    python benchmarks/speed/validation.py [--splits 25/15 35/5] [--models joint standalone] [--settings default]
        [--validate-every N] [--threads N]

Trainings as a trial's are, on phantom patients, for as many epochs as lie between two validations, the last of which is
validated. So one validation comes on `training.validate_every` epochs, as it does in a long training. `--repeats`
trainings of each kind, after one epoch of two patients that is not counted but for its validation: the first one also
measures the patients as they are before registration, which is remembered, and prepares the convolutions for every
number of slices.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from batches import phantom_patients
from figures import Figure, add_options, tell

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.data.cache import CachedPatient
from jointnet.evaluate.rows import misalignment
from jointnet.models import MODELS
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train import loop as training
from jointnet.train.loop import train

MOST_PERCENT = 5.0


def main() -> None:
    """Train with every split and model, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", nargs="+", default=["25/15", "35/5"], help="patients to train on / to validate on")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--settings", default="default")
    parser.add_argument("--validate-every", type=int, help="epochs (default: the settings')")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice; a trial has one)")
    add_options(parser, repeats=2)
    options = parser.parse_args()
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    own = load_settings(options.settings)
    every = options.validate_every or own.training.validate_every
    figures: list[Figure] = []
    for split in options.splits:
        learned, validated = (int(count) for count in split.split("/"))
        patients = phantom_patients(learned + validated)
        for name in options.models:
            changed = {"model.name": name, "training.epochs": every, "training.validate_every": every}
            settings = with_values(own, changed)
            figures += shares(f"{name} {split}", settings, patients[:learned], patients[learned:], options.repeats)
    tell(figures, options, settings=options.settings, validate_every=every)


def shares(
    what: str, settings: Settings, learned: list[CachedPatient], validated: list[CachedPatient], repeats: int
) -> list[Figure]:
    """Return the figures of one model and split."""
    misalignment.cache_clear()
    first, _ = trained(with_values(settings, {"training.epochs": 1}), learned[:2], validated)
    wholes, evaluations, gradients = list[float](), list[float](), list[float]()
    for _ in range(repeats):
        spent, whole = trained(settings, learned, validated)
        wholes.append(whole)
        evaluations.append(spent["evaluate"])
        gradients.append(spent["gradients"])
    slices = sum(patient.slices for patient in validated)
    both = tuple(
        100 * (evaluation + gradient) / whole
        for evaluation, gradient, whole in zip(evaluations, gradients, wholes, strict=True)
    )
    return [
        Figure(f"{what}: {settings.training.epochs} epochs", tuple(wholes), "s"),
        Figure(f"{what}: a validated slice, the first time", (1e3 * first["evaluate"] / slices,), "ms"),
        Figure(f"{what}: a validated slice", tuple(1e3 * each / slices for each in evaluations), "ms"),
        Figure(f"{what}: gradients' norms", tuple(1e3 * each for each in gradients), "ms"),
        Figure(f"{what}: validation / training", both, "%", most=MOST_PERCENT),
    ]


def trained(
    settings: Settings, learned: list[CachedPatient], validated: list[CachedPatient]
) -> tuple[dict[str, float], float]:
    """Train once and return the seconds of the evaluations and the gradient norms, and the total seconds."""
    spent = {"evaluate": 0.0, "gradients": 0.0}
    with (
        patch.object(training, "evaluate", timed(training.evaluate, spent, "evaluate")),
        patch.object(training, "shared_gradient_norms", timed(training.shared_gradient_norms, spent, "gradients")),
    ):
        began = time.perf_counter()
        train(settings, learned, validated, seed=0, device="cpu")
        return spent, time.perf_counter() - began


def timed(function: Callable[..., Any], spent: dict[str, float], name: str) -> Callable[..., Any]:
    """Return a function that calls `function` and adds its seconds to `spent[name]`."""

    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent[name] += time.perf_counter() - began

    return call


if __name__ == "__main__":
    main()

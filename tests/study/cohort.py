"""Synthetic cached patients: a ring, a disc in it and a disc beside it, with LGE shifted relative to cine."""

from pathlib import Path

import numpy as np

from jointnet.preparation.cache import CachedPatient
from jointnet.structures import CLASS_INDEX


def cached_patients(folder: Path, count: int, slices: int = 2, size: int = 224) -> list[CachedPatient]:
    """Write `count` small patients into a folder like the cache and return them. Numbers start at 1."""
    patients = []
    for number in range(1, count + 1):
        path = folder / f"digest-{number}"
        path.mkdir(parents=True)
        labels = np.stack([[_labels(size, 0), _labels(size, 2 + number % 4)] for _ in range(slices)])
        noise = np.random.default_rng(number).normal(0, 0.1, labels.shape)
        np.save(path / "images.npy", (labels / 3 + noise).astype(np.float16))
        np.save(path / "labels.npy", labels)
        np.save(path / "field.npy", np.ones((slices, size, size), bool))
        patients.append(CachedPatient(str(number), path, f"digest-{number}"))
    return patients


def _labels(size: int, shift: int) -> np.ndarray:
    row, column = np.mgrid[:size, :size]
    radius = np.hypot(row - size / 2 - shift, column - size / 2)
    beside = np.hypot(row - size / 2 - shift, column - size / 2 - 45)
    labels = np.zeros((size, size), np.uint8)
    labels[beside < 18] = CLASS_INDEX["rv"]
    labels[radius < 26] = CLASS_INDEX["myo"]
    labels[radius < 17] = CLASS_INDEX["lv"]
    return labels

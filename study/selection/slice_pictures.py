"""Pictures of the test patients for the report: every slice around the heart, before and after registration.

Each patient is cropped to one square window. Its size is the same for all patients, as large as the largest window that
is needed. Images have 64 grey levels. With deflate a slice of the phantom takes about 50 kB, the file of a model for 5
patients of 17 slices 4.4 MB.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jointnet.common_grid import SIZE_PX
from jointnet.geometry import warp, warp_labels
from jointnet.networks.apply import predict
from jointnet.preparation.cache import CachedPatient
from jointnet.preparation.prepared_patient import CEILING

GREY_LEVELS = 64
"""More grey levels would show noise only, which does not compress."""
MARGIN_PX = 16
"""Pixels between the outermost label and the edge of the window: 12 mm."""


def slice_pictures(
    model: nn.Module, patients: Sequence[CachedPatient], device: str = "cpu"
) -> dict[str, NDArray[np.generic]]:
    """Return every slice of the patients, cropped around the heart, before and after registration by a model.

    Returns:
        `patients` and `slices` (N,), numbers of the patient and of the slice on its grid; `cine`, `lge_before`,
        `lge_after` (N, side, side), uint8, where 252 is `jointnet.preparation.prepared_patient.CEILING`; `cine_labels`,
        `lge_labels_before`, `lge_labels_after` (N, side, side), uint8, values of `jointnet.structures.CLASS_INDEX`.
        The slices of a patient are consecutive and have the same window.
    """
    windows = [_window(np.asarray(patient.labels())) for patient in patients]
    side = min(SIZE_PX, max((need for _, _, need in windows), default=SIZE_PX))
    parts: dict[str, list[NDArray[np.generic]]] = {}
    for patient, (row, column, _) in zip(patients, windows, strict=True):
        frames = _frames(model, patient, device)
        first_row, first_column = (min(max(0, centre - side // 2), SIZE_PX - side) for centre in (row, column))
        for name, frame in frames.items():
            cropped = frame[:, first_row : first_row + side, first_column : first_column + side]
            parts.setdefault(name, []).append(cropped)
        count = len(frames["cine"])
        parts.setdefault("patients", []).append(np.full(count, patient.patient))
        parts.setdefault("slices", []).append(np.arange(count))
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _frames(model: nn.Module, patient: CachedPatient, device: str) -> dict[str, NDArray[np.uint8]]:
    """Return the uncropped slices (S, H, W) of a patient. All are predicted together, as in the evaluation."""
    images = np.asarray(patient.images(), dtype=np.float32)
    labels = np.asarray(patient.labels())
    theta = np.asarray(predict(model, patient.images(), device, field=patient.field()).theta, dtype=np.float32)
    moved = warp(torch.from_numpy(images[:, 1:2].copy()), torch.from_numpy(theta))[:, 0].numpy()
    return {
        "cine": _grey(images[:, 0]),
        "lge_before": _grey(images[:, 1]),
        "lge_after": _grey(moved),
        "cine_labels": labels[:, 0],
        "lge_labels_before": labels[:, 1],
        "lge_labels_after": warp_labels(labels[:, 1], theta),
    }


def _grey(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    step = 256 // GREY_LEVELS
    return np.rint(np.clip(images / CEILING, 0, 1) * (GREY_LEVELS - 1)).astype(np.uint8) * np.uint8(step)


def _window(labels: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Return centre row, centre column and side of the square around all labels (S, 2, H, W) of a patient.

    Without any label it is the whole image.
    """
    rows, columns = (np.flatnonzero(labels.any(axis=axes)) for axes in ((0, 1, 3), (0, 1, 2)))
    if not len(rows):
        return SIZE_PX // 2, SIZE_PX // 2, SIZE_PX
    need = int(max(np.ptp(rows), np.ptp(columns))) + 1 + 2 * MARGIN_PX
    return int(rows[0] + rows[-1]) // 2, int(columns[0] + columns[-1]) // 2, need

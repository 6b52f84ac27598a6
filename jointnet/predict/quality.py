"""Quality checks of a prediction without manual segmentations: agreement, displacement and warnings.

Agreement is the Dice overlap of the two *predicted* segmentations before and after registration. A high agreement means
that the predicted segmentations are aligned. It does not mean that they are correct.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate.metrics import dice
from jointnet.geometry import in_mm, warp_labels
from jointnet.networks.apply import Prediction
from jointnet.predict.back_projection import Registration
from jointnet.structures import CLASS_INDEX, STRUCTURES

NAMES = {"lv": "LV", "myo": "myocardium", "rv": "RV"}
LEAST_PIXELS = 16
"""A structure with fewer pixels of the common grid (9 mm2) counts as not found."""
DEPARTURE_MM = 6.0
"""Distance of a slice's displacement from the patient's median above which there is a warning. It is three times the
standard deviation of slice translations (`jointnet.networks.gauss_newton.SLICE_SD`)."""
FALL = 0.05
"""Decrease of the predicted agreement above which there is a warning."""


@dataclass(frozen=True)
class SliceQuality:
    """The quality of one slice of the common grid.

    Attributes:
        grid_slice: index of the slice.
        shift_mm: displacement (column, row) of the heart's centroid from cine to LGE. Without a predicted heart, it is
            the displacement of the centre of the field of view.
        dice_before, dice_after: Dice of the two predicted segmentations by structure, for structures found in both.
        warnings: sentences without the slice's number.
    """

    grid_slice: int
    shift_mm: tuple[float, float]
    dice_before: dict[str, float]
    dice_after: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def displacement_mm(self) -> float:
        """Length of the displacement."""
        return math.hypot(*self.shift_mm)

    @property
    def agreement(self) -> tuple[float, float]:
        """Mean Dice over the structures before and after registration; NaN if no structure was found in both scans."""
        before, after = ([*found.values()] for found in (self.dice_before, self.dice_after))
        return (float(np.mean(before)), float(np.mean(after))) if before else (math.nan, math.nan)


def judge(prediction: Prediction, largest_shift_mm: float) -> list[SliceQuality]:
    """Return the quality of every slice of the common grid.

    Args:
        prediction: the prediction for one patient.
        largest_shift_mm: the model's largest translation along columns or rows.
    """
    affines = in_mm(prediction.theta)
    hearts = [None] * len(affines) if prediction.cine_labels is None else [*(prediction.cine_labels > 0)]
    shifts = [_shift_mm(affine, heart) for affine, heart in zip(affines, hearts, strict=True)]
    median = np.median(shifts, axis=0)
    moved = None if prediction.lge_labels is None else warp_labels(prediction.lge_labels, prediction.theta)
    judged = []
    for number, shift in enumerate(shifts):
        before: dict[str, float] = {}
        after: dict[str, float] = {}
        warnings: list[str] = []
        if prediction.cine_labels is not None and prediction.lge_labels is not None and moved is not None:
            cine, lge = prediction.cine_labels[number], prediction.lge_labels[number]
            warnings += _missing(cine, lge)
            for name in STRUCTURES:
                if _found(cine, name) and _found(lge, name):
                    before[name] = dice(cine == CLASS_INDEX[name], lge == CLASS_INDEX[name])
                    after[name] = dice(cine == CLASS_INDEX[name], moved[number] == CLASS_INDEX[name])
            warnings += [
                f"predicted Dice of {NAMES[name]} falls from {before[name]:.2f} to {after[name]:.2f}"
                for name in before
                if after[name] < before[name] - FALL
            ]
        off = float(np.hypot(*(shift - median)))
        if off > DEPARTURE_MM:
            warnings.append(f"displaced {off:.1f} mm otherwise than the median of the slices")
        if max(abs(shift)) > 0.95 * largest_shift_mm:
            warnings.append(f"displaced about as far as the model can, {largest_shift_mm:g} mm")
        judged.append(SliceQuality(number, (float(shift[0]), float(shift[1])), before, after, tuple(warnings)))
    return judged


def patient_agreement(judged: Sequence[SliceQuality]) -> tuple[float, float]:
    """Return the mean agreement before and after registration over the slices that have one; NaN if none has."""
    values = [quality.agreement for quality in judged if quality.dice_before]
    return (
        (float(np.mean([v[0] for v in values])), float(np.mean([v[1] for v in values]))) if values else (math.nan,) * 2
    )


def patient_warnings(pair: Registration, judged: Sequence[SliceQuality]) -> list[str]:
    """Return all warnings of a patient: first those about the patient, then those of each cine slice."""
    matched = [(number, match) for number, match in enumerate(pair.cine_matches) if match is not None]
    warnings = []
    if not matched:
        warnings.append("no slice of cine lies where both scans reach: nothing was written onto its grid")
    elif len(matched) < len(pair.cine_matches):
        outside = [number for number, match in enumerate(pair.cine_matches) if match is None]
        warnings.append(f"outside of what both scans show, so 0: cine slices {', '.join(map(str, outside))}")
    for number, match in matched:
        warnings += [f"slice {number}: {warning}" for warning in judged[match.grid_slice].warnings]
    return warnings


def _shift_mm(affine: NDArray[np.float64], heart: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return the displacement (column, row) in mm of a heart mask's centroid (row, column) under an affine (2, 3)."""
    point = np.zeros(2)
    if heart is not None and heart.any():
        rows, columns = np.nonzero(heart)
        point = (np.array([columns.mean(), rows.mean()]) - (SIZE_PX - 1) / 2) * PIXEL_MM
    return np.asarray(affine[:, :2] @ point + affine[:, 2] - point)


def _found(labels: NDArray[np.uint8], name: str) -> bool:
    return int(np.count_nonzero(labels == CLASS_INDEX[name])) >= LEAST_PIXELS


def _missing(cine: NDArray[np.uint8], lge: NDArray[np.uint8]) -> list[str]:
    """Return warnings about structures that a slice's predicted segmentations lack."""
    lacking: dict[str, list[str]] = {}
    for name in STRUCTURES:
        missing = tuple(scan for scan, labels in (("cine", cine), ("LGE", lge)) if not _found(labels, name))
        if missing:
            lacking.setdefault(missing[0] if len(missing) == 1 else "either scan", []).append(NAMES[name])
    if lacking.get("either scan") == [NAMES[name] for name in STRUCTURES]:
        return ["no structure found in either scan"]
    return [f"{' and '.join(names)} not found in {where}" for where, names in lacking.items()]

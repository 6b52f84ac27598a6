"""Distances in mm and overlaps between two masks of one slice.

The metrics are two-dimensional, like the registration. In 3D the end slices would count as surface and make the average
surface distance several times smaller. A mask's surface is the mask minus its 4-connected erosion; pixels beyond the
image's edge count as outside.

All structures of a slice pair are measured together within their bounding box. The distances between all pairs of
surface pixels are computed, in integers if the pixels are square, and the smallest one is kept for each pixel.

The objective is a ratio over the `aggregation.ENDPOINTS` of the data's structures. It is undefined if a structure
counts in no slice, or a distance is 0 before registration in all slices. `defined_metrics` checks this before a
training.

The metrics are written by hand because MONAI's take 25 times as long (`docs/explanation/speed.md`); tests compare them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate.aggregation import ENDPOINTS, endpoints_of
from jointnet.preparation.counted_structures import cut_structures
from jointnet.structures import CENTRED, CLASS_INDEX, STRUCTURES

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Pixels = NDArray[np.signedinteger]
Spacing = tuple[float, float]
MaskOrLabels = TypeVar("MaskOrLabels", np.bool_, np.uint8)

LOST_MM = SIZE_PX * PIXEL_MM * math.sqrt(2)
"""Distance assigned to a structure that registration moved out of the field of view. It is the diagonal of the field of
view, which no distance between two visible structures exceeds. The Dice of such a structure is 0."""

LARGEST_TABLE = 1 << 20
"""Above this number of pixel pairs, which only ragged masks reach, nearest neighbours are found with a k-d tree."""
BLOCK = 1 << 16
"""Number of pixel pairs computed at a time. Their 128 kB of 16-bit numbers fit into the processor's cache."""
STRUCTURE_INDICES = np.array([CLASS_INDEX[name] for name in STRUCTURES], np.uint8)[:, None, None]

DefinedMetrics = Mapping[tuple[str, str], bool]
"""By (metric, structure) with a value in any slice: whether it is above 0 before registration in any slice."""


def dice(first: Mask, second: Mask) -> float:
    """Return the Dice overlap 2 |A and B| / (|A| + |B|) of two masks; NaN if both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else math.nan


def dice_by_structure(first: Labels, second: Labels) -> dict[str, float]:
    """Return the Dice of each structure of two label maps (row, column); NaN if neither contains it."""
    masks = _structure_masks(first, second)
    return {structure: dice(masks[0, index], masks[1, index]) for index, structure in enumerate(STRUCTURES)}


def overlap_metrics(
    fixed: Labels, moving: Labels, spacing_mm: Spacing = (PIXEL_MM, PIXEL_MM)
) -> dict[tuple[str, str], float]:
    """Return the metrics of two label maps (row, column) with the values of `structures.CLASS_INDEX`.

    Returns:
        `("cd_mm", structure)` for the blood pools, and `("asd_mm", structure)` and `("dice", structure)` for all three
        structures. A distance is NaN if either mask is empty, a Dice if both are.
    """
    masks = _structure_masks(fixed, moving)
    structures, height, width = masks.shape[1:]
    by_image = masks.reshape(-1, height, width)
    surfaces, centroids = _surface_pixels(by_image), _centroids(by_image)
    values = {}
    for index, structure in enumerate(STRUCTURES):
        if structure in CENTRED:
            values["cd_mm", structure] = _centre_distance_mm(
                centroids[index], centroids[structures + index], spacing_mm
            )
        values["asd_mm", structure] = _average_surface_distance_mm(
            surfaces[index], surfaces[structures + index], spacing_mm
        )
        values["dice", structure] = dice(masks[0, index], masks[1, index])
    return values


def metrics_before(labels: NDArray[np.uint8], field: NDArray[np.bool_]) -> Iterator[dict[tuple[str, str], float]]:
    """Yield the metrics of each slice before registration, of the structures that count in the slice.

    These are the structures that both label maps show and that the common field does not cut.

    Args:
        labels: class indices (S, 2, H, W), cine first.
        field: the common field (S, H, W).
    """
    for (cine, lge), cut in zip(labels, cut_structures(labels, field), strict=True):
        before = overlap_metrics(cine, lge)
        left_out = {name for name, is_cut in zip(STRUCTURES, cut, strict=True) if is_cut or name not in _shown(before)}
        yield {key: value for key, value in before.items() if key[1] not in left_out}


def shared_structures_cut(labels: NDArray[np.uint8], field: NDArray[np.bool_]) -> list[tuple[int, str]]:
    """Return slice and name of each structure that both label maps show and that the common field cuts.

    The arguments are those of `metrics_before`.
    """
    cut = [(index, STRUCTURES[place]) for index, place in np.argwhere(cut_structures(labels, field)).tolist()]
    return [(index, name) for index, name in cut if (labels[index] == CLASS_INDEX[name]).any((1, 2)).all()]


def defined_metrics(labels: NDArray[np.uint8], field: NDArray[np.bool_]) -> DefinedMetrics:
    """Return the defined registration metrics of a patient; the arguments are those of `metrics_before`."""
    defined: dict[tuple[str, str], bool] = {}
    for before in metrics_before(labels, field):
        for endpoint in ENDPOINTS:
            if endpoint in before:
                defined[endpoint] = defined.get(endpoint, False) or before[endpoint] > 0
        if all(defined.get(endpoint) for endpoint in ENDPOINTS):
            break
    return defined


def labelled_structures(patient: DefinedMetrics) -> tuple[str, ...]:
    """Return the structures that both labels of a patient show in at least one slice, not cut by the common field."""
    return tuple(name for name in STRUCTURES if any(structure == name for _, structure in patient))


def undefined_metric_errors(
    who: str, patients: Mapping[str, DefinedMetrics], purpose: Literal["learned", "measured"], structures: Sequence[str]
) -> list[str]:
    """Return the reasons why a set of patients cannot be used for training, validation or test.

    Args:
        who: start of each error message: the option and the part of the patients that it chose.
        patients: the defined metrics by patient.
        purpose: `learned` for training, `measured` for validation and test. For `measured`, distances must also be
            above 0 before registration.
        structures: the structures of the data. Each of them must be learned or measured in a patient at least.
    """
    defined = set().union(*patients.values())
    numbers = f"patient{'s' if len(patients) > 1 else ''} {', '.join(patients)}"
    errors = []
    if lacking := [name for name in structures if not any(structure == name for _, structure in defined)]:
        errors.append(
            f"{who} must show {' and '.join(lacking)} in both segmentations of a slice, wholly in the common field; no "
            f"slice of {numbers} does, so that {' and '.join(lacking)} cannot be {purpose}; add patients or choose "
            "others (--seed changes the draw)"
        )
    endpoints = [endpoint for endpoint in endpoints_of(structures) if endpoint in defined]
    zero = [endpoint for endpoint in endpoints if not any(patient.get(endpoint) for patient in patients.values())]
    if zero and purpose == "measured":
        errors.append(
            f"{who} must have different segmentations of cine and LGE; "
            f"{' and '.join(' of '.join(end) for end in zero)} is 0 in every slice of {numbers}, so that the "
            "registration ratio is undefined; check whether one segmentation is a copy of the other"
        )
    return errors


def _shown(metrics: Mapping[tuple[str, str], float]) -> set[str]:
    """Return the structures that both label maps of `overlap_metrics` contain."""
    return {structure for (name, structure), value in metrics.items() if name == "asd_mm" and not math.isnan(value)}


def _structure_masks(first: Labels, second: Labels) -> Mask:
    """Return the masks (2, structures, h, w) of two label maps, cropped as in `_boxed`."""
    return np.asarray(_boxed(first, second)[:, None] == STRUCTURE_INDICES)


def _boxed(first: NDArray[MaskOrLabels], second: NDArray[MaskOrLabels]) -> NDArray[MaskOrLabels]:
    """Crop two images (H, W) to their common bounding box with a border of one empty pixel: (2, h + 2, w + 2)."""
    either = first | second
    rows, columns = (np.flatnonzero(np.bitwise_or.reduce(either, axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros((2, 2, 2), first.dtype)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    boxed = np.zeros((2, rows[-1] - rows[0] + 3, columns[-1] - columns[0] + 3), first.dtype)
    boxed[0, 1:-1, 1:-1], boxed[1, 1:-1, 1:-1] = first[box], second[box]
    return boxed


def _surface_pixels(masks: Mask) -> list[Pixels]:
    """Return rows and columns (2, n) of the surface pixels of each mask (M, h, w); the masks' borders must be empty.

    All masks are processed as one flat array. Neighbours across the end of a row or of a mask are border pixels, which
    are empty.
    """
    count, height, width = masks.shape
    flat = masks.reshape(-1)
    inner = flat[: -2 * width] & flat[2 * width :]
    inner &= flat[width - 1 : -width - 1]
    inner &= flat[width + 1 : len(flat) - width + 1]
    places = np.flatnonzero(flat[width:-width] > inner) + width
    rows, columns = np.divmod(places, width)
    integer = np.int16 if height**2 + width**2 < 1 << 15 else np.int64  # holds any squared distance
    pixels: Pixels = np.array([rows % height, columns], integer)
    ends = [0, *np.searchsorted(places, np.arange(1, count) * (height * width)).tolist(), len(places)]
    return [pixels[:, start:end] for start, end in pairwise(ends)]


def _centroids(masks: Mask) -> list[tuple[float, float] | None]:
    """Return the mean row and column of each mask (M, h, w), None for an empty one.

    The sums come from a matrix product with (1, column). Single precision holds these integers exactly.
    """
    _, height, width = masks.shape
    weights = np.stack([np.ones(width, np.float32), np.arange(width, dtype=np.float32)], 1)
    by_row = (masks.astype(np.float32) @ weights).astype(np.float64)
    totals, column_sums = by_row.sum(1).T
    row_sums = np.arange(height) @ by_row[:, :, 0].T
    return [
        (row / total, column / total) if total else None
        for total, row, column in zip(totals.tolist(), row_sums.tolist(), column_sums.tolist(), strict=True)
    ]


def _centre_distance_mm(
    first: tuple[float, float] | None, second: tuple[float, float] | None, spacing_mm: Spacing
) -> float:
    """Return the distance in mm between two centroids (row, column); NaN if either mask is empty."""
    if first is None or second is None:
        return math.nan
    return math.hypot((first[0] - second[0]) * spacing_mm[0], (first[1] - second[1]) * spacing_mm[1])


def _average_surface_distance_mm(first: Pixels, second: Pixels, spacing_mm: Spacing) -> float:
    """Return the symmetric average surface distance (ASD) in mm of two surfaces' pixels, (2, n) and (2, m).

    ASD = (sum_a d(a, B) + sum_b d(b, A)) / (|A| + |B|), as in MONAI's `compute_average_surface_distance` with
    `symmetric=True`; NaN if either is empty.
    """
    pairs = first.shape[1] * second.shape[1]
    if not pairs:
        return math.nan
    if pairs > LARGEST_TABLE:
        points = [each.T * np.asarray(spacing_mm, float) for each in (first, second)]
        nearest_mm = [cKDTree(points[1 - k]).query(points[k])[0] for k in (0, 1)]
    elif spacing_mm[0] == spacing_mm[1]:
        nearest_mm = [np.sqrt(each, dtype=float) * spacing_mm[0] for each in _nearest_squares(first, second)]
    else:
        along = np.array(spacing_mm, float)[:, None]
        nearest_mm = [np.sqrt(each) for each in _nearest_squares(first * along, second * along)]
    return float(np.add.reduce(np.concatenate(nearest_mm))) / (first.shape[1] + second.shape[1])


def _nearest_squares(first: NDArray, second: NDArray) -> tuple[NDArray, NDArray]:
    """Return the squared distances of the points (2, n) to the nearest of the points (2, m), and the reverse."""
    there, back = [], []
    at_a_time = max(1, BLOCK // second.shape[1])
    for start in range(0, first.shape[1], at_a_time):
        rows, columns = first[:, start : start + at_a_time, None]
        squares = rows - second[0]
        squares *= squares
        steps = columns - second[1]
        steps *= steps
        squares += steps
        there.append(np.minimum.reduce(squares, 1))
        back.append(np.minimum.reduce(squares, 0))
    return np.concatenate(there), np.minimum.reduce(back)

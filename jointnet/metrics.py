"""Distances and overlaps between two masks of one slice, in millimetres.

The registration is two-dimensional, so the metrics are too: in 3D the end slices would count as surface and shrink
the average surface distance several-fold. A mask's surface is the mask minus its 4-connected erosion, beyond the
image's edge counting as outside.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from jointnet.geometry import PIXEL_MM, SIZE_PX
from jointnet.structures import CENTRED, CODE, STRUCTURES

Mask = NDArray[np.bool_]
Spacing = tuple[float, float]

LOST_MM = SIZE_PX * PIXEL_MM * math.sqrt(2)
"""What a distance counts for a structure that registration moved out of view: the field's diagonal, which no
distance between two structures in view exceeds. Its Dice is 0."""


def centre_distance_mm(first: Mask, second: Mask, spacing_mm: Spacing) -> float:
    """Distance in mm between the centroids of two masks (row, column); NaN where either is empty."""
    if not (first.any() and second.any()):
        return math.nan
    rows, columns = (np.subtract(_centroid(first), _centroid(second)) * spacing_mm).tolist()
    return math.hypot(rows, columns)


def average_surface_distance_mm(first: Mask, second: Mask, spacing_mm: Spacing) -> float:
    """Mean distance in mm from a surface to the other, the points of both pooled; NaN where either mask is empty.

    ASD = (sum_a d(a, B) + sum_b d(b, A)) / (|A| + |B|), as MONAI's `compute_average_surface_distance` pools it when
    symmetric.
    """
    points = [surface_points_mm(mask, spacing_mm) for mask in (first, second)]
    if not all(len(part) for part in points):
        return math.nan
    to_second, _ = cKDTree(points[1], balanced_tree=False, compact_nodes=False).query(points[0])
    to_first, _ = cKDTree(points[0], balanced_tree=False, compact_nodes=False).query(points[1])
    return float((to_second.sum() + to_first.sum()) / (len(to_second) + len(to_first)))


def dice(first: Mask, second: Mask) -> float:
    """Overlap 2 |A and B| / (|A| + |B|) of two masks; NaN where both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else math.nan


def surface_points_mm(mask: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """Give the positions (n, 2) in mm of a mask's surface pixels; none for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.empty((0, 2))
    top, left = rows[0], columns[0]
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    surface = np.argwhere(padded[1:-1, 1:-1] & ~inner)
    return (surface + np.array([top, left])) * np.asarray(spacing_mm, float)


def overlap_metrics(
    fixed: NDArray[np.uint8], moving: NDArray[np.uint8], spacing_mm: Spacing = (PIXEL_MM, PIXEL_MM)
) -> dict[tuple[str, str], float]:
    """Compare two label maps (row, column) of `structures.CODE`.

    Returns:
        `("cd_mm", structure)` for the blood pools, `("asd_mm", structure)` and `("dice", structure)` for all three;
        NaN where a mask is empty, so the caller decides what an empty mask means.
    """
    values = {}
    for structure in STRUCTURES:
        first, second = fixed == CODE[structure], moving == CODE[structure]
        if structure in CENTRED:
            values["cd_mm", structure] = centre_distance_mm(first, second, spacing_mm)
        values["asd_mm", structure] = average_surface_distance_mm(first, second, spacing_mm)
        values["dice", structure] = dice(first, second)
    return values


def _centroid(mask: Mask) -> tuple[float, float]:
    """Give the mean row and column of a mask that is not empty."""
    rows, columns = np.count_nonzero(mask, 1), np.count_nonzero(mask, 0)
    total = rows.sum()
    return float(rows @ np.arange(len(rows)) / total), float(columns @ np.arange(len(columns)) / total)

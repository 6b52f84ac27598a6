"""Location of a pixel in the left ventricle: its angle about the pool, its level, and its AHA segment.

The 17 segments are those of the American Heart Association (Cerqueira et al., Circulation 2002; 105:539-542). The
slices with LV pool are divided into a basal, a mid and an apical third. Basal and mid myocardium have six segments of
60 degrees each, apical myocardium has four of 90 degrees. The middle of the septum is the border between the
anteroseptal and the inferoseptal segments. Segment 17, the apex, is the myocardium in slices before the first one with
LV pool; most short-axis stacks have none.

Angles are in radians, counter-clockwise in the slice as shown, and 0 in the direction of increasing columns.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jointnet.structures import CLASS_INDEX

Labels = NDArray[np.uint8]
"""Class indices of `jointnet.structures`."""
Array = NDArray[np.float64]
Spacing = tuple[float, float, float]

SEGMENTS = 17
APEX = 17
NAMES: tuple[str, ...] = (
    *(f"basal {wall}" for wall in ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral")),
    "basal anterolateral",
    *(f"mid {wall}" for wall in ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral")),
    "mid anterolateral",
    *(f"apical {wall}" for wall in ("anterior", "septal", "inferior", "lateral")),
    "apex",
)
"""Names of segments 1 to 17."""

BASAL, MID, APICAL, BEYOND = 3, 2, 1, 0
"""Levels of a slice. BEYOND is the apex without pool."""
NO_LEVEL = -1

CONTACT_MM = 3.0
"""Largest distance between the RV pool and the LV's outer border at which they are in contact."""
LEAST_ARC_RAD = np.pi / 6
"""Smallest arc of contact from which the septum's middle is taken. For shorter arcs the RV's centroid is used."""

_SIX = np.array([3, 4, 5, 6, 1, 2])
"""Segments of 60 degrees, counter-clockwise from the middle of the septum, inferoseptal first."""
_FOUR = np.array([14, 15, 16, 13])
"""Segments of 90 degrees, counter-clockwise from 45 degrees before the middle of the septum, septal first."""


def centres(labels: Labels) -> Array:
    """Return the centroid (row, column) of the LV pool per slice, shape (S, 2), in pixels.

    In a slice without pool it is the myocardium's centroid. It is NaN if the slice has neither.
    """
    centroids = np.full((len(labels), 2), np.nan)
    for index, plane in enumerate(labels):
        for structure in (CLASS_INDEX["lv"], CLASS_INDEX["myo"]):
            if (plane == structure).any():
                centroids[index] = np.argwhere(plane == structure).mean(0)
                break
    return centroids


def angles(labels: Labels, spacing_mm: Spacing) -> Array:
    """Return the angle of every pixel about its slice's centre, shape (S, H, W); NaN in slices without a centre."""
    middle = centres(labels)
    rows, columns = np.arange(labels.shape[1]), np.arange(labels.shape[2])
    down = (rows[None, :, None] - middle[:, 0, None, None]) * spacing_mm[1]
    right = (columns[None, None, :] - middle[:, 1, None, None]) * spacing_mm[2]
    return np.asarray(np.arctan2(-down, right))


def levels(labels: Labels) -> NDArray[np.int8]:
    """Return the level of each slice, shape (S,), from the thirds of the slices with LV pool.

    Of n such slices, the one with index i from the apex belongs to the third that contains (i + 1/2) / n. So a single
    slice is mid, and two slices are apical and basal. Slices with myocardium before them are BEYOND; all others have
    NO_LEVEL.
    """
    level = np.full(len(labels), NO_LEVEL, np.int8)
    pool = np.flatnonzero((labels == CLASS_INDEX["lv"]).any((1, 2)))
    if len(pool):
        third = ((np.arange(len(pool)) + 0.5) * 3 / len(pool)).astype(int)
        level[pool] = np.array([APICAL, MID, BASAL])[third]
        muscle = np.flatnonzero((labels == CLASS_INDEX["myo"]).any((1, 2)))
        level[muscle[muscle < pool[0]]] = BEYOND
    return level


def septum_middles(labels: Labels, spacing_mm: Spacing) -> Array:
    """Return the angle of the middle of the septum, shape (S,), which is the same for all slices of a level.

    In a slice it is the middle between the two insertions of the RV, which are the ends of the arc of the LV's outer
    border in contact with the RV pool. If this arc is shorter than `LEAST_ARC_RAD`, it is the direction of the RV's
    centroid. A level's angle is the direction of the mean unit vector of its slices with RV. A level without RV takes
    the angle of the nearest level with RV. All angles are NaN if no slice with LV contains the RV.
    """
    level = levels(labels)
    middle, around = centres(labels), angles(labels, spacing_mm)
    by_slice = np.full(len(labels), np.nan)
    for index in np.flatnonzero(level > BEYOND):
        rv = labels[index] == CLASS_INDEX["rv"]
        if rv.any():
            arc = _contact_arc(labels[index], around[index], spacing_mm)
            down, right = (np.argwhere(rv).mean(0) - middle[index]) * spacing_mm[1:]
            by_slice[index] = np.arctan2(-down, right) if arc is None else arc
    by_level = {}
    for each in (APICAL, MID, BASAL):
        angles_of_level = by_slice[(level == each) & np.isfinite(by_slice)]
        if len(angles_of_level):
            by_level[each] = np.angle(np.exp(1j * angles_of_level).mean())
    result = np.full(len(labels), np.nan)
    if by_level:
        for index in np.flatnonzero(level >= BEYOND):
            result[index] = by_level[min(by_level, key=lambda each: abs(each - int(level[index])))]
    return result


def segment_of(angle: Array, level: NDArray[np.integer], septum: Array) -> NDArray[np.uint8]:
    """Return the AHA segment, 1 to 17, from angle, level and the middle of the septum; all shapes broadcast.

    It is 0 if there is no level, or if the segment depends on the middle of the septum and that is NaN.
    """
    angle, level, septum = np.broadcast_arrays(angle, level, septum)
    turn = np.remainder(np.where(np.isfinite(angle - septum), angle - septum, 0), 2 * np.pi) / (2 * np.pi)
    six = _SIX[(turn * 6).astype(int) % 6]
    four = _FOUR[((turn + 1 / 8) * 4).astype(int) % 4]
    segment = np.select([level == BASAL, level == MID, level == APICAL], [six, six + 6, four], 0)
    segment = np.where(np.isfinite(angle - septum), segment, 0)
    return np.where(level == BEYOND, APEX, segment).astype(np.uint8)


def segments(labels: Labels, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Return the AHA segment of each pixel (S, H, W); 0 outside the myocardium or if no RV locates the septum."""
    septum = septum_middles(labels, spacing_mm)[:, None, None]
    segment = segment_of(angles(labels, spacing_mm), levels(labels)[:, None, None], septum)
    return np.where(labels == CLASS_INDEX["myo"], segment, 0).astype(np.uint8)


def _contact_arc(plane: Labels, around: Array, spacing_mm: Spacing) -> float | None:
    """Return the middle angle of the arc of contact with the RV in one slice, or None if the arc is too short."""
    left = ndimage.binary_fill_holes(np.isin(plane, (CLASS_INDEX["lv"], CLASS_INDEX["myo"])))
    rim = left & ~ndimage.binary_erosion(left)
    away_mm = ndimage.distance_transform_edt(plane != CLASS_INDEX["rv"], sampling=spacing_mm[1:])
    touching = np.sort(around[rim & (away_mm <= CONTACT_MM)])
    if len(touching) < 2:
        return None
    gaps = np.diff(touching, append=touching[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    start, length = touching[(widest + 1) % len(touching)], 2 * np.pi - gaps[widest]
    return float(start + length / 2) if length >= LEAST_ARC_RAD else None


def bounding_box(labels: Labels, margin_px: int) -> tuple[slice, slice]:
    """Return the rows and columns of the bounding box of all labels with a margin; all if nothing is labelled."""
    labelled = np.nonzero(labels.any(0))
    if not len(labelled[0]):
        return slice(None), slice(None)
    rows, columns = (slice(max(0, int(axis.min()) - margin_px), int(axis.max()) + 1 + margin_px) for axis in labelled)
    return rows, columns

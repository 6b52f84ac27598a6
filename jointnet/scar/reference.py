"""Where in the left ventricle a pixel lies: its angle about the pool, its level, and its AHA segment.

The 17 segments of the American Heart Association (Cerqueira et al., Circulation 2002; 105:539-542): the slices that
hold the LV pool are cut into a basal, a mid and an apical third. Basal and mid myocardium have six segments of 60
degrees each, apical myocardium four of 90 degrees. The septum's middle is the border of the anteroseptal and
the inferoseptal segments. Segment 17, the apex beyond the pool, is myocardium in slices before the first that holds the
pool; most short-axis stacks have none.

Angles are in radians, counted counter-clockwise as the slice is shown, 0 towards larger columns.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jointnet.structures import CODE

Codes = NDArray[np.uint8]
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
"""Levels of a slice; BEYOND holds the apex without pool."""
NO_LEVEL = -1

CONTACT_MM = 3.0
"""The RV pool touches the left ventricle where its outer border is at most this far away."""
LEAST_ARC_RAD = np.pi / 6
"""A shorter arc of contact tells little of the septum's middle: the RV's centroid is taken instead."""

_SIX = np.array([3, 4, 5, 6, 1, 2])
"""Segments of 60 degrees counter-clockwise from the septum's middle: inferoseptal first."""
_FOUR = np.array([14, 15, 16, 13])
"""Segments of 90 degrees counter-clockwise from 45 degrees before the septum's middle: septal first."""


def centres(codes: Codes) -> Array:
    """Give the centroid (row, column) of the LV pool per slice, shape (S, 2), in pixels.

    Where a slice has no pool it is the myocardium's; NaN where it has neither.
    """
    found = np.full((len(codes), 2), np.nan)
    for index, plane in enumerate(codes):
        for code in (CODE["lv"], CODE["myo"]):
            if (plane == code).any():
                found[index] = np.argwhere(plane == code).mean(0)
                break
    return found


def angles(codes: Codes, spacing_mm: Spacing) -> Array:
    """Give the angle of every pixel about its slice's centre, shape (S, H, W); NaN in slices without a centre."""
    middle = centres(codes)
    rows, columns = np.arange(codes.shape[1]), np.arange(codes.shape[2])
    down = (rows[None, :, None] - middle[:, 0, None, None]) * spacing_mm[1]
    right = (columns[None, None, :] - middle[:, 1, None, None]) * spacing_mm[2]
    return np.asarray(np.arctan2(-down, right))


def levels(codes: Codes) -> NDArray[np.int8]:
    """Give the level of each slice, shape (S,): thirds of the slices that hold LV pool.

    Of n such slices the one at place i from the apex belongs to the third that holds (i + 1/2) / n: one slice is mid,
    two are apical and basal. Slices before them that hold myocardium are BEYOND; all others have NO_LEVEL.
    """
    found = np.full(len(codes), NO_LEVEL, np.int8)
    pool = np.flatnonzero((codes == CODE["lv"]).any((1, 2)))
    if len(pool):
        third = ((np.arange(len(pool)) + 0.5) * 3 / len(pool)).astype(int)
        found[pool] = np.array([APICAL, MID, BASAL])[third]
        muscle = np.flatnonzero((codes == CODE["myo"]).any((1, 2)))
        found[muscle[muscle < pool[0]]] = BEYOND
    return found


def septum_middles(codes: Codes, spacing_mm: Spacing) -> Array:
    """Give the angle of the septum's middle, shape (S,): one for each level, by its slices that hold the RV.

    In a slice it is the middle between the two insertions of the RV: the ends of the arc of the LV's outer
    border that touches the RV pool. Where this arc is shorter than `LEAST_ARC_RAD` it is the direction of the RV's
    centroid. A level's angle is the direction of the mean unit vector of its slices. A level without RV takes
    the nearest level's that has one; all are NaN where no slice with LV holds the RV.
    """
    level = levels(codes)
    middle, around = centres(codes), angles(codes, spacing_mm)
    by_slice = np.full(len(codes), np.nan)
    for index in np.flatnonzero(level > BEYOND):
        rv = codes[index] == CODE["rv"]
        if rv.any():
            arc = _contact_arc(codes[index], around[index], spacing_mm)
            down, right = (np.argwhere(rv).mean(0) - middle[index]) * spacing_mm[1:]
            by_slice[index] = np.arctan2(-down, right) if arc is None else arc
    known = {}
    for each in (APICAL, MID, BASAL):
        held = by_slice[(level == each) & np.isfinite(by_slice)]
        if len(held):
            known[each] = np.angle(np.exp(1j * held).mean())
    result = np.full(len(codes), np.nan)
    if known:
        for index in np.flatnonzero(level >= BEYOND):
            result[index] = known[min(known, key=lambda each: abs(each - int(level[index])))]
    return result


def segment_of(angle: Array, level: NDArray[np.integer], septum: Array) -> NDArray[np.uint8]:
    """Give the AHA segment 1 to 17 of angles at levels, given the septum's middle; all shapes broadcast.

    0 where there is no level, or where the segment needs the septum's middle and it is NaN.
    """
    angle, level, septum = np.broadcast_arrays(angle, level, septum)
    turn = np.remainder(np.where(np.isfinite(angle - septum), angle - septum, 0), 2 * np.pi) / (2 * np.pi)
    six = _SIX[(turn * 6).astype(int) % 6]
    four = _FOUR[((turn + 1 / 8) * 4).astype(int) % 4]
    found = np.select([level == BASAL, level == MID, level == APICAL], [six, six + 6, four], 0)
    found = np.where(np.isfinite(angle - septum), found, 0)
    return np.where(level == BEYOND, APEX, found).astype(np.uint8)


def segments(codes: Codes, spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Give the AHA segment of each pixel of myocardium, shape (S, H, W); 0 elsewhere, and where no RV tells it."""
    septum = septum_middles(codes, spacing_mm)[:, None, None]
    found = segment_of(angles(codes, spacing_mm), levels(codes)[:, None, None], septum)
    return np.where(codes == CODE["myo"], found, 0).astype(np.uint8)


def _contact_arc(plane: Codes, around: Array, spacing_mm: Spacing) -> float | None:
    """Give the middle angle of the arc of contact with the RV in one slice; None where it is too short."""
    left = ndimage.binary_fill_holes(np.isin(plane, (CODE["lv"], CODE["myo"])))
    rim = left & ~ndimage.binary_erosion(left)
    away_mm = ndimage.distance_transform_edt(plane != CODE["rv"], sampling=spacing_mm[1:])
    touching = np.sort(around[rim & (away_mm <= CONTACT_MM)])
    if len(touching) < 2:
        return None
    gaps = np.diff(touching, append=touching[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    start, length = touching[(widest + 1) % len(touching)], 2 * np.pi - gaps[widest]
    return float(start + length / 2) if length >= LEAST_ARC_RAD else None

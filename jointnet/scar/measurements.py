"""Scar measurements: volume, mass, share of the myocardium, and transmurality of the segments."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jointnet.scar.segments import (
    BEYOND,
    SEGMENTS,
    Array,
    Labels,
    Spacing,
    centres,
    levels,
    segment_of,
    segments,
    septum_middles,
)
from jointnet.scar.threshold import Mask
from jointnet.structures import CLASS_INDEX

DENSITY_G_PER_ML = 1.05
"""Density of myocardium."""
CHORDS = 120
"""Number of radial chords per slice, 3 degrees apart."""
RADIAL_STEPS_PER_PIXEL = 4
"""Number of samples along a chord per smaller side of a pixel."""

WHOLE: tuple[str, ...] = ("myocardium_ml", "scar_ml", "scar_g", "scar_percent")
BY_SEGMENT: tuple[str, ...] = ("percent", "transmurality_percent", "extent_percent")


@dataclass(frozen=True)
class Wall:
    """The myocardium of one segmentation, prepared for the measurements.

    Attributes:
        muscle: mask of the myocardium (S, H, W).
        voxel_ml: volume of a voxel.
        in_segment: one-hot matrix (P, 17) of the segment of each pixel of the myocardium.
        samples: flat indices into (S, H, W) of the chords' samples in the myocardium, chord after chord.
        starts: index in `samples` of the first sample of each chord, shape (C,).
        chord_in_segment: one-hot matrix (C, 17) of the segment of each chord.
    """

    muscle: Mask
    voxel_ml: float
    in_segment: NDArray[np.float32]
    samples: NDArray[np.intp]
    starts: NDArray[np.intp]
    chord_in_segment: NDArray[np.float32]


def wall_of(labels: Labels, spacing_mm: Spacing) -> Wall:
    """Compute the segments and radial chords of the myocardium.

    A chord runs from the pool's centroid outwards. Only its samples in the myocardium are kept. Slices without pool
    have no chords. Segments are empty if they cannot be located without the RV (`reference.segments`).
    """
    muscle = labels == CLASS_INDEX["myo"]
    one_hot = np.eye(SEGMENTS + 1, dtype=np.float32)[:, 1:]
    middle, level = centres(labels), levels(labels)
    pool = np.flatnonzero(level > BEYOND)
    angle: Array = np.arange(0.5, CHORDS) * (2 * np.pi / CHORDS)
    reach_mm = float(np.hypot(labels.shape[1] * spacing_mm[1], labels.shape[2] * spacing_mm[2]))
    radius_mm = np.arange(0, reach_mm, min(spacing_mm[1:]) / RADIAL_STEPS_PER_PIXEL)
    rows = -np.sin(angle)[:, None] * radius_mm / spacing_mm[1] + middle[pool, 0, None, None]
    columns = np.cos(angle)[:, None] * radius_mm / spacing_mm[2] + middle[pool, 1, None, None]
    row, column = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = (row >= 0) & (row < labels.shape[1]) & (column >= 0) & (column < labels.shape[2])
    place = np.where(inside, (pool[:, None, None] * labels.shape[1] + row) * labels.shape[2] + column, 0)
    in_wall = inside & muscle.ravel()[place]
    lengths = in_wall.sum(-1).ravel()
    septum = septum_middles(labels, spacing_mm)
    chord_segment = segment_of(angle[None, :], level[pool, None], septum[pool, None]).ravel()[lengths > 0]
    starts = np.concatenate([[0], np.cumsum(lengths[lengths > 0])[:-1]]).astype(np.intp)
    return Wall(
        muscle=muscle,
        voxel_ml=float(np.prod(spacing_mm)) / 1000,
        in_segment=one_hot[segments(labels, spacing_mm)[muscle]],
        samples=place[in_wall],
        starts=starts[: len(chord_segment)],
        chord_in_segment=one_hot[chord_segment],
    )


def measure(scar: Mask, seen: Mask, wall: Wall) -> dict[str, Array]:
    """Return the measurements of scar masks.

    `scar_percent` and a segment's `percent` are shares of the volume of the myocardium that LGE shows. A segment's
    `transmurality_percent` is the mean share of scar in the wall's depth over its chords that cross scar; it is 0 if
    none does. Its `extent_percent` is the share of its chords that cross scar.

    Args:
        scar: scar masks (..., S, H, W), within the myocardium.
        seen: masks (..., S, H, W) of the pixels that LGE shows.
        wall: the myocardium of the same segmentation.

    Returns:
        `WHOLE`, shape (...), and `BY_SEGMENT`, shape (..., 17). Shares of an empty region are NaN.
    """
    scar_pixels = scar[..., wall.muscle].astype(np.float32)
    seen_pixels = seen[..., wall.muscle].astype(np.float32)
    scar_ml, muscle_ml = (pixels.sum(-1, dtype=np.float64) * wall.voxel_ml for pixels in (scar_pixels, seen_pixels))
    figures = {
        "myocardium_ml": np.asarray(muscle_ml),
        "scar_ml": np.asarray(scar_ml),
        "scar_g": np.asarray(scar_ml * DENSITY_G_PER_ML),
        "scar_percent": _percent(scar_ml, muscle_ml),
        "percent": _percent(scar_pixels @ wall.in_segment, seen_pixels @ wall.in_segment),
    }
    depth, crossed, chords = _chords(scar, seen, wall)
    figures["transmurality_percent"] = np.where(
        crossed > 0, _percent(depth, crossed), np.where(chords > 0, 0.0, np.nan)
    )
    figures["extent_percent"] = _percent(crossed, chords)
    return figures


def segment_table(figures: dict[str, Array], names: tuple[str, ...]) -> pd.DataFrame:
    """Return the segments' measurements of one scar mask as a table with one row per segment."""
    columns = {f"scar_{name}" if name == "percent" else name: figures[name] for name in BY_SEGMENT}
    return pd.DataFrame({"segment": range(1, SEGMENTS + 1), "name": names, **columns})


def _chords(scar: Mask, seen: Mask, wall: Wall) -> tuple[Array, Array, Array]:
    """Return, per segment (..., 17), the sum of the chords' scar shares and the numbers of crossing and all chords."""
    batch = scar.shape[:-3]
    if not len(wall.starts):
        empty = np.zeros((*batch, SEGMENTS))
        return empty, empty, empty
    counts = [
        np.add.reduceat(mask.reshape(*batch, -1)[..., wall.samples].astype(np.float32), wall.starts, axis=-1)
        for mask in (scar, seen)
    ]
    share = counts[0] / np.maximum(counts[1], 1)
    parts = (share, (counts[0] > 0).astype(np.float32), (counts[1] > 0).astype(np.float32))
    depth, crossed, chords = (np.asarray(part @ wall.chord_in_segment, np.float64) for part in parts)
    return depth, crossed, chords


def _percent(part: NDArray[Any], whole: NDArray[Any]) -> Array:
    """Return 100 part / whole, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.where(whole > 0, 100 * part / np.where(whole > 0, whole, 1), np.nan)

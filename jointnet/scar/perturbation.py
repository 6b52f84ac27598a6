"""Sensitivity of the scar measurements to the registration error.

LGE is displaced in every slice by an independent random vector, because slices are registered separately. The vector is
normal with a standard deviation of `sd_mm` along rows and columns, rounded to whole pixels. Interpolation would average
the noise that n-SD measures; rounding adds a variance of a twelfth of a pixel's side squared instead. The whole
analysis is repeated on each displaced stack, including remote myocardium. The segmentation is not changed.

A mean centre distance of d mm between registered centroids corresponds to sd_mm = d sqrt(2 / pi) = 0.80 d for normal
errors (Rayleigh distribution). The given LGE already contains the registration error once. So the spread shows how
sensitive a measurement is to that error; it does not correct for it.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jointnet.errors import SettingsError
from jointnet.scar import ScarSettings
from jointnet.scar.measurements import BY_SEGMENT, WHOLE, measure, wall_of
from jointnet.scar.segments import SEGMENTS, Array, Labels, Spacing, bounding_box
from jointnet.scar.threshold import Mask, Stack, find_scar

BATCH = 25
"""Number of displaced stacks in memory at once."""
RANGE_PERCENT = (2.5, 97.5)
MARGIN_PX = 2


def perturbed_figures(
    lge: Stack,
    labels: Labels,
    spacing_mm: Spacing,
    settings: ScarSettings,
    sd_mm: float,
    count: int,
    seed: int,
    remote: Mask | None = None,
) -> dict[str, Array]:
    """Return the measurements of `figures.measure` for `count` displaced stacks: shapes (count,) and (count, 17).

    Args:
        lge: LGE (S, H, W), NaN outside its field of view. Displaced pixels from outside the stack are NaN as well.
        labels: label map (S, H, W), class indices.
        spacing_mm: distances between slices, rows and columns.
        settings: settings of the scar detection.
        sd_mm: standard deviation of the registration error along each in-plane axis.
        count: number of displaced stacks.
        seed: seed of the displacements.
        remote: mask of remote myocardium, as in `find_scar`.

    Raises:
        SettingsError: with all arguments out of range.
        DataError: as in `find_scar`.
    """
    errors = []
    if not (np.isfinite(sd_mm) and sd_mm >= 0):
        errors.append(f"sd_mm: must be a number of 0 or more, got {sd_mm}")
    if count < 1:
        errors.append(f"count: must be at least 1, got {count}")
    if seed < 0:
        errors.append(f"seed: must not be negative, got {seed}")
    if errors:
        raise SettingsError(errors)
    drawn = np.random.default_rng(seed).normal(0, sd_mm, (count, len(labels), 2))
    shifts_px = np.rint(drawn / spacing_mm[1:]).astype(int)
    window = (slice(None), *bounding_box(labels, MARGIN_PX))
    part = labels[window]
    near = None if remote is None else remote[window]
    wall = wall_of(part, spacing_mm)
    batches = []
    for first in range(0, count, BATCH):
        moved = displaced(lge, shifts_px[first : first + BATCH], window)
        batches.append(measure(find_scar(moved, part, spacing_mm, settings, near), np.isfinite(moved), wall))
    return {name: np.concatenate([figures[name] for figures in batches]) for name in batches[0]}


def displaced(lge: Stack, shifts_px: NDArray[np.integer], window: tuple[slice, slice, slice]) -> Stack:
    """Return a window of a stack (S, H, W), displaced by whole pixels (N, S, 2) (row, column), as (N, S, h, w)."""
    slices, height, width = lge.shape
    rows = np.arange(height)[window[1]] - shifts_px[..., 0, None]
    columns = np.arange(width)[window[2]] - shifts_px[..., 1, None]
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    taken = lge[
        np.arange(slices)[:, None, None],
        np.clip(rows, 0, height - 1)[..., :, None],
        np.clip(columns, 0, width - 1)[..., None, :],
    ]
    return np.where(inside, taken, np.float32(np.nan))


def spread_table(figures: dict[str, Array], perturbed: dict[str, Array]) -> pd.DataFrame:
    """Return a row per measurement: its `value`, and `mean`, `sd`, `low` and `high` (95 % range) when perturbed.

    Segments are named like `segment_05_percent`. Perturbed stacks in which a measurement is NaN are not used for it.
    """
    rows = [_row(name, figures[name], perturbed[name]) for name in WHOLE]
    for name in BY_SEGMENT:
        for number in range(SEGMENTS):
            values = perturbed[name][:, number]
            rows.append(_row(f"segment_{number + 1:02d}_{name}", figures[name][number], values))
    return pd.DataFrame(rows)


def _row(name: str, value: Array, perturbed: Array) -> dict[str, object]:
    finite = perturbed[np.isfinite(perturbed)]
    if not len(finite):
        return {"figure": name, "value": float(value), **dict.fromkeys(("mean", "sd", "low", "high"), float("nan"))}
    low, high = np.percentile(finite, RANGE_PERCENT)
    sd = finite.std(ddof=1) if len(finite) > 1 else float("nan")
    return {"figure": name, "value": float(value), "mean": finite.mean(), "sd": sd, "low": low, "high": high}

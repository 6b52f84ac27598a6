"""Contours of labels on pictures of slices, the same in every picture."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jointnet.structures import CODE

OUTLINES: Mapping[str, str] = {"lv": "#ff6b6b", "myo": "#ffd43b", "rv": "#4dc3ff"}
"""Contour colours: LV pool, outer border of the myocardium, RV pool."""
MARGIN_PX = 12
"""Pixels shown around the contours."""


def outline(labels: NDArray, structure: str) -> NDArray[np.bool_]:
    """Give the region whose border is drawn: myocardium together with the pool inside, for its outer border."""
    codes = [CODE["myo"], CODE["lv"]] if structure == "myo" else [CODE[structure]]
    return np.isin(labels, codes)


def contour(axes: Axes, region: NDArray[np.bool_], colour: str, style: str, width: float) -> None:
    """Draw the border of a region (row, column); an empty or a full one has none."""
    if region.any() and not region.all():
        axes.contour(region.astype(np.float32), [0.5], colors=[colour], linestyles=[style], linewidths=[width])


def window(held: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Give the square of rows and columns around what is held, with a margin; everything where nothing is."""
    rows, columns = np.nonzero(held)
    if len(rows) == 0:
        return slice(None), slice(None)
    half = max(np.ptp(rows), np.ptp(columns)) // 2 + MARGIN_PX
    side = min(2 * half, *held.shape)
    starts = [
        int(np.clip((axis.min() + axis.max()) // 2 - side // 2, 0, size - side))
        for axis, size in zip((rows, columns), held.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)

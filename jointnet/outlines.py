"""Contours of labels, drawn in the same style in every figure."""

from collections.abc import Mapping

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from jointnet.structures import CLASS_INDEX

CONTOUR_COLOURS: Mapping[str, str] = {"lv": "#ff6b6b", "myo": "#ffd43b", "rv": "#4dc3ff"}
"""Contour colours of the LV pool, the outer border of the myocardium, and the RV pool."""
MARGIN_PX = 12
"""Pixels shown around the contours."""


def outline(labels: NDArray, structure: str) -> NDArray[np.bool_]:
    """Return the mask whose border is drawn. For `myo` it includes the LV pool, so that the border is the outer one."""
    filled = [CLASS_INDEX["myo"], CLASS_INDEX["lv"]] if structure == "myo" else [CLASS_INDEX[structure]]
    return np.isin(labels, filled)


def contour(
    axes: Axes,
    region: NDArray[np.bool_],
    colour: str,
    style: str,
    width: float,
    at: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
) -> None:
    """Draw the border of a mask (row, column). An empty or full mask has no border.

    Args:
        axes: the axes to draw on.
        region: the mask.
        colour: line colour.
        style: line style.
        width: line width in points.
        at: (x, y) of the first pixel's centre.
        scale: side of a pixel.
    """
    if region.any() and not region.all():
        lines = contour_generator(z=region.astype(np.float32)).lines(0.5)
        shifted = [scale * np.asarray(line) + at for line in lines]
        axes.add_collection(LineCollection(shifted, colors=colour, linestyles=style, linewidths=width), autolim=False)


def window(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return rows and columns of a square around the mask's bounding box with a margin; all if the mask is empty."""
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return slice(None), slice(None)
    half = max(np.ptp(rows), np.ptp(columns)) // 2 + MARGIN_PX
    side = min(2 * half, *mask.shape)
    starts = [
        int(np.clip((axis.min() + axis.max()) // 2 - side // 2, 0, size - side))
        for axis, size in zip((rows, columns), mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)

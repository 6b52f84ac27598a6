"""Bull's-eye plot of the 17 AHA segments: base outside, apex inside, anterior wall at the top, septum left."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jointnet.scar.segments import SEGMENTS, Array

CLASSES_PERCENT: tuple[int, ...] = (0, 1, 25, 50, 75, 100)
"""Limits of the classes: none, 1 to 25, 26 to 50, 51 to 75 and 76 to 100 % (Kim et al., N Engl J Med 2000;
343:1445-1453)."""
CLASS_NAMES: tuple[str, ...] = ("below 1 %", "1-25 %", "25-50 %", "50-75 %", "75-100 %")
COLOUR_MAP = "cividis"
"""Perceptually ordered, and similar with and without colour vision deficiency (Nunez et al., PLoS ONE 2018)."""

_RINGS: tuple[tuple[int, int, float, float, float], ...] = (
    (1, 6, 60.0, 0.75, 1.0),
    (7, 6, 60.0, 0.5, 0.75),
    (13, 4, 45.0, 0.25, 0.5),
    (17, 1, 0.0, 0.0, 0.25),
)
"""First segment, number of segments, start angle of the first in degrees, inner and outer radius."""


def bullseye(percent: Array, title: str) -> Figure:
    """Draw a bull's-eye plot of a percentage per segment.

    Args:
        percent: shape (17,), 0 to 100. NaN is unknown and drawn hatched.
        title: title of the figure.
    """
    values = np.asarray(percent, np.float64)
    if values.shape != (SEGMENTS,):
        raise ValueError(f"percent must have shape ({SEGMENTS},), got {values.shape}")
    colours = colormaps[COLOUR_MAP]
    norm = BoundaryNorm([*CLASSES_PERCENT[:-1], 100.0001], colours.N)
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    for first, count, start_deg, inner, outer in _RINGS:
        width = 2 * np.pi / count
        for place in range(count):
            value = values[first - 1 + place]
            middle = np.radians(start_deg) + (place + 0.5) * width
            known = bool(np.isfinite(value))
            face = colours(norm(np.clip(value, 0, 100))) if known else "white"
            edge = np.linspace(middle - width / 2, middle + width / 2, 90)
            ring = (edge, np.full(90, outer)) if count == 1 else _sector(edge, inner, outer)
            axes.fill(*ring, facecolor=face, edgecolor="black", linewidth=1.2, hatch=None if known else "////")
            dark = known and sum(face[:3]) < 1.5
            axes.text(
                middle,
                0 if count == 1 else (inner + outer) / 2,
                f"{first + place}\n{value:.0f} %" if known else str(first + place),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                bbox=None if known else {"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    for angle_deg, name in ((90, "anterior"), (180, "septal"), (270, "inferior"), (0, "lateral")):
        turn = {180: 90, 0: 270}.get(angle_deg, 0)
        axes.text(np.radians(angle_deg), 1.07, name, ha="center", va="center", fontsize=8.5, rotation=turn)
    keys = [
        Patch(facecolor=colours(norm(low)), edgecolor="black", label=name)
        for low, name in zip(CLASSES_PERCENT, CLASS_NAMES, strict=False)
    ]
    keys.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="not known"))
    figure.legend(handles=keys, loc="outside right center", fontsize=8.5, frameon=False)
    return figure


def _sector(angle: Array, inner: float, outer: float) -> tuple[Array, Array]:
    """Return the outline of a ring sector as angles and radii."""
    radius = np.concatenate([np.full(len(angle), outer), np.full(len(angle), inner)])
    return np.concatenate([angle, angle[::-1]]), radius

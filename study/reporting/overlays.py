"""Overlays: contours of cine and of LGE on cine slices, unregistered above and registered below."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jointnet.structures import CODE
from study.reporting.records import ArmRecord

OUTLINES: Mapping[str, str] = {"lv": "#ff6b6b", "myo": "#ffd43b", "rv": "#4dc3ff"}
"""Contour colours: LV pool, outer border of the myocardium, RV pool."""
MOST_OVERLAYS = 8
"""Patients in an overlay figure at most."""
_MARGIN = 12  # pixels around the contours


def overlay(arm: ArmRecord) -> Figure:
    """Draw cine slices with cine's own contours (white, dashed) and LGE's: unregistered above, registered below.

    Args:
        arm: an arm with overlays; the first MOST_OVERLAYS of its patients are drawn, whatever their results.
    """
    arrays = arm.overlays
    places = range(min(len(arrays["patients"]), MOST_OVERLAYS))
    figure = Figure(figsize=(2.3 * len(places), 4.75), layout="constrained", facecolor="#000000")
    for number, place in enumerate(places):
        window = _window(arrays, place)
        for row, (name, title) in enumerate((("before", "Unregistered"), ("after", "Registered"))):
            axes = figure.add_subplot(2, len(places), row * len(places) + number + 1)
            image = np.asarray(arrays["cine"][place], dtype=np.float32)[window]
            low, high = np.percentile(image, (0.5, 99.5))
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear")
            for structure, colour in OUTLINES.items():
                cine = _outline(arrays["cine_labels"][place], structure)[window]
                lge = _outline(arrays[f"lge_labels_{name}"][place], structure)[window]
                _contour(axes, cine, "#ffffff", "dashed", 0.9)
                _contour(axes, lge, colour, "solid", 1.6)
            axes.set_axis_off()
            label = f"Patient {arrays['patients'][place]}, slice {arrays['slices'][place]}\n" if row == 0 else ""
            axes.set_title(label + title, fontsize=8.5, color="#e8edf2")
    return figure


def _outline(labels: np.ndarray, structure: str) -> np.ndarray:
    """Give the region whose border is drawn: myocardium together with the pool inside, for its outer border."""
    codes = [CODE["myo"], CODE["lv"]] if structure == "myo" else [CODE[structure]]
    return np.isin(labels, codes)


def _contour(axes: Axes, region: np.ndarray, colour: str, style: str, width: float) -> None:
    if region.any() and not region.all():
        axes.contour(region.astype(np.float32), [0.5], colors=[colour], linestyles=[style], linewidths=[width])


def _window(arrays: Mapping[str, np.ndarray], place: int) -> tuple[slice, slice]:
    """Give the square around cine's and the unregistered LGE's labels, the same before and after."""
    held = (arrays["cine_labels"][place] > 0) | (arrays["lge_labels_before"][place] > 0)
    rows, columns = np.nonzero(held)
    if len(rows) == 0:
        return slice(None), slice(None)
    half = max(np.ptp(rows), np.ptp(columns)) // 2 + _MARGIN
    side = min(2 * half, *held.shape)
    starts = [
        int(np.clip((axis.min() + axis.max()) // 2 - side // 2, 0, size - side))
        for axis, size in zip((rows, columns), held.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)

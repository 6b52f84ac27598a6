"""Overlays: contours of cine and of LGE on cine slices, unregistered above and registered below."""

import numpy as np
from matplotlib.figure import Figure

from jointnet.outlines import OUTLINES, contour, outline, window
from study.reporting.records import ArmRecord

MOST_OVERLAYS = 8
"""Patients in an overlay figure at most."""


def overlay(arm: ArmRecord) -> Figure:
    """Draw cine slices with cine's own contours (white, dashed) and LGE's: unregistered above, registered below.

    Args:
        arm: an arm with overlays; the first MOST_OVERLAYS of its patients are drawn, whatever their results.
    """
    arrays = arm.overlays
    places = range(min(len(arrays["patients"]), MOST_OVERLAYS))
    figure = Figure(figsize=(2.3 * len(places), 4.75), layout="constrained", facecolor="#000000")
    for number, place in enumerate(places):
        shown = window((arrays["cine_labels"][place] > 0) | (arrays["lge_labels_before"][place] > 0))
        for row, (name, title) in enumerate((("before", "Unregistered"), ("after", "Registered"))):
            axes = figure.add_subplot(2, len(places), row * len(places) + number + 1)
            image = np.asarray(arrays["cine"][place], dtype=np.float32)[shown]
            low, high = np.percentile(image, (0.5, 99.5))
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear")
            for structure, colour in OUTLINES.items():
                cine = outline(arrays["cine_labels"][place], structure)[shown]
                lge = outline(arrays[f"lge_labels_{name}"][place], structure)[shown]
                contour(axes, cine, "#ffffff", "dashed", 0.9)
                contour(axes, lge, colour, "solid", 1.6)
            axes.set_axis_off()
            label = f"Patient {arrays['patients'][place]}, slice {arrays['slices'][place]}\n" if row == 0 else ""
            axes.set_title(label + title, fontsize=8.5, color="#e8edf2")
    return figure

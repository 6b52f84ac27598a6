"""The quality sheet: one picture that shows, slice by slice, what registration did."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jointnet.back_projection import Registration
from jointnet.geometry import warp_labels
from jointnet.outlines import OUTLINES, contour, outline, window
from jointnet.prediction import Prediction
from jointnet.quality import NAMES, SliceQuality, patient_agreement

COLUMNS = 6
"""Slices beside each other."""
MOST_SLICES = 30
"""More slices of cine than this are thinned out evenly."""
MOST_WARNINGS = 14
PANEL_IN = 1.5
DPI = 100
TEXT, DIM, WARNING = "#e8edf2", "#9aa7b5", "#ffb454"


def quality_sheet(
    pair: Registration,
    images: NDArray[np.floating],
    registered: NDArray[np.floating],
    prediction: Prediction,
    judged: Sequence[SliceQuality],
    warnings: Sequence[str],
) -> bytes:
    """Draw a PNG: per slice of cine its image with both contours before and after, and the registered LGE.

    Args:
        pair: the registration.
        images: of the common grid (S, 2, H, W), cine first.
        registered: LGE on the common grid after registration (S, H, W).
        prediction: its segmentations are drawn where it has any.
        judged: of every slice of the common grid.
        warnings: of the patient, written below.
    """
    slices = [(number, match.grid_slice) for number, match in enumerate(pair.cine_matches) if match is not None]
    if len(slices) > MOST_SLICES:
        slices = [slices[i] for i in np.linspace(0, len(slices) - 1, MOST_SLICES).round().astype(int)]
    bands = max(1, -(-len(slices) // COLUMNS))
    told = [
        *warnings[:MOST_WARNINGS],
        *([f"and {len(warnings) - MOST_WARNINGS} more"] * (len(warnings) > MOST_WARNINGS)),
    ]
    lines = [part for warning in told for part in textwrap.wrap(warning, 120)] or ["no warnings"]
    heading_in, band_in, warnings_in = 0.6, 3 * PANEL_IN + 0.42, 0.3 + 0.17 * len(lines)
    height = heading_in + bands * band_in + warnings_in
    figure = Figure(figsize=(COLUMNS * PANEL_IN + 0.7, height), facecolor="#000000")
    FigureCanvasAgg(figure)
    _heading(figure, judged, len(slices), len(pair.cine_matches), height)
    labels = prediction.cine_labels, prediction.lge_labels
    moved = None if labels[1] is None else warp_labels(labels[1], prediction.theta)
    shown = _shown(images, labels)
    width = COLUMNS * PANEL_IN + 0.7
    for place, (number, s) in enumerate(slices):
        band, column = divmod(place, COLUMNS)
        quality = judged[s]
        panels = (
            (images[s, 0], None if labels[1] is None else labels[1][s]),
            (images[s, 0], None if moved is None else moved[s]),
            (registered[s], None),
        )
        for row, (image, lge) in enumerate(panels):
            bottom = height - heading_in - band * band_in - 0.42 - (row + 1) * PANEL_IN
            left = 0.6 + column * PANEL_IN
            box = (left / width, bottom / height, 0.98 * PANEL_IN / width, 0.98 * PANEL_IN / height)
            axes = figure.add_axes(box)
            _panel(
                axes,
                image[shown],
                None if labels[0] is None else labels[0][s][shown],
                None if lge is None else lge[shown],
            )
            if row == 0:
                _title(axes, number, quality)
            if column == 0:
                name = ("before", "after", "LGE registered")[row]
                axes.text(
                    -0.06,
                    0.5,
                    name,
                    transform=axes.transAxes,
                    rotation=90,
                    ha="right",
                    va="center",
                    fontsize=8,
                    color=TEXT,
                )
    colour = WARNING if warnings else DIM
    figure.text(
        0.02, (warnings_in - 0.12) / height, "\n".join(lines), va="top", fontsize=7.5, color=colour, parse_math=False
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="#000000", metadata={"Software": None})
    return buffer.getvalue()


def _heading(figure: Figure, judged: Sequence[SliceQuality], drawn: int, slices: int, height: float) -> None:
    """Write what holds of the patient as a whole, and what the colours mean."""
    before, after = patient_agreement(judged)
    agreement = (
        "" if np.isnan(before) else f";  Dice of the two predicted segmentations {before:.2f} before, {after:.2f} after"
    )
    moved = float(np.median([quality.displacement_mm for quality in judged]))
    first = f"LGE onto cine: {drawn} of {slices} cine slices;  median displacement {moved:.1f} mm{agreement}"
    figure.text(0.02, 1 - 0.2 / height, first, va="center", fontsize=9.5, color=TEXT)
    figure.text(
        0.02, 1 - 0.42 / height, "predicted contours: cine white, dashed; LGE", va="center", fontsize=8, color=DIM
    )
    for place, (name, colour) in enumerate(OUTLINES.items()):
        label = "outer border of myocardium" if name == "myo" else NAMES[name]
        figure.text((0.3, 0.345, 0.55)[place], 1 - 0.42 / height, label, va="center", fontsize=8, color=colour)


def _title(axes: Axes, number: int, quality: SliceQuality) -> None:
    before, after = quality.agreement
    second = "" if np.isnan(before) else f", Dice {before:.2f} > {after:.2f}"
    axes.set_title(
        f"slice {number}{' (!)' if quality.warnings else ''}\n{quality.displacement_mm:.1f} mm{second}",
        fontsize=7,
        color=WARNING if quality.warnings else TEXT,
        pad=2,
    )


def _panel(
    axes: Axes, image: NDArray[np.floating], cine: NDArray[np.uint8] | None, lge: NDArray[np.uint8] | None
) -> None:
    pixels = np.asarray(image, np.float32)
    axes.imshow(
        pixels, cmap="gray", vmin=0, vmax=max(float(np.percentile(pixels, 99.5)), 1e-6), interpolation="bilinear"
    )
    for structure, colour in OUTLINES.items():
        if cine is not None:
            contour(axes, outline(cine, structure), "#ffffff", "dashed", 0.7)
        if lge is not None:
            contour(axes, outline(lge, structure), colour, "solid", 1.0)
    axes.set_axis_off()


def _shown(
    images: NDArray[np.floating], labels: tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]
) -> tuple[slice, slice]:
    """Give the part of the field that every panel shows: around the segmentations, else what both scans reach."""
    found = [(part > 0).any(0) for part in labels if part is not None]
    held = np.asarray(np.any(found, axis=0)) if found else np.zeros(images.shape[-2:], bool)
    return window(held if held.any() else np.asarray((images > 0).any((0, 1))))

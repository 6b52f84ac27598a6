"""The quality sheet: one figure that shows the registration result of every slice."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jointnet.geometry import warp_labels
from jointnet.networks.apply import Prediction
from jointnet.outlines import OUTLINES, contour, outline, window
from jointnet.predict.back_projection import Registration
from jointnet.predict.quality import NAMES, SliceQuality, patient_agreement

COLUMNS = 6
"""Number of slices per row."""
MOST_SLICES = 30
"""Largest number of cine slices shown. With more, evenly spaced slices are selected."""
MOST_WARNINGS = 14
DPI = 100
PANEL, GAP, SIDE, TITLE, HEADING, LINE = 147.0, 3.0, 58.0, 42.0, 58.0, 17.0
"""Lengths in pixels of the figure: panel side, gap between panels, left margin, slice title, heading, text line."""
TEXT, DIM, WARNING = "#e8edf2", "#9aa7b5", "#ffb454"
ROWS = ("before", "after", "LGE registered")


def quality_sheet(
    pair: Registration,
    images: NDArray[np.floating],
    registered: NDArray[np.floating],
    prediction: Prediction,
    judged: Sequence[SliceQuality],
    warnings: Sequence[str],
) -> bytes:
    """Return a PNG that shows, for each cine slice, the contours before and after registration and the registered LGE.

    Args:
        pair: the registration.
        images: images on the common grid (S, 2, H, W), cine first.
        registered: LGE on the common grid after registration (S, H, W).
        prediction: the prediction. Its segmentations, if any, are drawn as contours.
        judged: the quality of every slice of the common grid.
        warnings: the patient's warnings, written at the bottom.
    """
    slices = [(number, match.grid_slice) for number, match in enumerate(pair.cine_matches) if match is not None]
    if len(slices) > MOST_SLICES:
        slices = [slices[place] for place in np.linspace(0, len(slices) - 1, MOST_SLICES).round().astype(int)]
    lines = _lines(warnings)
    bands = -(-len(slices) // COLUMNS)
    band_height = TITLE + len(ROWS) * (PANEL + GAP)
    top = HEADING + bands * band_height + LINE
    figure, axes = _canvas(SIDE + COLUMNS * (PANEL + GAP), top + LINE * (len(lines) + 1))
    _heading(axes, judged, len([match for match in pair.cine_matches if match is not None]), len(pair.cine_matches))
    moved = None if prediction.lge_labels is None else warp_labels(prediction.lge_labels, prediction.theta)
    shown = _shown(images, (prediction.cine_labels, prediction.lge_labels))
    for place, (number, s) in enumerate(slices):
        band, column = divmod(place, COLUMNS)
        left, upper = SIDE + column * (PANEL + GAP), HEADING + band * band_height + TITLE
        _title(axes, number, judged[s], left + PANEL / 2, upper)
        panels = ((images[s, 0], prediction.lge_labels), (images[s, 0], moved), (registered[s], None))
        for row, (image, lge) in enumerate(panels):
            labels = [None if part is None else part[s][shown] for part in (prediction.cine_labels, lge)]
            corner = (left, upper + row * (PANEL + GAP))
            _panel(axes, image[shown], labels[0], labels[1], corner)
            if column == 0:
                middle = corner[1] + PANEL / 2
                axes.text(SIDE - 10, middle, ROWS[row], rotation=90, ha="right", va="center", fontsize=8, color=TEXT)
    colour = WARNING if warnings else DIM
    for place, line in enumerate(lines):
        axes.text(19, top + (place + 0.5) * LINE, line, va="center", fontsize=7.5, color=colour, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="#000000", metadata={"Software": None})
    return buffer.getvalue()


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Create a black figure and axes that fill it, in units of pixels with the origin at the top left."""
    figure = Figure(figsize=(width / DPI, height / DPI), facecolor="#000000")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def _lines(warnings: Sequence[str]) -> list[str]:
    """Return the lines of text below the panels."""
    more = [f"and {len(warnings) - MOST_WARNINGS} more, in provenance.json"] if len(warnings) > MOST_WARNINGS else []
    told = [*warnings[:MOST_WARNINGS], *more]
    return [part for warning in told for part in textwrap.wrap(warning, 130)] or ["no warnings"]


def _heading(axes: Axes, judged: Sequence[SliceQuality], covered: int, slices: int) -> None:
    """Draw the heading: a summary of the patient and the legend of the colours."""
    before, after = patient_agreement(judged)
    overlap = f";  Dice of the two predicted segmentations {before:.2f} before, {after:.2f} after"
    moved = float(np.median([quality.displacement_mm for quality in judged]))
    first = f"LGE onto cine: {covered} of {slices} cine slices;  median displacement {moved:.1f} mm"
    axes.text(19, 20, first + ("" if np.isnan(before) else overlap), va="center", fontsize=9.5, color=TEXT)
    if not np.isnan(before):
        words = [("predicted contours: cine white, dashed; LGE", DIM)]
        words += [("outer border of myocardium" if name == "myo" else NAMES[name], OUTLINES[name]) for name in OUTLINES]
        for left, (word, colour) in zip((19, 290, 335, 533), words, strict=True):
            axes.text(left, 41, word, va="center", fontsize=8, color=colour)


def _title(axes: Axes, number: int, quality: SliceQuality, middle: float, bottom: float) -> None:
    before, after = quality.agreement
    second = f"{quality.displacement_mm:.1f} mm" + ("" if np.isnan(before) else f", Dice {before:.2f} > {after:.2f}")
    axes.text(
        middle,
        bottom - 4,
        f"slice {number}{' (!)' if quality.warnings else ''}\n{second}",
        ha="center",
        va="bottom",
        fontsize=7,
        color=WARNING if quality.warnings else TEXT,
    )


def _panel(
    axes: Axes,
    image: NDArray[np.floating],
    cine: NDArray[np.uint8] | None,
    lge: NDArray[np.uint8] | None,
    corner: tuple[float, float],
) -> None:
    """Draw an image (row, column) with the contours of cine's and LGE's labels. Its top left corner is at `corner`."""
    pixels = np.asarray(image, np.float32)
    left, upper = corner
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=max(float(np.percentile(pixels, 99.5)), 1e-6),
        interpolation="bilinear",
        extent=(left, left + PANEL, upper + PANEL, upper),
        aspect="auto",
    )
    axes.autoscale(False)
    scale = PANEL / pixels.shape[0]
    at = (left + scale / 2, upper + scale / 2)
    for structure, colour in OUTLINES.items():
        if cine is not None:
            contour(axes, outline(cine, structure), "#ffffff", "dashed", 0.7, at, scale)
        if lge is not None:
            contour(axes, outline(lge, structure), colour, "solid", 1.0, at, scale)


def _shown(
    images: NDArray[np.floating], labels: tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]
) -> tuple[slice, slice]:
    """Return the rows and columns shown in every panel: around the segmentations or, without any, around the images."""
    found = [(part > 0).any(0) for part in labels if part is not None]
    held = np.asarray(np.any(found, axis=0)) if found else np.zeros(images.shape[-2:], bool)
    return window(held if held.any() else np.asarray((images > 0).any((0, 1))))

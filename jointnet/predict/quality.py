"""Quality of a prediction without manual segmentations: agreement, displacement, warnings, and the quality sheet.

Agreement is the Dice overlap of the two *predicted* segmentations before and after registration. A high agreement means
that the predicted segmentations are aligned. It does not mean that they are correct. The quality sheet is one figure
that shows the result of every slice.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate.metrics import dice
from jointnet.geometry import in_mm, warp_labels
from jointnet.networks.apply import Prediction
from jointnet.outlines import CONTOUR_COLOURS, contour, outline, window
from jointnet.predict.back_projection import Registration
from jointnet.structures import CLASS_INDEX, STRUCTURE_TITLES, STRUCTURES

LEAST_PIXELS = 16
"""A structure with fewer pixels of the common grid (9 mm2) counts as not found."""
DEPARTURE_MM = 6.0
"""Distance of a slice's displacement from the patient's median above which there is a warning. It is three times the
standard deviation of slice translations (`jointnet.networks.registration.SLICE_SD`)."""
FALL = 0.05
"""Decrease of the predicted agreement above which there is a warning."""
SHEET_COLUMNS = 6
"""Number of slices per row."""
MOST_SHEET_SLICES = 30
"""Largest number of cine slices shown. With more, evenly spaced slices are selected."""
MOST_WARNINGS = 14
DPI = 100
PANEL, GAP, SIDE, TITLE, HEADING, LINE = 147.0, 3.0, 58.0, 42.0, 58.0, 17.0
"""Lengths in pixels of the figure: panel side, gap between panels, left margin, slice title, heading, text line."""
TEXT, DIM, WARNING = "#e8edf2", "#9aa7b5", "#ffb454"
SHEET_ROWS = ("before", "after", "LGE registered")
UNSEGMENTED_ROWS = ("cine", "LGE before", "LGE registered")
"""Rows of the sheet without segmentations, which have no contours to compare."""


@dataclass(frozen=True)
class SliceQuality:
    """The quality of one slice of the common grid.

    Attributes:
        grid_slice: index of the slice.
        shift_mm: displacement (column, row) of the heart's centroid from cine to LGE. Without a predicted heart, it is
            the displacement of the given point, or of the centre of the field of view.
        dice_before, dice_after: Dice of the two predicted segmentations by structure, for structures found in both.
        warnings: sentences without the slice's number.
    """

    grid_slice: int
    shift_mm: tuple[float, float]
    dice_before: dict[str, float]
    dice_after: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def displacement_mm(self) -> float:
        """Length of the displacement."""
        return math.hypot(*self.shift_mm)

    @property
    def agreement(self) -> tuple[float, float]:
        """Mean Dice over the structures before and after registration; NaN if no structure was found in both scans."""
        before, after = ([*values.values()] for values in (self.dice_before, self.dice_after))
        return (float(np.mean(before)), float(np.mean(after))) if before else (math.nan, math.nan)


def slice_qualities(
    prediction: Prediction, largest_shift_mm: float, heart_mm: tuple[float, float] | None = None
) -> list[SliceQuality]:
    """Return the quality of every slice of the common grid.

    Args:
        prediction: the prediction for one patient.
        largest_shift_mm: the model's largest translation along columns or rows.
        heart_mm: column and row in mm from the centre of the field of view where the heart is, used in slices without a
            predicted heart; None for the centre.
    """
    affines = in_mm(prediction.theta)
    hearts = [None] * len(affines) if prediction.cine_labels is None else [*(prediction.cine_labels > 0)]
    shifts = [_shift_mm(affine, heart, heart_mm) for affine, heart in zip(affines, hearts, strict=True)]
    median = np.median(shifts, axis=0)
    moved = None if prediction.lge_labels is None else warp_labels(prediction.lge_labels, prediction.theta)
    qualities = []
    for number, shift in enumerate(shifts):
        before: dict[str, float] = {}
        after: dict[str, float] = {}
        warnings: list[str] = []
        if prediction.cine_labels is not None and prediction.lge_labels is not None and moved is not None:
            cine, lge = prediction.cine_labels[number], prediction.lge_labels[number]
            warnings += _missing(cine, lge, prediction.structures)
            for name in STRUCTURES:
                if _found(cine, name) and _found(lge, name):
                    before[name] = dice(cine == CLASS_INDEX[name], lge == CLASS_INDEX[name])
                    after[name] = dice(cine == CLASS_INDEX[name], moved[number] == CLASS_INDEX[name])
            warnings += [
                f"predicted Dice of {STRUCTURE_TITLES[name]} falls from {before[name]:.2f} to {after[name]:.2f}"
                for name in before
                if after[name] < before[name] - FALL
            ]
        off = float(np.hypot(*(shift - median)))
        if off > DEPARTURE_MM:
            warnings.append(f"displacement differs by {off:.1f} mm from the median of the slices")
        if max(abs(shift)) > 0.95 * largest_shift_mm:
            warnings.append(f"displacement is near the model's limit of {largest_shift_mm:g} mm")
        qualities.append(SliceQuality(number, (float(shift[0]), float(shift[1])), before, after, tuple(warnings)))
    return qualities


def patient_agreement(qualities: Sequence[SliceQuality]) -> tuple[float, float]:
    """Return the mean agreement before and after registration over the slices that have one; NaN if none has."""
    values = [quality.agreement for quality in qualities if quality.dice_before]
    return (
        (float(np.mean([v[0] for v in values])), float(np.mean([v[1] for v in values]))) if values else (math.nan,) * 2
    )


def patient_warnings(pair: Registration, qualities: Sequence[SliceQuality]) -> list[str]:
    """Return all warnings of a patient: first those about the patient, then those of each cine slice."""
    matched = [(number, match) for number, match in enumerate(pair.cine_matches) if match is not None]
    warnings = []
    if not matched:
        warnings.append("no cine slice lies in the region that both scans cover: all outputs on its grid are 0")
    elif len(matched) < len(pair.cine_matches):
        outside = [number for number, match in enumerate(pair.cine_matches) if match is None]
        warnings.append(f"outside the region that both scans cover, so 0: cine slices {', '.join(map(str, outside))}")
    for number, match in matched:
        warnings += [f"slice {number}: {warning}" for warning in qualities[match.grid_slice].warnings]
    return warnings


def quality_sheet(
    pair: Registration,
    images: NDArray[np.floating],
    registered: NDArray[np.floating],
    prediction: Prediction,
    qualities: Sequence[SliceQuality],
    warnings: Sequence[str],
) -> bytes:
    """Return a PNG that shows, for each cine slice, the contours before and after registration and the registered LGE.

    Without segmentations it shows cine, and LGE before and after registration.

    Args:
        pair: the registration.
        images: images on the common grid (S, 2, H, W), cine first.
        registered: LGE on the common grid after registration (S, H, W).
        prediction: the prediction. Its segmentations, if any, are drawn as contours.
        qualities: the quality of every slice of the common grid.
        warnings: the patient's warnings, written at the bottom.
    """
    slices = [(number, match.grid_slice) for number, match in enumerate(pair.cine_matches) if match is not None]
    if len(slices) > MOST_SHEET_SLICES:
        slices = [slices[place] for place in np.linspace(0, len(slices) - 1, MOST_SHEET_SLICES).round().astype(int)]
    lines = _lines(warnings)
    bands = -(-len(slices) // SHEET_COLUMNS)
    band_height = TITLE + len(SHEET_ROWS) * (PANEL + GAP)
    top = HEADING + bands * band_height + LINE
    figure, axes = _canvas(SIDE + SHEET_COLUMNS * (PANEL + GAP), top + LINE * (len(lines) + 1))
    covered = len([match for match in pair.cine_matches if match is not None])
    _heading(axes, qualities, covered, len(pair.cine_matches), prediction.structures)
    moved = None if prediction.lge_labels is None else warp_labels(prediction.lge_labels, prediction.theta)
    names = UNSEGMENTED_ROWS if moved is None else SHEET_ROWS
    view = _window(images, (prediction.cine_labels, prediction.lge_labels))
    for place, (number, s) in enumerate(slices):
        band, column = divmod(place, SHEET_COLUMNS)
        left, upper = SIDE + column * (PANEL + GAP), HEADING + band * band_height + TITLE
        _title(axes, number, qualities[s], left + PANEL / 2, upper)
        second = images[s, 1] if moved is None else images[s, 0]
        panels = ((images[s, 0], prediction.lge_labels), (second, moved), (registered[s], None))
        for row, (image, lge) in enumerate(panels):
            labels = [None if part is None else part[s][view] for part in (prediction.cine_labels, lge)]
            corner = (left, upper + row * (PANEL + GAP))
            _panel(axes, image[view], labels[0], labels[1], corner)
            if column == 0:
                middle = corner[1] + PANEL / 2
                axes.text(SIDE - 10, middle, names[row], rotation=90, ha="right", va="center", fontsize=8, color=TEXT)
    colour = WARNING if warnings else DIM
    for place, line in enumerate(lines):
        axes.text(19, top + (place + 0.5) * LINE, line, va="center", fontsize=7.5, color=colour, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="#000000", metadata={"Software": None})
    return buffer.getvalue()


def _shift_mm(
    affine: NDArray[np.float64], heart: NDArray[np.bool_] | None, otherwise_mm: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Return the displacement (column, row) in mm of a heart mask's centroid (row, column) under an affine (2, 3).

    Without a mask, or if it is empty, it is that of the point `otherwise_mm` (column, row), or of the centre.
    """
    point = np.array(otherwise_mm or (0.0, 0.0))
    if heart is not None and heart.any():
        rows, columns = np.nonzero(heart)
        point = (np.array([columns.mean(), rows.mean()]) - (SIZE_PX - 1) / 2) * PIXEL_MM
    return np.asarray(affine[:, :2] @ point + affine[:, 2] - point)


def _found(labels: NDArray[np.uint8], name: str) -> bool:
    return int(np.count_nonzero(labels == CLASS_INDEX[name])) >= LEAST_PIXELS


def _missing(cine: NDArray[np.uint8], lge: NDArray[np.uint8], structures: Sequence[str]) -> list[str]:
    """Return warnings about structures that a slice's predicted segmentations lack."""
    lacking: dict[str, list[str]] = {}
    for name in structures:
        missing = tuple(scan for scan, labels in (("cine", cine), ("LGE", lge)) if not _found(labels, name))
        if missing:
            lacking.setdefault(missing[0] if len(missing) == 1 else "either scan", []).append(STRUCTURE_TITLES[name])
    if lacking.get("either scan") == [STRUCTURE_TITLES[name] for name in structures]:
        return ["no structure found in either scan"]
    return [f"{' and '.join(names)} not found in {where}" for where, names in lacking.items()]


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
    lines = [*warnings[:MOST_WARNINGS], *more]
    return [part for warning in lines for part in textwrap.wrap(warning, 130)] or ["no warnings"]


def _heading(
    axes: Axes, qualities: Sequence[SliceQuality], covered: int, slices: int, structures: Sequence[str]
) -> None:
    """Draw the heading: a summary of the patient and the legend of the colours."""
    before, after = patient_agreement(qualities)
    overlap = f";  Dice of the two predicted segmentations {before:.2f} before, {after:.2f} after"
    moved = float(np.median([quality.displacement_mm for quality in qualities]))
    first = f"LGE onto cine: {covered} of {slices} cine slices;  median displacement {moved:.1f} mm"
    axes.text(19, 20, first + ("" if np.isnan(before) else overlap), va="center", fontsize=9.5, color=TEXT)
    if not np.isnan(before):
        axes.text(19, 41, "predicted contours: cine white, dashed; LGE", va="center", fontsize=8, color=DIM)
        for name, left in (("lv", 290), ("myo", 335), ("rv", 533)):
            word = "outer border of myocardium" if name == "myo" else STRUCTURE_TITLES[name]
            if name in structures:
                axes.text(left, 41, word, va="center", fontsize=8, color=CONTOUR_COLOURS[name])


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
    for structure, colour in CONTOUR_COLOURS.items():
        if cine is not None:
            contour(axes, outline(cine, structure), "#ffffff", "dashed", 0.7, at, scale)
        if lge is not None:
            contour(axes, outline(lge, structure), colour, "solid", 1.0, at, scale)


def _window(
    images: NDArray[np.floating], labels: tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]
) -> tuple[slice, slice]:
    """Return the rows and columns shown in every panel: around the segmentations or, without any, around the images."""
    labelled = [(part > 0).any(0) for part in labels if part is not None]
    heart = np.asarray(np.any(labelled, axis=0)) if labelled else np.zeros(images.shape[-2:], bool)
    return window(heart if heart.any() else np.asarray((images > 0).any((0, 1))))

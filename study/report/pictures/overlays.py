"""Pictures of a test patient, slice by slice: contours before and after registration, checkerboard, and scar."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from jointnet.outlines import OUTLINES, contour, outline
from study.report.pictures import scar
from study.report.pictures.shown import Shown

CINE_COLOUR, SCAR_COLOUR, TEXT_COLOUR = "#ffffff", "#ff3df2", "#e8edf2"
ROWS = (
    "LGE, scar",
    "Unregistered",
    "Registered",
    "Checkerboard",
    "Scar on cine",
)
PANEL_INCHES = 1.45
DPI = 100
CHECKS = 6
"""Number of checkerboard fields along each side of a slice."""
_LEFT_INCHES, _TOP_INCHES, _GAP_PX = 0.28, 0.42, 2


def overlay(patient: Shown) -> Figure:
    """Draw every slice of a patient, one column per slice and one row per entry of `ROWS`.

    The rows from top to bottom:
        1. unregistered LGE with the outline of its scar;
        2. cine with its own contours (white, dashed) and those of unregistered LGE (coloured, solid);
        3. the same with the contours of registered LGE;
        4. a checkerboard of cine and registered LGE;
        5. cine with its own contours and the registered scar, filled.
    """
    frames, count = patient.frames, len(patient.slices)
    before, after = (scar.scar(frames[f"lge_{when}"], frames[f"lge_labels_{when}"]) for when in ("before", "after"))
    width, height = _LEFT_INCHES + PANEL_INCHES * count, _TOP_INCHES + PANEL_INCHES * len(ROWS)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="black")
    images = (
        _equalised(frames["lge_before"]),
        *(2 * (_equalised(frames["cine"]),)),
        _checkerboard(_equalised(frames["cine"]), _equalised(frames["lge_after"])),
        _equalised(frames["cine"]),
    )
    for place, (name, image) in enumerate(zip(ROWS, images, strict=True)):
        bottom = 1 - (_TOP_INCHES + PANEL_INCHES * (place + 1)) / height
        axes = figure.add_axes((_LEFT_INCHES / width, bottom, 1 - _LEFT_INCHES / width, PANEL_INCHES / height))
        axes.imshow(_mosaic(image), cmap="gray", vmin=0, vmax=1, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        axes.text(-0.08 / (width - _LEFT_INCHES), 0.5, name, transform=axes.transAxes, rotation=90, fontsize=8,
                  color=TEXT_COLOUR, ha="right", va="center")  # fmt: skip
        if place == 0:
            contour(axes, _mosaic(before), SCAR_COLOUR, "solid", 1.0)
            _titles(axes, patient)
        elif place in (1, 2):
            _outlines(axes, frames["cine_labels"], cine=True)
            _outlines(axes, frames["lge_labels_before" if place == 1 else "lge_labels_after"], cine=False)
        elif place == 4:
            _outlines(axes, frames["cine_labels"], cine=True)
            _fill(axes, after)
    return figure


def scar_share(patient: Shown) -> float:
    """Return the fraction of the patient's myocardium in LGE that is drawn as scar, from 0 to 1."""
    lge, labels = patient.frames["lge_before"], patient.frames["lge_labels_before"]
    return scar.share(scar.scar(lge, labels), labels)


def as_images(figure: Figure) -> dict[str, bytes]:
    """Return the figure as `webp` for the page and as `png` with 256 colours for a file."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    found = {}
    fewer = drawn.quantize(256, method=Image.Quantize.FASTOCTREE)
    for kind, image, options in (("webp", drawn, {"quality": 78, "method": 2}), ("png", fewer, {})):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        found[kind] = stream.getvalue()
    return found


def _mosaic(frames: np.ndarray) -> np.ndarray:
    """Join slices of shape (S, H, W) side by side into one image of shape (H, S * (W + gap))."""
    spaced = np.pad(frames, ((0, 0), (0, 0), (0, _GAP_PX)))
    return np.concatenate(list(spaced), axis=1)


def _equalised(frames: np.ndarray) -> np.ndarray:
    """Scale a patient's grey values to 0..1 and clip the brightest and the darkest 0.5 %."""
    values = frames.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)


def _checkerboard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine two image stacks of shape (S, H, W) into a checkerboard of alternating fields."""
    height, width = first.shape[-2:]
    rows, columns = np.arange(height) * CHECKS // height, np.arange(width) * CHECKS // width
    return np.where((rows[:, None] + columns[None, :]) % 2 == 0, first, second)


def _outlines(axes: Axes, labels: np.ndarray, cine: bool) -> None:
    for structure, colour in OUTLINES.items():
        region = _mosaic(outline(labels, structure))
        if cine:
            contour(axes, region, CINE_COLOUR, "dashed", 0.8)
        else:
            contour(axes, region, colour, "solid", 1.4)


def _fill(axes: Axes, region: np.ndarray) -> None:
    colour = np.zeros((*_mosaic(region).shape, 4), np.float32)
    colour[..., :3] = [int(SCAR_COLOUR[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    colour[..., 3] = 0.75 * _mosaic(region)
    axes.imshow(colour, interpolation="nearest", aspect="auto")


def _titles(axes: Axes, patient: Shown) -> None:
    """Draw the number of each slice above it, with LV CD before and after registration where it was measured."""
    side = patient.frames["cine"].shape[-1]
    for place, number in enumerate(patient.slices):
        pair = patient.lv_cd_mm.get(number)
        text = f"slice {number}" + (f"\nCD {pair[0]:.1f} \u2192 {pair[1]:.1f} mm" if pair else "\nno LV in both")
        axes.text(
            place * (side + _GAP_PX) + side / 2, -4, text, fontsize=7, color=TEXT_COLOUR, ha="center", va="bottom"
        )

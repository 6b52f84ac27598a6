"""Figures of scar: an overlay on each slice, 3D surfaces, and a bull's-eye plot of the 17 AHA segments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from jointnet.outlines import outline
from jointnet.scar.output.surfaces import Mesh
from jointnet.scar.segments import SEGMENTS, Array, Labels, bounding_box
from jointnet.scar.threshold import Mask
from jointnet.structures import CLASS_INDEX, STRUCTURE_TITLES

CONTOUR_COLOURS: Mapping[str, str] = {"lv": "#56b4e9", "myo": "#f0e442", "rv": "#cc79a7"}
"""Colours of the contours (Okabe and Ito, safe with colour vision deficiency)."""
SCAR_COLOUR = "#ff4f00"
NAMES: Mapping[str, str] = {**STRUCTURE_TITLES, "lv": "LV pool", "rv": "RV pool", "scar": "scar"}
COLUMNS = 5
MARGIN_PX = 8

_OPACITY: Mapping[str, float] = {"lv": 0.12, "myo": 0.12, "rv": 0.12, "scar": 1.0}
_LIGHT = np.array([0.4, -0.5, 0.77])

PERCENT_LIMITS: tuple[int, ...] = (0, 1, 25, 50, 75, 100)
"""Limits of the classes: none, 1 to 25, 26 to 50, 51 to 75 and 76 to 100 % (Kim et al., N Engl J Med 2000;
343:1445-1453)."""
PERCENT_NAMES: tuple[str, ...] = ("below 1 %", "1-25 %", "25-50 %", "50-75 %", "75-100 %")
COLOUR_MAP = "cividis"
"""Perceptually ordered, and similar with and without colour vision deficiency (Nunez et al., PLoS ONE 2018)."""

_RINGS: tuple[tuple[int, int, float, float, float], ...] = (
    (1, 6, 60.0, 0.75, 1.0),
    (7, 6, 60.0, 0.5, 0.75),
    (13, 4, 45.0, 0.25, 0.5),
    (17, 1, 0.0, 0.0, 0.25),
)
"""First segment, number of segments, start angle of the first in degrees, inner and outer radius."""


def scar_overlay(image: NDArray[np.floating], labels: Labels, scar: Mask, title: str = "") -> Figure:
    """Draw every slice with myocardium, apex first, with the contours of the labels and the scar filled.

    Args:
        image: cine or LGE (S, H, W); NaN is drawn black.
        labels: label map (S, H, W), class indices.
        scar: scar mask (S, H, W).
        title: title of the figure.
    """
    slices = np.flatnonzero((labels == CLASS_INDEX["myo"]).any((1, 2)))
    rows, columns = bounding_box(labels, MARGIN_PX)
    count = max(1, -(-len(slices) // COLUMNS))
    width = min(COLUMNS, max(1, len(slices)))
    figure = Figure(figsize=(2.1 * width, 2.2 * count + 0.7), layout="constrained", facecolor="black")
    for place, index in enumerate(slices):
        axes = figure.add_subplot(count, width, place + 1)
        draw_slice(axes, image[index, rows, columns], labels[index, rows, columns], scar[index, rows, columns])
        axes.set_title(f"slice {index + 1}", fontsize=8, color="white")
    keys = [Patch(facecolor="none", edgecolor=colour, label=NAMES[name]) for name, colour in CONTOUR_COLOURS.items()]
    keys.append(Patch(facecolor=SCAR_COLOUR, alpha=0.6, label=NAMES["scar"]))
    figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8, frameon=False, labelcolor="white")
    if title:
        figure.suptitle(title, fontsize=10, color="white")
    return figure


def draw_slice(axes: Axes, image: NDArray[np.floating], labels: Labels, scar: Mask) -> None:
    """Draw one slice (H, W) with the contours of its labels and its scar filled."""
    seen = image[np.isfinite(image)]
    low, high = np.percentile(seen, (0.5, 99.5)) if len(seen) else (0.0, 1.0)
    axes.imshow(np.nan_to_num(image, nan=low), cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    colour = np.zeros((*scar.shape, 4))
    colour[scar] = to_rgba(SCAR_COLOUR, 0.6)
    axes.imshow(colour, interpolation="nearest")
    for name, edge in CONTOUR_COLOURS.items():
        region = outline(labels, name)
        if region.any() and not region.all():
            axes.contour(region.astype(np.float32), [0.5], colors=[edge], linewidths=[0.9])
    axes.set_axis_off()


def surface_picture(
    meshes: Mapping[str, Mesh], view_from: Array, upwards: Array, sides: tuple[str, str], title: str = ""
) -> Figure:
    """Draw 3D surfaces from two opposite sides, scar opaque and the other structures translucent.

    Args:
        meshes: meshes by name, from `surfaces.surfaces`.
        view_from: world direction (3,) from the heart to the viewer of the left panel. The right panel shows the
            opposite view.
        upwards: world direction (3,) that points upwards in the figure.
        sides: titles of the two panels.
        title: title of the figure.
    """
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    for place, side in enumerate((1.0, -1.0)):
        axes = figure.add_subplot(1, 2, place + 1, projection="3d", computed_zorder=False)
        toward = side * view_from / np.linalg.norm(view_from)
        up = upwards - (upwards @ toward) * toward
        up /= np.linalg.norm(up)
        frame = np.stack([toward, np.cross(up, toward), up])
        _draw_meshes(axes, meshes, frame)
        axes.view_init(elev=0, azim=0)
        axes.set_title(sides[place], fontsize=9)
    keys = [Patch(facecolor=to_rgba(_colour(name), max(0.4, _OPACITY[name])), label=NAMES[name]) for name in meshes]
    if keys:
        figure.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _draw_meshes(axes: Any, meshes: Mapping[str, Mesh], frame: Array) -> None:
    """Draw all triangles as one collection, so that they are sorted by depth across meshes."""
    corners, colours = [], []
    for name, mesh in meshes.items():
        points = (mesh.points_mm @ frame.T)[mesh.triangles]
        normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        shade = 0.45 + 0.55 * np.clip(normals @ (_LIGHT[[2, 0, 1]] / np.linalg.norm(_LIGHT)), 0, 1)
        colour = np.tile(to_rgba(_colour(name), _OPACITY[name]), (len(points), 1))
        colour[:, :3] *= shade[:, None]
        corners.append(points)
        colours.append(colour)
    axes.set_axis_off()
    if not corners:
        return
    triangles, faces = np.concatenate(corners), np.concatenate(colours)
    axes.add_collection3d(Poly3DCollection(triangles, facecolors=faces, edgecolors="none", linewidths=0))
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    middle, half = (low + high) / 2, float((high - low).max()) / 2
    for place, limit in enumerate((axes.set_xlim, axes.set_ylim, axes.set_zlim)):
        limit(middle[place] - half, middle[place] + half)
    axes.set_box_aspect((1, 1, 1), zoom=1.35)


def _colour(name: str) -> str:
    return SCAR_COLOUR if name == "scar" else CONTOUR_COLOURS[name]


def bullseye(percent: Array, title: str) -> Figure:
    """Draw a bull's-eye plot: base outside, apex inside, anterior wall at the top, septum left.

    Args:
        percent: a percentage per segment, shape (17,), 0 to 100. NaN is unknown and drawn hatched.
        title: title of the figure.
    """
    values = np.asarray(percent, np.float64)
    if values.shape != (SEGMENTS,):
        raise ValueError(f"percent must have shape ({SEGMENTS},), got {values.shape}")
    colours = colormaps[COLOUR_MAP]
    norm = BoundaryNorm([*PERCENT_LIMITS[:-1], 100.0001], colours.N)
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    for first, count, start_deg, inner, outer in _RINGS:
        width = 2 * np.pi / count
        for place in range(count):
            value = values[first - 1 + place]
            middle = np.radians(start_deg) + (place + 0.5) * width
            finite = bool(np.isfinite(value))
            face = colours(norm(np.clip(value, 0, 100))) if finite else "white"
            edge = np.linspace(middle - width / 2, middle + width / 2, 90)
            ring = (edge, np.full(90, outer)) if count == 1 else _sector(edge, inner, outer)
            axes.fill(*ring, facecolor=face, edgecolor="black", linewidth=1.2, hatch=None if finite else "////")
            dark = finite and sum(face[:3]) < 1.5
            axes.text(
                middle,
                0 if count == 1 else (inner + outer) / 2,
                f"{first + place}\n{value:.0f} %" if finite else str(first + place),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
                bbox=None if finite else {"facecolor": "white", "edgecolor": "none", "pad": 1.0},
            )
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    for angle_deg, name in ((90, "anterior"), (180, "septal"), (270, "inferior"), (0, "lateral")):
        turn = {180: 90, 0: 270}.get(angle_deg, 0)
        axes.text(np.radians(angle_deg), 1.07, name, ha="center", va="center", fontsize=8.5, rotation=turn)
    keys = [
        Patch(facecolor=colours(norm(low)), edgecolor="black", label=name)
        for low, name in zip(PERCENT_LIMITS, PERCENT_NAMES, strict=False)
    ]
    keys.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="unknown"))
    figure.legend(handles=keys, loc="outside right center", fontsize=8.5, frameon=False)
    return figure


def _sector(angle: Array, inner: float, outer: float) -> tuple[Array, Array]:
    """Return the outline of a ring sector as angles and radii."""
    radius = np.concatenate([np.full(len(angle), outer), np.full(len(angle), inner)])
    return np.concatenate([angle, angle[::-1]]), radius

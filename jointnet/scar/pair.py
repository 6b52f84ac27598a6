"""Reading of registered LGE and its segmentation from NIfTI files on the same grid into the short-axis view."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jointnet.errors import DataError
from jointnet.preparation.grid import Stack, corner_distance_mm, image_axes
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.preparation.patient_files import AFFINE_TOLERANCE_MM
from jointnet.preparation.prepared_patient import read_image, read_label
from jointnet.scar.segments import Array, Labels, Spacing
from jointnet.structures import CLASS_INDEX

Volume = NDArray[Any]


@dataclass(frozen=True)
class View:
    """The conversion between a file's axes and (slice, row, column).

    Attributes:
        axes: the file's axes that become slices, rows and columns.
        flips: axes that are reversed after this reordering.
    """

    axes: tuple[int, int, int]
    flips: tuple[int, ...]

    def from_file(self, volume: Volume) -> Volume:
        """Convert a file's volume (i, j, k) to the view (slice, row, column)."""
        return np.ascontiguousarray(np.flip(volume.transpose(self.axes), self.flips))

    def to_file(self, stack: Volume) -> Volume:
        """Convert a stack (slice, row, column) back to the file's order."""
        back = np.argsort(self.axes)
        return np.ascontiguousarray(np.flip(stack, self.flips).transpose(back))


@dataclass(frozen=True)
class Pair:
    """LGE and labels on one grid in the short-axis view.

    Attributes:
        lge: LGE (S, H, W), NaN outside LGE's field of view.
        labels: label map (S, H, W), class indices.
        affine: (4, 4), from (slice, row, column) to world mm.
        file_affine: (4, 4), from the files' voxels to world mm.
        view: the conversion from the files' axes.
        cine: cine (S, H, W) as the background of figures, or None.
    """

    lge: NDArray[np.float32]
    labels: Labels
    affine: Array
    file_affine: Array
    view: View
    cine: NDArray[np.float32] | None = None

    @property
    def spacing_mm(self) -> Spacing:
        """Distances in mm between neighbouring slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)


def short_axis_view(stack: Stack) -> View:
    """Return the short-axis view of a file's grid with slices along k, oriented like the common grid."""
    column, row = image_axes(stack)
    directions = stack.affine[:3, :3] / stack.spacing_mm
    axes = (2, 1, 0) if abs(directions[:, 0] @ column) > abs(directions[:, 1] @ column) else (2, 0, 1)
    wanted = (np.cross(column, row), row, column)
    flips = tuple(place for place, axis in enumerate(axes) if directions[:, axis] @ wanted[place] < 0)
    return View(axes, flips)


def read_pair(lge: Path, labels_path: Path, cine: Path | None = None, values: LabelValues = CHALLENGE_VALUES) -> Pair:
    """Read registered LGE, a segmentation with `values` and, if given, cine, all on the same grid.

    Raises:
        DataError: with every error: unreadable files, unknown label values, different grids, no myocardium.
    """
    errors: list[str] = []
    images = {path: read_image(path, errors) for path in (lge, cine) if path is not None}
    labels, frame = read_label(labels_path, errors, values), read_image(labels_path, [])
    for path, image in images.items():
        if image is not None and frame is not None:
            errors += _grid_errors(path, image[1], labels_path, frame[1])
    read = images[lge]
    if errors or read is None or labels is None:
        raise DataError(errors)
    if not (labels == CLASS_INDEX["myo"]).any():
        raise DataError(f"{labels_path}: must label myocardium, got none")
    view = short_axis_view(read[1])
    reorder = np.eye(4)
    reorder[:3, :3] = np.eye(3)[:, view.axes]
    for place in view.flips:
        reorder[:3, 3] += reorder[:3, place] * (labels.shape[view.axes[place]] - 1)
        reorder[:3, place] *= -1
    background = images[cine] if cine is not None else None
    return Pair(
        lge=without_padding(view.from_file(read[0])),
        labels=view.from_file(labels),
        affine=read[1].affine @ reorder,
        file_affine=read[1].affine,
        view=view,
        cine=None if background is None else view.from_file(background[0]),
    )


def without_padding(lge: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace zeros connected to a slice's border by NaN. Registration writes them outside LGE's field of view."""
    empty = np.pad(lge == 0, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    parts = ndimage.label(empty, in_plane)[0]
    outside = np.isin(parts, parts[:, 0, 0])[:, 1:-1, 1:-1]
    return np.where(outside, np.float32(np.nan), lge)


def _grid_errors(path: Path, stack: Stack, labels_path: Path, frame: Stack) -> list[str]:
    if len(frame.shape) != 3:
        return [f"{labels_path}: must be a volume with three axes, got shape {frame.shape}"]
    if stack.shape != frame.shape:
        return [f"{path}: must have the grid of {labels_path.name}, {frame.shape} voxels, got {stack.shape}"]
    distance_mm = corner_distance_mm(frame.shape, stack.affine, frame.affine)
    if not distance_mm <= AFFINE_TOLERANCE_MM:
        return [f"{path}: must have the grid of {labels_path.name}; a corner of it lies {distance_mm:.2f} mm off"]
    return []

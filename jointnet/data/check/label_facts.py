"""Description of a manual segmentation for the inspection of a folder: what it holds, and what of it the grid holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label

from jointnet.common_grid import SIZE_PX
from jointnet.preparation.grid import CommonGrid, Stack
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.structures import CLASS_INDEX, STRUCTURES


@dataclass(frozen=True)
class LabelFacts:
    """The contents of a manual segmentation.

    Attributes:
        voxels: number of voxels of each structure that occurs, by its label values in the file, such as `500`, or
            `2+3` for two values.
        pieces: number of connected components by structure; voxels that share a corner are connected.
        slices: number of slices with any label.
        lv_slices: number of slices with an LV blood pool.
        enclosed: number of slices with an LV blood pool that is enclosed by myocardium.
        in_field: share of the labelled voxels within the rows and columns of the common grid; None without a grid.
        on_grid: share of the labelled voxels within rows, columns and slices of the common grid.
    """

    voxels: dict[str, int]
    pieces: dict[str, int]
    slices: int
    lv_slices: int
    enclosed: int
    in_field: float | None
    on_grid: float | None


def enclosed_slices(labels: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the number of slices of class indices (I, J, K) with an LV pool, and with one enclosed by myocardium.

    The pool is enclosed if no path of side-connected pixels outside the myocardium leads from it to the edge.
    """
    with_lv = [index for index in range(labels.shape[2]) if (labels[:, :, index] == CLASS_INDEX["lv"]).any()]
    closed = 0
    for index in with_lv:
        plane = labels[:, :, index]
        closed += bool(binary_fill_holes(plane == CLASS_INDEX["myo"])[plane == CLASS_INDEX["lv"]].all())
    return len(with_lv), closed


def label_facts(
    labels: NDArray[np.uint8], stack: Stack, grid: CommonGrid | None, values: LabelValues = CHALLENGE_VALUES
) -> LabelFacts:
    """Return the description of class indices (I, J, K) with the geometry of `stack`, of a file with `values`."""
    in_order = sorted((own, name) for name, own in values.structures)
    counts = {name: int((labels == CLASS_INDEX[name]).sum()) for name in STRUCTURES}
    touching = np.ones((3, 3, 3), bool)
    in_field = on_grid = None
    if grid is not None and labels.any():
        grid_of_world = np.linalg.inv(grid.affine)
        points = stack.world(np.argwhere(labels).astype(float)) @ grid_of_world[:3, :3].T + grid_of_world[:3, 3]
        rows, columns, slices = points.T
        field = (np.abs(rows - (SIZE_PX - 1) / 2) <= SIZE_PX / 2) & (np.abs(columns - (SIZE_PX - 1) / 2) <= SIZE_PX / 2)
        within = (slices >= -0.5) & (slices <= grid.slices - 0.5)
        in_field, on_grid = float(field.mean()), float((field & within).mean())
    with_lv, closed = enclosed_slices(labels)
    return LabelFacts(
        voxels={"+".join(map(str, own)): counts[name] for own, name in in_order if counts[name]},
        pieces={name: int(label(labels == CLASS_INDEX[name], touching)[1]) for name, count in counts.items() if count},
        slices=int(labels.any((0, 1)).sum()),
        lv_slices=with_lv,
        enclosed=closed,
        in_field=in_field,
        on_grid=on_grid,
    )

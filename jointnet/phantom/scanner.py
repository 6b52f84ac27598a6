"""The voxel grids of the two scans, and the ways in which a file can store them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointnet.phantom.anatomy import Heart
from jointnet.phantom.motion import Matrix, limited_normal, rotation
from jointnet.phantom.texture import Array

SHORT_AXIS = np.array([[-0.64, -0.72, -0.2], [-0.37, 0.12, 0.9]])
"""Typical directions of array axes 0 and 1 in RAS+ world coordinates; axis 2 completes a left-handed triple."""
HEART_PLACE_MM = (-25.0, 15.0, 0.0)
HEADER_UNITS = "mm"


class Storage(StrEnum):
    """How a file stores a stack. All ways describe the same scene in world coordinates."""

    PLAIN = "plain"
    REVERSED = "reversed"
    """The slices run from base to apex."""
    MIRRORED = "mirrored"
    """The first axis is reversed."""
    TRANSPOSED = "transposed"
    """The two in-plane axes are exchanged."""
    QFORM_ONLY = "qform-only"
    """The header has no sform (code 0)."""


@dataclass(frozen=True)
class Grid:
    """Voxel counts and the 4x4 affine from voxel indices to world mm (RAS+)."""

    shape: tuple[int, int, int]
    affine: Matrix

    @property
    def in_plane_axes(self) -> Matrix:
        """Unit vectors of array axes 0 and 1 in world coordinates, as columns, shape (3, 2)."""
        axes: Matrix = self.affine[:3, :2] / np.linalg.norm(self.affine[:3, :2], axis=0)
        return axes

    def slice_points(self, index: int, world_to_frame: Matrix, shift_mm: Matrix) -> Array:
        """Return the coordinates of one slice's pixel centres in another frame.

        Args:
            index: The slice's index.
            world_to_frame: 4x4 affine from world mm to the frame's mm.
            shift_mm: Shift of the scene in this slice, world mm, shape (3,).

        Returns:
            Coordinates in the frame of the points that the pixels show, shape (3, nx, ny).
        """
        back = np.eye(4)
        back[:3, 3] = -shift_mm
        chain = world_to_frame @ back @ self.affine
        corner = chain[:3, 2] * index + chain[:3, 3]
        rows = chain[:3, 0, None] * np.arange(self.shape[0]) + corner[:, None]
        columns = chain[:3, 1, None] * np.arange(self.shape[1])
        return rows.astype(np.float32)[:, :, None] + columns.astype(np.float32)[:, None, :]


@dataclass(frozen=True)
class Placement:
    """The heart's position in the world and the grids of the two scans."""

    heart_to_world: Matrix
    cine: Grid
    lge: Grid


def _rigid(axes: Matrix, centre_mm: Matrix) -> Matrix:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = axes, centre_mm
    return pose


def _grid(axes: Matrix, centre_mm: Matrix, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Grid:
    affine = _rigid(axes * np.asarray(spacing_mm), centre_mm)
    affine[:3, 3] -= affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def sample_placement(rng: np.random.Generator, heart: Heart) -> Placement:
    """Draw the heart's position and both grids, independently of the motion between the scans.

    The fields of view have a common random offset from the heart's centre and a small one relative to each other.
    """
    first, second = np.linalg.qr(SHORT_AXIS.T)[0].T
    first, second = first * np.sign(first @ SHORT_AXIS[0]), second * np.sign(second @ SHORT_AXIS[1])
    typical = np.stack([first, second, -np.cross(first, second)], axis=1)
    cine_axes = rotation(np.deg2rad(limited_normal(rng, 7.0, (3,)))) @ typical
    tilted = rng.random() < 0.5
    lge_axes = rotation(np.deg2rad(limited_normal(rng, 2.0, (3,)) * tilted)) @ cine_axes
    heart_axes = cine_axes @ rotation(np.deg2rad(limited_normal(rng, (1.5, 1.5, 6.0), (3,))))
    heart_mm = np.asarray(HEART_PLACE_MM) + limited_normal(rng, 8.0, (3,))
    heart_to_world = _rigid(heart_axes, heart_mm)

    middle = heart_to_world[:3, :3] @ np.array([heart.middle_u_mm, 0, 0.5 * (heart.apex_mm + heart.base_mm)]) + heart_mm
    together_mm = np.append(rng.uniform(-15, 15, 2), 0.0)
    length_mm = heart.base_mm - heart.apex_mm

    thickness_mm = float(rng.choice([8.0, 9.0, 10.0, 11.0, 12.0, 13.0]))
    slices = int(np.clip(np.round((length_mm + 14) / thickness_mm), 8, 12))
    matrix = int(rng.choice([192, 208, 224, 240, 256]))
    pixel_mm = float(rng.uniform(1.19, 1.4))
    cine_centre = middle + cine_axes @ (together_mm + np.array([0, 0, rng.uniform(-0.5, 0.5) * thickness_mm]))
    cine = _grid(cine_axes, cine_centre, (matrix, matrix, slices), (pixel_mm, pixel_mm, thickness_mm))

    slices = int(np.clip(np.round((length_mm + rng.uniform(-25, 5)) / 5), 10, 18))
    matrix = int(rng.choice([320, 336, 352]))
    apart_mm = np.append(rng.uniform(-6, 6, 2), rng.uniform(-2, 8))
    lge = _grid(lge_axes, middle + lge_axes @ (together_mm + apart_mm), (matrix, matrix, slices), (0.75, 0.75, 5.0))
    return Placement(heart_to_world, cine, lge)


def stored(storage: Storage, grid: Grid, volume: NDArray[Any]) -> tuple[NDArray[Any], Matrix]:
    """Reorder a volume for storage, and return it with the affine that keeps every voxel's world position."""
    reorder = np.eye(4)
    if storage is Storage.REVERSED:
        volume = volume[:, :, ::-1]
        reorder[2, 2], reorder[2, 3] = -1, grid.shape[2] - 1
    elif storage is Storage.MIRRORED:
        volume = volume[::-1]
        reorder[0, 0], reorder[0, 3] = -1, grid.shape[0] - 1
    elif storage is Storage.TRANSPOSED:
        volume = volume.swapaxes(0, 1)
        reorder[:2, :2] = [[0, 1], [1, 0]]
    return np.ascontiguousarray(volume), grid.affine @ reorder

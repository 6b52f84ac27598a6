"""The geometry of the two scans: voxel grids, the true misalignment between them, and the ways to store a file.

The misalignment has two parts. Between the scans the whole heart is transformed by one affine in world mm. Within each
scan every slice has its own breath-hold, which shifts the heart within that slice's plane.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointnet.phantom.anatomy import Heart
from jointnet.phantom.tissue import Array

Matrix = NDArray[np.floating[Any]]

ROTATION_DEG = (1.5, 1.5, 2.0)
"""Typical standard deviation of the rotation around u, v and w; it varies between patients."""
SCALE_SD = 0.015
SHEAR_SD = 0.015
TRANSLATION_MM = (2.1, 2.1, 1.5)
"""Typical standard deviation of the translation along u, v and w; it varies between patients."""
PATIENT_FACTOR_SD = 0.3
"""Standard deviation of the logarithm of a patient's factor on rotation and translation."""
SLICE_SHIFT_MM = 0.7
"""Typical standard deviation of a breath-hold's shift along each in-plane axis; it varies between patients."""
LIMIT_SD = 2.5
"""Limit, in standard deviations, to which normal draws are clipped."""

SHORT_AXIS = np.array([[-0.64, -0.72, -0.2], [-0.37, 0.12, 0.9]])
"""Typical directions of array axes 0 and 1 in RAS+ world coordinates; axis 2 completes a left-handed triple."""
HEART_PLACE_MM = (-25.0, 15.0, 0.0)
HEADER_UNITS = "mm"


def limited_normal(rng: np.random.Generator, sd: float | tuple[float, ...], size: tuple[int, ...]) -> Matrix:
    """Draw normal random numbers of mean 0, clipped at `LIMIT_SD` standard deviations."""
    return np.clip(rng.normal(size=size), -LIMIT_SD, LIMIT_SD) * np.asarray(sd)


def rotation(vector_rad: Matrix) -> Matrix:
    """Return the 3x3 rotation around a vector by its length in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector_rad / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True)
class Misalignment:
    """The affine between the two scans in heart coordinates.

    Attributes:
        linear: Rotation, scale and shear in heart coordinates, shape (3, 3).
        translation_mm: Translation along u, v, w, shape (3,).
    """

    linear: Matrix
    translation_mm: Matrix

    def in_world(self, heart_to_world: Matrix) -> Matrix:
        """Return the 4x4 affine from the heart's position in the cine scan to that in the LGE scan, in world mm."""
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = self.linear, self.translation_mm
        return heart_to_world @ own @ np.linalg.inv(heart_to_world)


def sample_misalignment(rng: np.random.Generator) -> Misalignment:
    """Draw the affine between the two scans."""
    factor = float(np.exp(limited_normal(rng, PATIENT_FACTOR_SD, ())))
    turn = rotation(np.deg2rad(factor * limited_normal(rng, ROTATION_DEG, (3,))))
    shear = np.triu(limited_normal(rng, SHEAR_SD, (3, 3)), 1)
    scale = np.diag(1 + limited_normal(rng, SCALE_SD, (3,)))
    return Misalignment(
        linear=turn @ (scale + shear), translation_mm=factor * limited_normal(rng, TRANSLATION_MM, (3,))
    )


def sample_slice_shifts(rng: np.random.Generator, in_plane_axes: Matrix, slices: int) -> Matrix:
    """Draw one shift per slice in world mm, shape (slices, 3), in the plane of the two axes (columns of (3, 2))."""
    patient_sd_mm = SLICE_SHIFT_MM * rng.uniform(0.5, 1.5)
    return limited_normal(rng, patient_sd_mm, (slices, 2)) @ in_plane_axes.T


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
    """Draw the heart's position and both grids, independently of their misalignment.

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

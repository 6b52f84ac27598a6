"""The common grid of a patient, and resampling of scans to it in world coordinates.

The grid has the cine's orientation: its slices are parallel to the cine slices, and its rows and columns run along the
cine's in-plane axes. Order and direction of rows and columns are anatomical: columns run towards left-posterior and
rows towards inferior, as short-axis images are displayed. A stack that is stored mirrored, transposed or reversed
therefore has the same grid. The grid is centred on the region that both scans cover, not on a label.

Through the plane, images and labels are taken from the nearest acquired slice. Slices are 5 to 13 mm apart and
acquired in separate breath-holds, so an interpolation between two slices would show no real anatomy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SIZE_PX, SLICE_MM

Array = NDArray[np.float64]
Affine = NDArray[np.float64]
"""An affine (4, 4) from voxel (i, j, k) to world mm."""
Bounds = tuple[Affine, Affine]
"""Two affines that enclose the true one, given rounding. They differ by a rotation of at most 0.1 degrees."""

COLUMN_DIRECTION: Array = np.array([-0.64, -0.74, -0.2])
"""Direction of the columns of a short-axis image, RAS+: towards left and posterior."""
ROW_DIRECTION: Array = np.array([0.37, -0.12, -0.92])
"""Direction of the rows of a short-axis image, RAS+: towards inferior."""

TIE = 1e-3
"""Tolerance for a tie between two scan slices, in slice distances.

A grid slice that is this close to the middle between two scan slices takes the first along the grid's normal. Without
the tolerance, rounding errors would decide for each pixel separately."""
STILL = 1e-9
"""A coordinate that changes by less than this, in voxels over the whole field, is taken as constant."""


@dataclass(frozen=True)
class Stack:
    """The geometry of a scan: affine (4, 4) from voxel (i, j, k) to world mm, and shape. Slices lie along k."""

    affine: Array
    shape: tuple[int, ...]

    @property
    def spacing_mm(self) -> Array:
        """Distances in mm between neighbouring voxels along i, j and k."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def world(self, voxels: Array) -> Array:
        """Return world coordinates in mm (..., 3) of voxels (..., 3)."""
        return np.asarray(voxels @ self.affine[:3, :3].T + self.affine[:3, 3])

    def voxels(self, world_mm: Array) -> Array:
        """Return fractional voxel indices (..., 3) of world coordinates in mm (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(world_mm @ inverse[:3, :3].T + inverse[:3, 3])

    def corners(self) -> Array:
        """Return world coordinates in mm (8, 3) of the corners, half a voxel beyond the outermost centres."""
        sides = [(-0.5, length - 0.5) for length in self.shape]
        return self.world(np.array(list(product(*sides))))


@dataclass(frozen=True)
class CommonGrid:
    """A grid of slices: the world position of its first pixel and the unit vectors along columns, rows and slices."""

    origin_mm: Array
    column: Array
    row: Array
    normal: Array
    slices: int

    def points(self, slice_index: int) -> Array:
        """Return world coordinates in mm (row, column, 3) of the pixels of one slice."""
        steps = np.arange(SIZE_PX) * PIXEL_MM
        start = self.origin_mm + slice_index * SLICE_MM * self.normal
        return np.asarray(start + steps[:, None, None] * self.row + steps[None, :, None] * self.column)

    @property
    def frame(self) -> Array:
        """Affine (4, 4) to world mm from (column, row, slice): mm from the field's centre, mm, and slice index."""
        half_side = (SIZE_PX - 1) / 2 * PIXEL_MM
        middle = self.origin_mm + half_side * (self.column + self.row)
        frame = np.eye(4)
        frame[:3] = np.stack([self.column, self.row, self.normal * SLICE_MM, middle], 1)
        return frame

    @property
    def affine(self) -> Array:
        """Affine (4, 4) from array index (row, column, slice) to world mm."""
        affine = np.eye(4)
        affine[:3] = np.stack([self.row * PIXEL_MM, self.column * PIXEL_MM, self.normal * SLICE_MM, self.origin_mm], 1)
        return affine


def common_grid(cine: Stack, lge: Stack) -> CommonGrid | None:
    """Return the grid of the region that both scans cover, or None if they overlap by less than one slice."""
    column, row = image_axes(cine)
    normal = np.cross(column, row)
    centre = []
    for axis in (column, row, normal):
        spans = [_span(stack, axis, normal) for stack in (cine, lge)]
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        centre.append((low, high))
    lengths = [high - low for low, high in centre]
    slices = int(np.floor(lengths[2] / SLICE_MM + 1e-3))
    if slices < 1 or min(lengths[:2]) <= 0:
        return None
    middle = sum((low + high) / 2 * axis for (low, high), axis in zip(centre, (column, row, normal), strict=True))
    half_side = (SIZE_PX - 1) / 2 * PIXEL_MM
    origin = middle - half_side * (column + row) - (slices - 1) / 2 * SLICE_MM * normal
    return CommonGrid(np.asarray(origin), column, row, normal, slices)


def acquired_slice(k: Array, stack: Stack, grid: CommonGrid) -> Array:
    """Return the index of the nearest slice of the stack for each fractional slice index, in any shape."""
    along = np.sign(stack.affine[:3, 2] @ grid.normal)
    return np.asarray(np.rint(k - TIE * along).clip(0, stack.shape[2] - 1))


def inside(voxels: Iterable[Array], stack: Stack) -> NDArray[np.bool_]:
    """Return which fractional voxels lie in the stack, at most half a voxel beyond the outermost voxel centres.

    Args:
        voxels: i, j and k, with shapes that broadcast.
        stack: the scan's geometry.
    """
    i, j, k = ((along >= -0.5) & (along <= length - 0.5) for along, length in zip(voxels, stack.shape, strict=True))
    return np.asarray(i & j & k)


def sample(
    volumes: list[tuple[NDArray, int]], stack: Stack, grid: CommonGrid
) -> tuple[list[NDArray], NDArray[np.bool_]]:
    """Resample volumes of one stack to the grid.

    Args:
        volumes: pairs of an array (i, j, k) and the in-plane order: 1 linear for images, 0 nearest for labels.
        stack: geometry of the volumes.
        grid: the common grid.

    Returns:
        The resampled arrays (slice, row, column), 0 outside the stack, and the mask of pixels inside the stack.
    """
    volumes = [(np.asfortranarray(volume), order) for volume, order in volumes]
    sampled = [np.zeros((grid.slices, SIZE_PX, SIZE_PX), volume.dtype) for volume, _ in volumes]
    covered = np.zeros((grid.slices, SIZE_PX, SIZE_PX), bool)
    for index in range(grid.slices):
        i, j, k = _slice_voxels(stack, grid, index)
        covered[index] = inside((i, j, k), stack)
        voxels = (i, j, acquired_slice(k, stack, grid))
        for (volume, order), result in zip(volumes, sampled, strict=True):
            np.copyto(result[index], in_plane(volume, voxels, order), where=covered[index])
    return sampled, covered


def in_plane(volume: NDArray, voxels: Iterable[Array], order: int) -> NDArray:
    """Interpolate a volume (I, J, K) within its slices. Edge values are repeated beyond the edges.

    Args:
        volume: the volume. Fortran order, in which scans are stored, is fastest.
        voxels: i, j and k, with shapes that broadcast; k holds whole numbers.
        order: 1 for linear interpolation (images in floating point), 0 for nearest neighbour (labels).
    """
    values = volume.ravel(order="F")
    rows, columns = volume.shape[:2]
    i, j, k = (along.clip(0, length - 1) for along, length in zip(voxels, volume.shape, strict=True))
    begins = k.astype(np.intp) * (rows * columns)
    if order == 0:
        return values.take((i + 0.5).astype(np.intp) + ((j + 0.5).astype(np.intp) * rows + begins))
    first_i, first_j = (
        np.minimum(along.astype(np.intp), max(length - 2, 0)) for along, length in ((i, rows), (j, columns))
    )
    share_i, share_j = ((along - first).astype(volume.dtype) for along, first in ((i, first_i), (j, first_j)))
    here = first_i + (first_j * rows + begins)
    lines = []
    for line in (here, here + rows * (columns > 1)):
        value = values.take(line)
        step = values.take(line + (rows > 1))
        step -= value
        step *= share_i
        value += step
        lines.append(value)
    near, far = lines
    far -= near
    far *= share_j
    near += far
    return near


def _slice_voxels(stack: Stack, grid: CommonGrid, index: int) -> list[Array]:
    """Return the fractional voxels i, j and k of the pixels of a grid slice. They broadcast to (row, column).

    Each is the sum of a row term and a column term. It has length 1 along an axis on which it does not change.
    """
    to_voxels = np.linalg.inv(stack.affine) @ grid.affine
    steps = np.arange(SIZE_PX)
    voxels = []
    for by_row, by_column, by_slice, start in to_voxels[:3]:
        along_rows, along_columns = (
            (steps if abs(by) * SIZE_PX > STILL else steps[:1]) * by for by in (by_row, by_column)
        )
        voxels.append((start + by_slice * index + along_rows)[:, None] + along_columns)
    return voxels


def corner_distance_mm(shape: tuple[int, ...], affine: Affine, other: Affine) -> float:
    """Return the largest distance in mm between corresponding corners of a grid under two affines (4, 4)."""
    return least_corner_distance_mm(shape, affine, (other, other))


def least_corner_distance_mm(shape: tuple[int, ...], affine: Affine, bounds: Bounds) -> float:
    """Return the corner distance in mm to the nearest affine between two bounds, by least squares over the corners."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    apart, way = corners @ (affine - bounds[0]).T, corners @ (bounds[1] - bounds[0]).T
    length = float((way * way).sum())
    share = min(1.0, max(0.0, float((apart * way).sum()) / length)) if length else 0.0
    return float(np.linalg.norm(apart - share * way, axis=1).max())


def image_axes(cine: Stack) -> tuple[Array, Array]:
    """Return unit vectors along columns and rows: the cine's in-plane axes in anatomical order and direction."""
    first, second = (cine.affine[:3, axis] / cine.spacing_mm[axis] for axis in (0, 1))
    second = second - (second @ first) * first
    second /= np.linalg.norm(second)
    choices = [
        (a_sign * a, b_sign * b)
        for a, b in permutations((first, second))
        for a_sign, b_sign in product((1, -1), repeat=2)
    ]
    return max(choices, key=lambda axes: float(axes[0] @ COLUMN_DIRECTION + axes[1] @ ROW_DIRECTION))


def _span(stack: Stack, axis: Array, normal: Array) -> tuple[float, float]:
    """Return the interval in mm that a stack covers along an axis. For the normal, take the stack's central line."""
    if axis is normal:
        middle = [(stack.shape[0] - 1) / 2, (stack.shape[1] - 1) / 2]
        points = stack.world(np.array([[*middle, -0.5], [*middle, stack.shape[2] - 0.5]]))
    else:
        points = stack.corners()
    positions = points @ axis
    return float(positions.min()), float(positions.max())

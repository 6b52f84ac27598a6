"""From the common grid back to the grids that the scans were acquired on.

Every slice of a scan is given one slice of the common grid, of which it takes everything: the transform, the
segmentation, and the slice of the other scan that the model saw beside it. So what is overlaid belongs together, and
each result is interpolated once, from what was acquired or predicted.

With u the (column, row) of a point in mm from the field's middle, the transform of a slice is

    u_lge = A u_cine + t

and it moves nothing along the normal of the cine's slices; `world_transforms` gives the same as an affine of the world.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointnet.geometry import PIXEL_MM, SIZE_PX, SLICE_MM, in_mm
from jointnet.scans.grid import Array, CommonGrid, Stack, acquired_slice, in_plane, inside


@dataclass(frozen=True)
class Match:
    """What a slice of one scan is given.

    Attributes:
        grid_slice: number of the common grid's slice.
        other_slice: number of the other scan's slice that the common grid's slice shows.
        offset_mm: how far that one lies off along the cine's normal, in the middle of the field.
    """

    grid_slice: int
    other_slice: int
    offset_mm: float


@dataclass(frozen=True)
class Registration:
    """How two scans of a patient lie to each other.

    Attributes:
        cine: geometry of the cine scan.
        lge: geometry of the LGE scan.
        grid: their common grid.
        transforms: affines (S, 4, 4) of the world from cine to LGE, one for each slice of the common grid.
        cine_matches: what each slice of cine is given, None outside of what both scans show.
        lge_matches: the same of LGE.
    """

    cine: Stack
    lge: Stack
    grid: CommonGrid
    transforms: Array
    cine_matches: tuple[Match | None, ...]
    lge_matches: tuple[Match | None, ...]


def registration(cine: Stack, lge: Stack, grid: CommonGrid, theta: NDArray[np.floating]) -> Registration:
    """Give the registration of two scans from theta (S, 2, 3), which goes from cine to LGE on their common grid."""
    matches = (tuple(match_slices(grid, *stacks)) for stacks in ((cine, lge), (lge, cine)))
    return Registration(cine, lge, grid, world_transforms(grid, theta), *matches)


def world_transforms(grid: CommonGrid, theta: NDArray[np.floating]) -> Array:
    """Give affines (S, 4, 4) of the world (RAS, mm) that take a point of cine to the same anatomy's place in LGE."""
    planar = np.tile(np.eye(4), (len(theta), 1, 1))
    affine = in_mm(theta)
    planar[:, :2, :2], planar[:, :2, 3] = affine[:, :, :2], affine[:, :, 2]
    return np.asarray(grid.frame @ planar @ np.linalg.inv(grid.frame))


def match_slices(grid: CommonGrid, stack: Stack, other: Stack) -> list[Match | None]:
    """Give each slice of `stack` its slice of the common grid; None outside of what both scans show.

    Of the common grid's slices that show it, the one whose slice of `other` lies nearest to it. A slice that none
    shows, which happens where slices are denser than the grid's, takes the nearest within half a slice distance.
    """
    at_mm = np.arange(grid.slices) * SLICE_MM
    shown, heights = _along_normal(grid, stack)
    other_shown, other_heights = _along_normal(grid, other)
    matches: list[Match | None] = []
    for number, height in enumerate(heights):
        offsets = other_heights[other_shown] - height
        candidates = np.flatnonzero(shown == number)
        if len(candidates):
            best = min(
                candidates.tolist(), key=lambda s: (round(abs(offsets[s]), 3), round(abs(at_mm[s] - height), 3), s)
            )
        else:
            best = int(np.argmin(abs(at_mm - height)))
            if abs(at_mm[best] - height) > SLICE_MM / 2:
                matches.append(None)
                continue
        matches.append(Match(int(best), int(other_shown[best]), float(offsets[best])))
    return matches


def lge_voxels(pair: Registration) -> tuple[Array, NDArray[np.bool_]]:
    """Give where in LGE each voxel of cine's grid (I, J, K) takes its content from.

    Returns:
        Voxels of LGE (I, J, K, 3), fractional in the plane and an acquired slice through it, NaN in the slices without
        a match; and the mask (I, J, K) of those that lie in LGE.
    """
    voxels = np.full((*pair.cine.shape, 3), np.nan)
    taken = np.zeros(pair.cine.shape, bool)
    for number, match in enumerate(pair.cine_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.cine, number), match.grid_slice)
        found = pair.lge.voxels(_apply(pair.transforms[match.grid_slice], points))
        taken[:, :, number] = inside(np.moveaxis(found, -1, 0), pair.lge)
        within = abs(found[..., 2] - (pair.lge.shape[2] - 1) / 2) <= pair.lge.shape[2] / 2
        found[..., 2] = np.where(within, acquired_slice(found[..., 2], pair.lge, pair.grid), found[..., 2])
        voxels[:, :, number] = found
    return voxels, taken


def lge_on_cine(volume: NDArray, voxels: Array, taken: NDArray[np.bool_]) -> NDArray:
    """Resample LGE (I', J', K') onto cine's grid with what `lge_voxels` gives; what lies outside of it is 0."""
    result = np.zeros(taken.shape, volume.dtype)
    result[taken] = in_plane(volume, voxels[taken].T, order=1)
    return result


def displacement_mm(pair: Registration, voxels: Array) -> Array:
    """Give the displacement (I, J, K, 3) in mm of the world (RAS) from each voxel of cine to its place in LGE.

    Its in-plane part is the registration; through the plane it leads to the acquired slice that is taken. 0 in slices
    without a match.
    """
    result = np.zeros(voxels.shape)
    for number, match in enumerate(pair.cine_matches):
        if match is not None:
            result[:, :, number] = pair.lge.world(voxels[:, :, number]) - _slice_points(pair.cine, number)
    return result


def labels_on_cine(labels: NDArray, pair: Registration, moved: bool) -> NDArray:
    """Bring labels (S, row, column) of the common grid onto cine's grid (I, J, K), nearest neighbour, 0 outside.

    Args:
        labels: of cine, or of LGE as it lay before registration.
        pair: of the scans.
        moved: whether they are LGE's and are registered on the way.
    """
    result = np.zeros(pair.cine.shape, labels.dtype)
    for number, match in enumerate(pair.cine_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.cine, number), match.grid_slice)
        if moved:
            points = _apply(pair.transforms[match.grid_slice], points)
        field_mm = _apply(_inverse(pair.grid.frame), points)[..., :2]
        pixels = np.rint(field_mm / PIXEL_MM + (SIZE_PX - 1) / 2).astype(int)
        result[:, :, number] = _taken(labels[match.grid_slice], pixels[..., 1], pixels[..., 0])
    return result


def cine_labels_on_lge(labels: NDArray, pair: Registration) -> NDArray:
    """Bring labels (I, J, K) of cine's grid onto LGE's grid (I', J', K') by the inverse transforms, 0 outside."""
    result = np.zeros(pair.lge.shape, labels.dtype)
    for number, match in enumerate(pair.lge_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.lge, number), match.grid_slice)
        voxels = pair.cine.voxels(_apply(_inverse(pair.transforms[match.grid_slice]), points))
        pixels = np.rint(voxels[..., :2]).astype(int)
        result[:, :, number] = _taken(labels[:, :, match.other_slice], pixels[..., 0], pixels[..., 1])
    return result


def _along_normal(grid: CommonGrid, stack: Stack) -> tuple[NDArray[np.int_], Array]:
    """Look along the normal through the field's middle.

    Returns:
        The stack's slice (S,) that each slice of the grid shows there, and the heights in mm of the stack's slices
        above the grid's first.
    """
    middle = grid.frame[:3, 3]
    centres = middle + np.arange(grid.slices)[:, None] * SLICE_MM * grid.normal
    shown = acquired_slice(stack.voxels(centres)[:, 2], stack, grid).astype(int)
    first, further = stack.voxels(np.stack([middle, middle + grid.normal]))[:, 2]
    return shown, (np.arange(stack.shape[2]) - first) / (further - first)


def _slice_points(stack: Stack, number: int) -> Array:
    """Give world mm (I, J, 3) of the voxels of a slice."""
    i, j = np.meshgrid(np.arange(stack.shape[0]), np.arange(stack.shape[1]), indexing="ij")
    return stack.world(np.stack([i, j, np.full_like(i, number)], -1).astype(float))


def _on_grid_slice(grid: CommonGrid, points: Array, grid_slice: int) -> Array:
    """Move world points (..., 3) along the normal into a slice of the grid."""
    heights = (points - grid.frame[:3, 3]) @ grid.normal
    return np.asarray(points + (grid_slice * SLICE_MM - heights)[..., None] * grid.normal)


def _apply(affine: Array, points: Array) -> Array:
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def _inverse(affine: Array) -> Array:
    return np.asarray(np.linalg.inv(affine))


def _taken(plane: NDArray, first: NDArray[np.int_], second: NDArray[np.int_]) -> NDArray:
    """Give the elements of a plane at pairs of indices, 0 where they lie outside."""
    within = (first >= 0) & (first < plane.shape[0]) & (second >= 0) & (second < plane.shape[1])
    return np.where(within, plane[np.where(within, first, 0), np.where(within, second, 0)], 0).astype(plane.dtype)

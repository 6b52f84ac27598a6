"""Back-projection from the common grid to the grids on which the scans were acquired.

Every slice of a scan is matched to one slice of the common grid. It takes the transform, the segmentation and the
paired slice of the other scan from that grid slice. So overlaid results belong to the same prediction, and each result
is interpolated only once.

With u the (column, row) of a point in mm from the centre of the field of view, the transform of a slice is

    u_lge = A u_cine + t

It moves nothing along the normal of the cine slices. `world_transforms` returns it as an affine in world coordinates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SIZE_PX, SLICE_MM
from jointnet.geometry import in_mm
from jointnet.preparation.grid import Array, CommonGrid, Stack, acquired_slice, in_plane, inside


@dataclass(frozen=True)
class Match:
    """The match of a slice of one scan to the common grid.

    Attributes:
        grid_slice: index of the matched slice of the common grid.
        other_slice: index of the other scan's slice that this grid slice shows.
        offset_mm: distance of that slice along the cine's normal, at the centre of the field of view.
    """

    grid_slice: int
    other_slice: int
    offset_mm: float


@dataclass(frozen=True)
class Registration:
    """The registration of two scans of a patient.

    Attributes:
        cine: geometry of the cine scan.
        lge: geometry of the LGE scan.
        grid: their common grid.
        transforms: world affines (S, 4, 4) from cine to LGE, one for each slice of the common grid.
        cine_matches: the match of each cine slice, None outside the region that both scans cover.
        lge_matches: the same for each LGE slice.
    """

    cine: Stack
    lge: Stack
    grid: CommonGrid
    transforms: Array
    cine_matches: tuple[Match | None, ...]
    lge_matches: tuple[Match | None, ...]


def registration(cine: Stack, lge: Stack, grid: CommonGrid, theta: NDArray[np.floating]) -> Registration:
    """Return the registration of two scans from theta (S, 2, 3), which maps cine to LGE on their common grid."""
    matches = (tuple(match_slices(grid, *stacks)) for stacks in ((cine, lge), (lge, cine)))
    return Registration(cine, lge, grid, world_transforms(grid, theta), *matches)


def world_transforms(grid: CommonGrid, theta: NDArray[np.floating]) -> Array:
    """Return world affines (S, 4, 4) (RAS, mm) that map a point in cine to the same anatomy in LGE."""
    planar = np.tile(np.eye(4), (len(theta), 1, 1))
    affine = in_mm(theta)
    planar[:, :2, :2], planar[:, :2, 3] = affine[:, :, :2], affine[:, :, 2]
    return np.asarray(grid.frame @ planar @ np.linalg.inv(grid.frame))


def match_slices(grid: CommonGrid, stack: Stack, other: Stack) -> list[Match | None]:
    """Match each slice of `stack` to a slice of the common grid; None outside the region that both scans cover.

    If several grid slices show it, the match is the one whose slice of `other` is nearest. If none shows it, which
    happens if slices are closer than the grid's, the match is the nearest grid slice within half a slice distance.
    """
    at_mm = np.arange(grid.slices) * SLICE_MM
    slice_numbers, heights = _along_normal(grid, stack)
    other_slice_numbers, other_heights = _along_normal(grid, other)
    matches: list[Match | None] = []
    for number, height in enumerate(heights):
        offsets = other_heights[other_slice_numbers] - height
        candidates = np.flatnonzero(slice_numbers == number)
        if len(candidates):
            best = min(
                candidates.tolist(), key=lambda s: (round(abs(offsets[s]), 3), round(abs(at_mm[s] - height), 3), s)
            )
        else:
            best = int(np.argmin(abs(at_mm - height)))
            if abs(at_mm[best] - height) > SLICE_MM / 2:
                matches.append(None)
                continue
        matches.append(Match(int(best), int(other_slice_numbers[best]), float(offsets[best])))
    return matches


def lge_voxels(pair: Registration) -> tuple[Array, NDArray[np.bool_]]:
    """Return the LGE voxel coordinates from which each voxel of cine's grid (I, J, K) is resampled.

    Returns:
        LGE voxel coordinates (I, J, K, 3): fractional in plane, an acquired slice index through plane, NaN in slices
        without a match. And the mask (I, J, K) of the coordinates that lie inside LGE.
    """
    voxels = np.full((*pair.cine.shape, 3), np.nan)
    inside_lge = np.zeros(pair.cine.shape, bool)
    for number, match in enumerate(pair.cine_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.cine, number), match.grid_slice)
        in_lge = pair.lge.voxels(_apply(pair.transforms[match.grid_slice], points))
        inside_lge[:, :, number] = inside(np.moveaxis(in_lge, -1, 0), pair.lge)
        within = abs(in_lge[..., 2] - (pair.lge.shape[2] - 1) / 2) <= pair.lge.shape[2] / 2
        in_lge[..., 2] = np.where(within, acquired_slice(in_lge[..., 2], pair.lge, pair.grid), in_lge[..., 2])
        voxels[:, :, number] = in_lge
    return voxels, inside_lge


def lge_on_cine(volume: NDArray, voxels: Array, inside_lge: NDArray[np.bool_]) -> NDArray:
    """Resample LGE (I', J', K') onto cine's grid at the coordinates from `lge_voxels`. Voxels outside LGE are 0."""
    result = np.zeros(inside_lge.shape, volume.dtype)
    result[inside_lge] = in_plane(volume, voxels[inside_lge].T, order=1)
    return result


def displacement_mm(pair: Registration, voxels: Array) -> Array:
    """Return the displacement (I, J, K, 3) in world mm (RAS) from each cine voxel to its position in LGE.

    The in-plane part is the registration. The through-plane part leads to the acquired slice that is resampled. It is 0
    in slices without a match.
    """
    result = np.zeros(voxels.shape)
    for number, match in enumerate(pair.cine_matches):
        if match is not None:
            result[:, :, number] = pair.lge.world(voxels[:, :, number]) - _slice_points(pair.cine, number)
    return result


def labels_on_cine(labels: NDArray, pair: Registration, moved: bool) -> NDArray:
    """Resample labels (S, row, column) from the common grid to cine's grid (I, J, K), nearest neighbour, 0 outside.

    Args:
        labels: labels of cine, or of LGE before registration.
        pair: the registration of the scans.
        moved: whether to apply the registration, for labels of LGE.
    """
    result = np.zeros(pair.cine.shape, labels.dtype)
    for number, match in enumerate(pair.cine_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.cine, number), match.grid_slice)
        if moved:
            points = _apply(pair.transforms[match.grid_slice], points)
        field_mm = _apply(np.linalg.inv(pair.grid.frame), points)[..., :2]
        pixels = np.rint(field_mm / PIXEL_MM + (SIZE_PX - 1) / 2).astype(int)
        result[:, :, number] = _values_at(labels[match.grid_slice], pixels[..., 1], pixels[..., 0])
    return result


def cine_labels_on_lge(labels: NDArray, pair: Registration) -> NDArray:
    """Resample labels (I, J, K) from cine's grid to LGE's grid (I', J', K') with the inverse transforms, 0 outside."""
    result = np.zeros(pair.lge.shape, labels.dtype)
    for number, match in enumerate(pair.lge_matches):
        if match is None:
            continue
        points = _on_grid_slice(pair.grid, _slice_points(pair.lge, number), match.grid_slice)
        voxels = pair.cine.voxels(_apply(np.linalg.inv(pair.transforms[match.grid_slice]), points))
        pixels = np.rint(voxels[..., :2]).astype(int)
        result[:, :, number] = _values_at(labels[:, :, match.other_slice], pixels[..., 0], pixels[..., 1])
    return result


def _along_normal(grid: CommonGrid, stack: Stack) -> tuple[NDArray[np.int_], Array]:
    """Locate slices along the normal through the centre of the field of view.

    Returns:
        The index (S,) of the stack's slice that each grid slice shows there, and the heights in mm of the stack's
        slices above the first grid slice.
    """
    middle = grid.frame[:3, 3]
    centres = middle + np.arange(grid.slices)[:, None] * SLICE_MM * grid.normal
    slice_numbers = acquired_slice(stack.voxels(centres)[:, 2], stack, grid).astype(int)
    first, further = stack.voxels(np.stack([middle, middle + grid.normal]))[:, 2]
    return slice_numbers, (np.arange(stack.shape[2]) - first) / (further - first)


def _slice_points(stack: Stack, number: int) -> Array:
    """Return the world coordinates (I, J, 3) in mm of the voxels of a slice."""
    i, j = np.meshgrid(np.arange(stack.shape[0]), np.arange(stack.shape[1]), indexing="ij")
    return stack.world(np.stack([i, j, np.full_like(i, number)], -1).astype(float))


def _on_grid_slice(grid: CommonGrid, points: Array, grid_slice: int) -> Array:
    """Project world points (..., 3) along the normal onto a slice of the grid."""
    heights = (points - grid.frame[:3, 3]) @ grid.normal
    return np.asarray(points + (grid_slice * SLICE_MM - heights)[..., None] * grid.normal)


def _apply(affine: NDArray[np.floating], points: Array) -> Array:
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def _values_at(plane: NDArray, first: NDArray[np.int_], second: NDArray[np.int_]) -> NDArray:
    """Return the elements of a plane at pairs of indices, 0 for indices outside the plane."""
    within = (first >= 0) & (first < plane.shape[0]) & (second >= 0) & (second < plane.shape[1])
    return np.where(within, plane[np.where(within, first, 0), np.where(within, second, 0)], 0).astype(plane.dtype)

"""Surfaces of the LV pool, the myocardium, the RV pool and the scar in world mm, and their files.

Slices are 5 to 13 mm apart and pixels 0.75 to 1.4 mm wide, so the surface of a raw mask would have steps. The signed
distance to the mask's border is computed in each slice, smoothed within the slice, and interpolated linearly between
slices (shape-based interpolation: Raya and Udupa, IEEE Trans Med Imaging 1990; 9:32-42). The zero level of the result
is meshed by marching cubes (Lewiner et al., J Graphics Tools 2003; 8:1-15). A structure ends with a flat end, half a
slice distance beyond the last slice that shows it, because the stack has no information beyond.

Files are binary STL for printing and CAD, and VTP (VTK's XML PolyData) for ParaView and 3D Slicer. Both formats are
simple, so no mesh library is used: meshio does not support VTP, and VTK would add half a gigabyte. World coordinates
are RAS+ mm, as in the NIfTI files.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

from jointnet.scar.segments import Array, Labels
from jointnet.scar.threshold import Mask
from jointnet.structures import CLASS_INDEX

STEP_MM = 1.25
"""Largest distance between interpolated slices."""
SMOOTHING_MM = 0.75
"""Standard deviation of the Gaussian filter of the signed distance within a slice."""
EMPTY_MM = -1e3
"""Signed distance in slices in which the structure is absent."""
STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh whose normals point outwards.

    Attributes:
        points_mm: world coordinates (V, 3).
        triangles: indices of points (T, 3).
    """

    points_mm: Array
    triangles: NDArray[np.int64]

    @property
    def volume_ml(self) -> float:
        """The enclosed volume, by the divergence theorem."""
        first, second, third = np.moveaxis(self.points_mm[self.triangles] - self.points_mm.mean(0), 1, 0)
        return float(np.einsum("ij,ij->", first, np.cross(second, third)) / 6000)


def surface(mask: Mask, affine: Array, smoothing_mm: float = SMOOTHING_MM, step: int = 1) -> Mesh | None:
    """Return the surface of a mask, or None if there is none.

    Args:
        mask: mask (S, H, W).
        affine: (4, 4), from (slice, row, column) to world mm.
        smoothing_mm: smoothing of the outline within slices; parts thinner than about twice this value may vanish.
        step: number of pixels, and of interpolated slices, per cube; 2 gives a quarter of the triangles.
    """
    if not mask.any():
        return None
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    indices = np.nonzero(mask)
    corner = np.array([max(0, axis.min() - 3) for axis in indices])
    corner[0] = indices[0].min()
    end = np.array([axis.max() + 4 for axis in indices])
    end[0] = indices[0].max() + 1
    part = mask[tuple(slice(first, last) for first, last in zip(corner, end, strict=True))]
    part = np.pad(part, ((0, 0), (3, 3), (3, 3)))
    distance = np.stack([_signed_distance(plane, spacing_mm[1:], smoothing_mm) for plane in part])
    steps = max(1, 2 * int(np.ceil(spacing_mm[0] / STEP_MM / 2)))
    levels = _interpolated(distance, steps)
    if not (levels.min() < 0 < levels.max()):
        return None
    points, triangles, _, _ = marching_cubes(levels, 0.0, step_size=step, allow_degenerate=False)
    voxels = points / [steps, 1, 1] + corner - [1, 3, 3]
    world_mm = voxels @ affine[:3, :3].T + affine[:3, 3]
    mesh = Mesh(np.asarray(world_mm, np.float64), np.asarray(triangles, np.int64))
    return mesh if mesh.volume_ml >= 0 else Mesh(mesh.points_mm, mesh.triangles[:, ::-1])


def surfaces(labels: Labels, scar: Mask, affine: Array, step: int = 1) -> dict[str, Mesh]:
    """Return the existing surfaces of `lv`, `myo`, `rv` and `scar`. The scar is not smoothed within slices."""
    meshes = {name: surface(labels == index, affine, step=step) for name, index in CLASS_INDEX.items()}
    meshes["scar"] = surface(scar, affine, smoothing_mm=0.0, step=step)
    return {name: meshes[name] for name in ("lv", "myo", "rv", "scar") if meshes[name] is not None}  # type: ignore[misc]


def _signed_distance(plane: Mask, spacing_mm: Array, smoothing_mm: float) -> NDArray[np.float32]:
    """Return the distance in mm to the border of a slice's mask, positive inside; `EMPTY_MM` if the mask is empty."""
    if not plane.any():
        return np.full(plane.shape, EMPTY_MM, np.float32)
    inside, outside = (ndimage.distance_transform_edt(each, sampling=spacing_mm) for each in (plane, ~plane))
    half_pixel = float(np.mean(spacing_mm)) / 2
    distance = np.where(plane, inside - half_pixel, half_pixel - outside)
    return np.asarray(ndimage.gaussian_filter(distance, smoothing_mm / spacing_mm), np.float32)


def _interpolated(distance: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """Interpolate linearly between slices, with `steps` levels per slice distance and an empty slice at either end.

    Next to a slice with the structure, an empty slice gets minus the magnitude of that slice's distance. The zero level
    then lies halfway between them.
    """
    empty = np.full_like(distance[:1], EMPTY_MM)
    padded = np.concatenate([empty, distance, empty])
    shows = padded.max((1, 2)) > EMPTY_MM
    levels = np.full(((len(padded) - 1) * steps + 1, *distance.shape[1:]), EMPTY_MM, np.float32)
    for index in range(len(padded) - 1):
        below, above = padded[index], padded[index + 1]
        if not (shows[index] or shows[index + 1]):
            continue
        if not shows[index]:
            below = -np.abs(above)
        if not shows[index + 1]:
            above = -np.abs(below)
        for step in range(steps + 1):
            share = step / steps
            level = index * steps + step
            levels[level] = np.maximum(levels[level], (1 - share) * below + share * above)
    return levels


def write_stl(path: Path, mesh: Mesh) -> None:
    """Write binary STL: 80 bytes of header, the number of triangles, and 50 bytes per triangle."""
    corners = mesh.points_mm[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(corners), STL_TRIANGLE)
    records["normal"] = normals / np.where(lengths > 0, lengths, 1)
    records["corners"] = corners
    path.write_bytes(b"binary STL, mm, RAS+".ljust(80) + np.uint32(len(records)).tobytes() + records.tobytes())


def write_vtp(path: Path, mesh: Mesh) -> None:
    """Write VTK XML PolyData with base64-encoded arrays."""
    triangles = mesh.triangles.astype("<i8")
    offsets = np.arange(3, 3 * len(triangles) + 1, 3, dtype="<i8")
    lines = [
        '<?xml version="1.0"?>',
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<PolyData>",
        f'<Piece NumberOfPoints="{len(mesh.points_mm)}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0" '
        f'NumberOfPolys="{len(triangles)}">',
        "<Points>",
        _array("Points", "Float32", mesh.points_mm.astype("<f4"), ' NumberOfComponents="3"'),
        "</Points>",
        "<Polys>",
        _array("connectivity", "Int64", triangles),
        _array("offsets", "Int64", offsets),
        "</Polys>",
        "</Piece>",
        "</PolyData>",
        "</VTKFile>",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _array(name: str, kind: str, values: NDArray, more: str = "") -> str:
    """Return a DataArray element: its length in bytes as 64 bits, then the values, base64-encoded."""
    content = base64.b64encode(np.uint64(values.nbytes).astype("<u8").tobytes() + values.tobytes()).decode("ascii")
    return f'<DataArray type="{kind}" Name="{name}" format="binary"{more}>\n{content}\n</DataArray>'

"""Mesh files: binary STL for printing and CAD, VTP (VTK's XML PolyData) for ParaView and 3D Slicer.

Both formats are simple, so no mesh library is used: meshio does not support VTP, and VTK would add half a gigabyte.
World coordinates are RAS+ mm, as in the NIfTI files.
"""

import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jointnet.scar.surfaces import Mesh

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(path: Path, mesh: Mesh) -> None:
    """Write binary STL: 80 bytes of header, the number of triangles, and 50 bytes per triangle."""
    corners = mesh.points_mm[mesh.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(corners), _TRIANGLE)
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

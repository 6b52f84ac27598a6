"""The registration in file formats of other programs: JSON, ITK text transforms and a displacement field.

All of them map a point in cine to the same anatomy in LGE, as is needed to resample LGE onto cine's grid. ITK uses LPS
coordinates, NIfTI uses RAS.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointnet.data.grid import Array
from jointnet.predict.back_projection import Registration

FORMAT = 1
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Conversion between RAS and LPS, in both directions: the first two coordinates change their signs."""

EQUATION = "p_lge = M @ p_cine, p = (x, y, z, 1) in mm"
DIRECTION = (
    "from cine to LGE: M takes a point of a cine slice to the place in the LGE scan that shows the same anatomy, so "
    "lge_registered(p) = lge(M p). To move points of LGE onto cine use the inverse of M."
)
FRAMES = {
    "ras": "NIfTI's world, by the files' affines, mm: x towards the patient's right, y anterior, z superior",
    "lps": "ITK's and DICOM's world, mm: (-x, -y, z) of ras",
}


def in_lps(affine: Array) -> Array:
    """Convert an affine (..., 4, 4) from RAS to LPS coordinates, or the reverse."""
    return np.asarray(LPS @ affine @ LPS)


def transforms_content(pair: Registration, displacements_mm: dict[int, float]) -> dict[str, Any]:
    """Return the content of the JSON file: equation, direction, coordinate frames, and an entry for every cine slice.

    Args:
        pair: the registration.
        displacements_mm: displacement of the heart by slice of the common grid.
    """
    return {
        "format": FORMAT,
        "equation": EQUATION,
        "direction": DIRECTION,
        "frames": FRAMES,
        "through_plane": (
            "M moves nothing along the normal of the cine's slices. The registered image takes, for a cine slice, an "
            "acquired slice of LGE: lge_slice, which lies lge_offset_mm off along the normal in the middle of the "
            "field. displacement.nii.gz leads there."
        ),
        "slice_numbers": "from 0, along the third axis of the cine file and of the LGE file",
        "normal_ras": pair.grid.normal.tolist(),
        "slices": [_entry(pair, number, displacements_mm) for number in range(pair.cine.shape[2])],
    }


def transform_name(cine_slice: int) -> str:
    """Return the name of the ITK transform file of a cine slice."""
    return f"cine_slice_{cine_slice:03d}.tfm"


def itk_transform(affine: Array) -> str:
    """Return the text of an ITK transform file for an affine (4, 4) in RAS world coordinates, in mm."""
    matrix = in_lps(affine)
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    lines = (
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(repr(float(number)) for number in numbers),
        "FixedParameters: 0 0 0",
    )
    return "\n".join(lines) + "\n"


def itk_transforms(pair: Registration) -> dict[str, str]:
    """Return the texts of the ITK transform files by name, one for each cine slice that has a transform."""
    return {
        transform_name(number): itk_transform(pair.transforms[match.grid_slice])
        for number, match in enumerate(pair.cine_matches)
        if match is not None
    }


def itk_displacement(displacement_mm: Array) -> NDArray[np.float32]:
    """Convert displacements (I, J, K, 3) in RAS to the form that ITK reads from NIfTI: (I, J, K, 1, 3) in LPS."""
    return (displacement_mm * np.diag(LPS)[:3])[:, :, :, None, :].astype(np.float32)


def _entry(pair: Registration, number: int, displacements_mm: dict[int, float]) -> dict[str, Any]:
    match = pair.cine_matches[number]
    if match is None:
        return {"cine_slice": number, "covered": False}
    affine = pair.transforms[match.grid_slice]
    return {
        "cine_slice": number,
        "covered": True,
        "lge_slice": match.other_slice,
        "lge_offset_mm": round(match.offset_mm, 4),
        "common_grid_slice": match.grid_slice,
        "displacement_mm": round(displacements_mm[match.grid_slice], 4),
        "matrix_ras": affine.tolist(),
        "matrix_lps": in_lps(affine).tolist(),
        "itk_file": f"transforms/{transform_name(number)}",
    }

"""The affine of a NIfTI file from its header, and checks that reject affines that no scan has."""

import math
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Bounds = tuple[Affine, Affine]
"""Two affines that enclose the true one, given rounding. They differ by a rotation of at most 0.1 degrees."""

SPACING_MM = (0.05, 50.0)
LARGEST_EXTENT_MM = 1000.0
LARGEST_COORDINATE_MM = 10_000.0
LEAST_DETERMINANT = 0.1
"""Least determinant of the unit vectors along the axes: 1 if they are orthogonal, 0 if they lie in a plane."""
FORMS_TOLERANCE_MM = 0.1
"""Largest distance at a corner between qform and sform, beyond the rounding of the quaternion."""
QUATERNION_ROUNDING = 2 * math.sqrt(3) * float(np.finfo(np.float32).eps)
"""Uncertainty of 1 - b^2 - c^2 - d^2 of a quaternion whose b, c and d are rounded to single precision."""
OTHER_UNITS = {1: "metres", 3: "micrometres"}


@np.errstate(invalid="ignore")  # conversion of signalling NaNs to double
def placement(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...]) -> tuple[Affine, Bounds, list[str]]:
    """Return the affine (4, 4) of the sform, or else of the qform, its bounds, and the errors in the geometry.

    The bounds of an sform are the sform itself. Those of a qform follow from the rounding of its quaternion.
    """
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    nowhere = np.full((4, 4), np.nan)
    if not (by_sform or by_qform):
        error = f"{path}: must place its voxels in the world by a qform or an sform, both codes are 0"
        return nowhere, (nowhere, nowhere), [error]
    errors = []
    if (unit := int(header["xyzt_units"]) & 7) in OTHER_UNITS:
        errors.append(f"{path}: must measure lengths in mm, its header says {OTHER_UNITS[unit]}")
    sizes = np.array(header["pixdim"][1:4], float)
    sized = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not sized:
        errors.append(f"{path}: must have voxel sizes (pixdim) above 0 mm, got {sizes.tolist()}")
    sform = np.asarray(header.get_sform(), float) if by_sform else None
    qform = _qform(header) if by_qform and sized else None
    if by_qform and sized and qform is None:
        errors.append(f"{path}: must have a qform that is a rotation, got quatern_b, c, d {_quaternion(header)}")
    affine = qform if sform is None else sform
    if affine is None:
        return nowhere, (nowhere, nowhere), errors
    errors += _affine_errors(path, affine, shape)
    if sform is not None and qform is not None and not np.isfinite(qform).all():
        errors.append(
            f"{path}: must have a finite qform, got qoffset {qform[:3, 3].tolist()}; set its code to 0 where the sform "
            "is right"
        )
    if errors or qform is None:
        return affine, (affine, affine), errors
    bounds = _qform_bounds(header, qform)
    if sform is None:
        return affine, bounds, errors
    distance_mm = least_corner_distance_mm(shape, sform, bounds)
    if not distance_mm <= FORMS_TOLERANCE_MM:
        errors.append(
            f"{path}: must lie where both qform and sform say, but a corner lies {distance_mm:.2f} mm apart; set "
            "the code of the wrong one to 0"
        )
    return affine, (affine, affine), errors


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


def _qform(header: nib.Nifti1Header) -> Affine | None:
    """Return the affine of the qform, or None if its quaternion is invalid."""
    if header["pixdim"][0] not in (1, -1):
        header["pixdim"][0] = 1  # the format reads 0 as 1
    try:
        return np.asarray(header.get_qform(), float)
    except (ValueError, HeaderDataError):
        return None


def _qform_bounds(header: nib.Nifti1Header, qform: Affine) -> Bounds:
    """Return the two affines that bound the qform, given the rounding of the header's quaternion.

    A header holds b, c and d of a unit quaternion in single precision, and a = sqrt(1 - b^2 - c^2 - d^2). Near a
    rotation by 180 degrees, a is near 0 and accurate to 6e-4 only, which is 0.07 degrees; elsewhere it is accurate to
    1e-6.
    """
    quaternion = [float(header[f"quatern_{name}"]) for name in "bcd"]
    square = 1 - sum(value * value for value in quaternion)
    scale = np.array(header["pixdim"][1:4], float) * (1, 1, float(header["pixdim"][0]))
    least, most = qform.copy(), qform.copy()
    for affine, bound in ((least, square - QUATERNION_ROUNDING), (most, square + QUATERNION_ROUNDING)):
        affine[:3, :3] = quat2mat([math.sqrt(max(0.0, bound)), *quaternion]) * scale
    return least, most


def _quaternion(header: nib.Nifti1Header) -> list[float]:
    return [round(float(header[f"quatern_{name}"]), 4) for name in "bcd"]


def _affine_errors(path: Path, affine: Affine, shape: tuple[int, ...]) -> list[str]:
    """Return the errors in an affine. Shear is allowed if the affine is clearly invertible."""
    rows = [[float(f"{value:.6g}") for value in row] for row in affine[:3]]
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_COORDINATE_MM:
        return [f"{path}: must have an affine with finite values up to {LARGEST_COORDINATE_MM:g} mm, got {rows}"]
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    volume = float(np.prod(spacing_mm))
    if volume == 0 or abs(np.linalg.det(affine[:3, :3])) < LEAST_DETERMINANT * volume:
        return [f"{path}: must have an invertible affine, got {rows}"]
    errors = []
    if spacing_mm.min() < SPACING_MM[0] or spacing_mm.max() > SPACING_MM[1]:
        errors.append(
            f"{path}: must have voxels of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, got {spacing_mm.round(6).tolist()}"
        )
    elif (extent_mm := (spacing_mm * shape).max()) > LARGEST_EXTENT_MM:
        errors.append(f"{path}: must measure at most {LARGEST_EXTENT_MM:g} mm along an axis, got {extent_mm:.0f} mm")
    return errors

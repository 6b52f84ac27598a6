"""Where the voxels of a NIfTI file lie: the affine that its header gives, and what no scan's affine is."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

SPACING_MM = (0.05, 50.0)
LARGEST_EXTENT_MM = 1000.0
LARGEST_COORDINATE_MM = 10_000.0
LEAST_DETERMINANT = 0.1
"""Of the three unit vectors along the axes: 1 where they are orthogonal, 0 where they lie in a plane."""
FORMS_TOLERANCE_MM = 0.1
"""A qform is a rotation in single precision, so that it cannot repeat an sform exactly."""
OTHER_UNITS = {1: "metres", 3: "micrometres"}


def placement(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], list[str]]:
    """Give the affine of the sform, or else of the qform, and the faults in where the voxels lie."""
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    nowhere = np.full((4, 4), np.nan)
    if not (by_sform or by_qform):
        return nowhere, [f"{path}: must place its voxels in the world by a qform or an sform, both codes are 0"]
    faults = []
    if (unit := int(header["xyzt_units"]) & 7) in OTHER_UNITS:
        faults.append(f"{path}: must measure lengths in mm, its header says {OTHER_UNITS[unit]}")
    sizes = np.array(header["pixdim"][1:4], float)
    sized = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not sized:
        faults.append(f"{path}: must have voxel sizes (pixdim) above 0 mm, got {sizes.tolist()}")
    sform = np.asarray(header.get_sform(), float) if by_sform else None
    qform = _qform(header) if by_qform and sized else None
    if by_qform and sized and qform is None:
        faults.append(f"{path}: must have a qform that is a rotation, got quatern_b, c, d {_quaternion(header)}")
    affine = qform if sform is None else sform
    if affine is None:
        return nowhere, faults
    faults += _affine_faults(path, affine, shape)
    if not faults and sform is not None and qform is not None:
        distance_mm = corner_distance_mm(shape, sform, qform)
        if not distance_mm <= FORMS_TOLERANCE_MM:
            faults.append(
                f"{path}: must lie where both qform and sform say, but a corner lies {distance_mm:.2f} mm apart; set "
                "the code of the wrong one to 0"
            )
    return affine, faults


def corner_distance_mm(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Give the largest distance in mm between the corners of a grid under two affines (4, 4)."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """Give the affine of the qform; None where its quaternion is none."""
    if header["pixdim"][0] not in (1, -1):
        header["pixdim"][0] = 1  # as the format says of 0
    try:
        return np.asarray(header.get_qform(), float)
    except (ValueError, HeaderDataError):
        return None


def _quaternion(header: nib.Nifti1Header) -> list[float]:
    return [round(float(header[f"quatern_{name}"]), 4) for name in "bcd"]


def _affine_faults(path: Path, affine: NDArray[np.float64], shape: tuple[int, ...]) -> list[str]:
    """Name what no scan's affine has; shear is allowed as long as the axes are axes."""
    rows = [[float(f"{value:.6g}") for value in row] for row in affine[:3]]
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_COORDINATE_MM:
        return [f"{path}: must have an affine with finite values up to {LARGEST_COORDINATE_MM:g} mm, got {rows}"]
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    volume = float(np.prod(spacing_mm))
    if volume == 0 or abs(np.linalg.det(affine[:3, :3])) < LEAST_DETERMINANT * volume:
        return [f"{path}: must have an invertible affine, got {rows}"]
    faults = []
    if spacing_mm.min() < SPACING_MM[0] or spacing_mm.max() > SPACING_MM[1]:
        faults.append(
            f"{path}: must have voxels of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, got {spacing_mm.round(6).tolist()}"
        )
    elif (extent_mm := (spacing_mm * shape).max()) > LARGEST_EXTENT_MM:
        faults.append(f"{path}: must measure at most {LARGEST_EXTENT_MM:g} mm along an axis, got {extent_mm:.0f} mm")
    return faults

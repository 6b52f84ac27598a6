"""Scan geometry, in particular the precision of a qform near rotations by 180 degrees."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.quaternions import quat2mat
from scans import write_nifti
from scipy.spatial.transform import Rotation

from jointnet.data.folder import PatientFiles, check_headers
from jointnet.data.placement import FORMS_TOLERANCE_MM, corner_distance_mm, placement
from jointnet.data.scan_file import read_header
from jointnet.errors import DataError

SHAPE = (256, 256, 20)
SPACING_MM = (1.5, 1.5, 8.0)
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1)
angles_deg = st.one_of(st.floats(0, 180), st.floats(-9, 0).map(lambda power: 180 - 10**power))
"""Any, and as often such that are less than a degree away from a half turn, down to a billionth."""


def affine_of(axis, angle_deg, qfac=1):
    """Return the affine of a grid rotated about an axis. Its slices are stored backwards if `qfac` is -1."""
    turn = Rotation.from_rotvec(np.radians(angle_deg) * np.asarray(axis) / np.linalg.norm(axis))
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() * SPACING_MM * (1, 1, qfac)
    affine[:3, 3] = -120, -90, 40
    return affine


def header_of(sform, qform):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_qform(qform, 1)
    header.set_sform(sform, 1)
    return header


def errors_of(sform, qform):
    return placement(Path("scan.nii"), header_of(sform, qform), SHAPE)[2]


def in_single_precision(header, affine):
    """Write the quaternion into the header with single-precision rounding errors."""
    turn = Rotation.from_matrix(affine[:3, :3] / SPACING_MM)
    quaternion = turn.as_quat(canonical=True).astype(np.float32)[:3]
    for name, value, step in zip("bcd", quaternion, (1, -1, 1), strict=True):
        header[f"quatern_{name}"] = value + step * np.float32(np.spacing(value))
    return header


@settings(max_examples=150, deadline=None)
@given(axis=directions, angle_deg=angles_deg, qfac=st.sampled_from([1, -1]))
def test_forms_that_nibabel_writes_of_one_affine_agree_whatever_the_turn(axis, angle_deg, qfac):
    affine = affine_of(axis, angle_deg, qfac)
    read, bounds, errors = placement(Path("scan.nii"), header_of(affine, affine), SHAPE)
    assert errors == []
    assert corner_distance_mm(SHAPE, read, affine) < 1e-3
    assert bounds[0] is read is bounds[1], "an sform is sure"


@settings(max_examples=150, deadline=None)
@given(axis=directions, angle_deg=angles_deg, other=directions)
def test_forms_that_differ_by_a_degree_or_a_millimetre_are_refused_whatever_the_turn(axis, angle_deg, other):
    affine = affine_of(axis, angle_deg)
    turned, moved = affine.copy(), affine.copy()
    turned[:3, :3] = affine_of(other, 1.0)[:3, :3] / SPACING_MM @ affine[:3, :3]
    moved[:3, 3] += np.asarray(other) / np.linalg.norm(other)
    for sform in (turned, moved):
        (error,) = errors_of(sform, affine)
        assert "must lie where both qform and sform say" in error


def test_a_nearly_axial_stack_with_a_tilt_of_a_fifth_of_a_degree_is_sound(tmp_path):
    """LPS stacks are rotations by 180 degrees about the third axis; with a tilt, a of the quaternion is near 0."""
    axial, worst_mm = np.diag([-1.0, -1.0, 1.0]), 0.0
    for tilt_deg in np.linspace(0.0, 0.4, 41):
        for about in (0, 1, 2):
            affine = affine_of(np.eye(3)[about], tilt_deg)
            affine[:3, :3] = axial @ affine[:3, :3]
            write_nifti(tmp_path / "scan.nii", np.zeros(SHAPE, np.uint8), affine)
            read_header(tmp_path / "scan.nii")
            qform = nib.load(tmp_path / "scan.nii").header.get_qform()
            worst_mm = max(worst_mm, corner_distance_mm(SHAPE, affine, qform))
    assert worst_mm > 2 * FORMS_TOLERANCE_MM, "what the two forms say by themselves"


@pytest.mark.parametrize("angle_deg", [180.0, 179.99, 179.97, 179.9, 120.0])
def test_a_writer_may_lose_the_last_bits(angle_deg):
    affine = affine_of((0.2, 0.3, 0.9), angle_deg)
    header = in_single_precision(header_of(affine, affine), affine)
    assert placement(Path("scan.nii"), header, SHAPE)[2] == []


@pytest.mark.parametrize("angle_deg", [180.0, 179.99, 179.98, 179.97, 90.0])
def test_a_label_that_another_reader_s_qform_placed_is_on_its_image_s_grid(tmp_path, angle_deg):
    """The image has a qform only; its label has the same affine as an sform, from the format's formula."""
    affine = affine_of((0, 0, 1), angle_deg)
    scan, label, moved = (tmp_path / f"{name}.nii" for name in ("scan", "label", "moved"))
    write_nifti(scan, np.zeros(SHAPE, np.uint8), affine, codes=(0, 1))
    header = nib.load(scan).header
    quaternion = [float(header[f"quatern_{name}"]) for name in "bcd"]
    read_by_another = affine.copy()
    a = np.sqrt(max(0.0, 1 - np.square(quaternion).sum()))
    read_by_another[:3, :3] = quat2mat([a, *quaternion]) * SPACING_MM
    write_nifti(label, np.zeros(SHAPE, np.uint8), read_by_another, codes=(1, 0))
    assert check_headers([PatientFiles(1, scan, scan, label, label)]) == []
    read_by_another[0, 3] += 0.02
    write_nifti(moved, np.zeros(SHAPE, np.uint8), read_by_another, codes=(1, 0))
    (error,) = check_headers([PatientFiles(1, scan, scan, moved, None)])
    assert "0.02 mm off" in error


def test_no_quaternion_has_no_bounds(tmp_path):
    header = header_of(np.diag([2.0, 2, 8, 1]), np.diag([2.0, 2, 8, 1]))
    header["quatern_b"] = 1.1
    with pytest.raises(DataError, match="rotation"):
        raise DataError(placement(tmp_path, header, SHAPE)[2])


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan])
def test_a_qform_that_lies_nowhere_is_refused_beside_a_sound_sform(offset):
    header = header_of(affine_of((0, 0, 1), 20), affine_of((0, 0, 1), 20))
    header["qoffset_x"] = offset
    (error,) = placement(Path("scan.nii"), header, SHAPE)[2]
    assert "scan.nii: must have a finite qform" in error


@pytest.mark.parametrize("field", ["srow_z", "pixdim", "quatern_b"])
def test_a_signalling_nan_is_an_error_without_a_warning(field):
    header = header_of(np.diag([2.0, 2, 8, 1]), np.diag([2.0, 2, 8, 1]))
    content = bytearray(header.binaryblock)
    offset = header.template_dtype.fields[field][1] + (8 if field != "quatern_b" else 0)
    content[offset : offset + 4] = b"\x01\x00\x81\x7f"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert placement(Path("scan.nii"), nib.Nifti1Header(bytes(content), check=False), SHAPE)[2]

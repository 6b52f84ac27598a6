"""Reading a single file with any content: a valid scan or an error message, in bounded memory.

The second half is about geometry, in particular the precision of a qform near rotations by 180 degrees.
"""

import gzip
import os
import struct
import tracemalloc
import warnings
import zlib
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.quaternions import quat2mat
from scans import write_nifti
from scipy.spatial.transform import Rotation

from jointnet.errors import DataError
from jointnet.preparation.grid import corner_distance_mm
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.preparation.scan_file import (
    FORMS_TOLERANCE_MM,
    LARGEST_HEADER,
    LARGEST_VOXELS,
    placement,
    read_header,
    read_voxels,
)

SHAPE = (4, 5, 3)
DATA = np.arange(60, dtype=np.int16).reshape(SHAPE)
AFFINE = np.array([[0.0, -1.5, 0, 7], [1.5, 0, 0, -20], [0, 0, 8, 3], [0, 0, 0, 1]])


@pytest.fixture
def path(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", DATA, AFFINE)
    return tmp_path / "scan.nii.gz"


def read(path):
    return read_voxels(read_header(path))


def error_of(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as caught:
            read(path)
    (error,) = caught.value.errors
    assert error.startswith(f"{path}: must ")
    return error


def with_header(path, change, raw=None):
    """Rewrite the file with a changed header."""
    content = gzip.decompress(path.read_bytes())
    header = nib.Nifti1Header(content[:348], check=False)
    change(header)
    path.write_bytes(gzip.compress(header.binaryblock + (content[348:] if raw is None else raw)))


def put(**fields):
    """Return a function that changes header fields; a pair is an index and a value."""

    def change(header):
        for name, value in fields.items():
            field = np.array(header[name])
            if isinstance(value, tuple):
                field[value[0]] = value[1]
            header[name] = field if isinstance(value, tuple) else value

    return change


def test_a_sound_file_is_read_as_nibabel_reads_it(path):
    header = read_header(path)
    image = nib.load(path)
    assert header.shape == SHAPE
    np.testing.assert_array_equal(header.affine, image.affine)
    voxels = read_voxels(header)
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels, np.asarray(image.dataobj, np.float32))


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_usual_way_of_storing_is_read(tmp_path, kind, order, dtype, suffix):
    image = kind(DATA.astype(dtype), AFFINE, kind.header_class(endianness=order))
    image.header.set_slope_inter(0.5, 3.0)
    image.header.set_data_dtype(dtype)
    nib.save(image, tmp_path / f"scan{suffix}")
    loaded = np.asarray(nib.load(tmp_path / f"scan{suffix}").dataobj, np.float32)
    np.testing.assert_array_equal(read(tmp_path / f"scan{suffix}"), loaded)


def test_several_gzip_members_and_zeros_behind_them_are_one_stream(path):
    content = gzip.decompress(path.read_bytes())
    parts = [content[:100], b"", content[100:400], content[400:]]
    path.write_bytes(b"".join(gzip.compress(part) for part in parts) + bytes(1000))
    np.testing.assert_array_equal(read(path), DATA)


@pytest.mark.parametrize("code", ["sform", "qform"])
def test_a_qfac_of_0_counts_as_1(path, code):
    with_header(path, put(pixdim=(0, 0.0), **({"sform_code": 0} if code == "qform" else {})))
    np.testing.assert_allclose(read_header(path).affine, AFFINE, atol=1e-5)


def test_a_scale_of_0_is_no_scale(path):
    with_header(path, put(scl_slope=0.0, scl_inter=np.nan))
    np.testing.assert_array_equal(read(path), DATA)


HEADERS = {
    "no dimensions": (put(dim=(0, 0)), "dim[0] 0"),
    "too many dimensions": (put(dim=(0, 8)), "dim[0] 8"),
    "negative dimension": (put(dim=(1, -4)), "three axes"),
    "vectors of FreeSurfer": (put(dim=[3, -1, 1, 1, 1, 1, 1, 1], glmin=60), "three axes"),
    "more than can follow": (put(dim=(3, 30)), "truncated"),
    "more than a scan has": (put(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "32767"),
    "colours": (put(datatype=128), "real numbers"),
    "complex": (put(datatype=32), "real numbers"),
    "quadruple precision": (put(datatype=1536), "real numbers"),
    "unknown type": (put(datatype=9999), "9999"),
    "voxels in the header": (put(vox_offset=100.0), "from byte 352"),
    "voxels nowhere": (put(vox_offset=np.nan), "nan"),
    "voxels far off": (put(vox_offset=1e9), "1e+09"),
    "infinite summand": (put(scl_slope=1.0, scl_inter=np.inf), "scl_inter"),
    "no size of a voxel": (put(pixdim=(3, 0.0)), "pixdim"),
    "negative size": (put(pixdim=(1, -1.5)), "pixdim"),
    "size NaN, by qform": (put(pixdim=(2, np.nan), sform_code=0), "pixdim"),
    "no rotation": (put(quatern_b=2.0), "rotation"),
    "rotation NaN": (put(quatern_c=np.nan, sform_code=0), "finite"),
    "two places": (put(qoffset_x=9.0), "2.00 mm"),
    "metres": (put(xyzt_units=1), "metres"),
    "micrometres": (put(xyzt_units=3 | 8), "micrometres"),
    "too small": (put(qform_code=0, srow_x=[0, 1e-3, 0, 0]), "0.05"),
    "too large": (put(qform_code=0, srow_z=[0, 0, 60, 0]), "50"),
    "far away": (put(qform_code=0, srow_z=[0, 0, 8, 1e30]), "10000"),
    "two axes alike": (put(qform_code=0, srow_x=[1, 1, 0, 0], srow_y=[0, 0.01, 0, 0]), "invertible"),
    "not a file of its own": (put(magic=b"ni1"), "magic"),
    "no magic": (put(magic=b""), "magic"),
    "no header": (put(sizeof_hdr=1000), "no NIfTI header"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_breaks_a_rule_is_named(path, name):
    change, words = HEADERS[name]
    with_header(path, change)
    assert words in error_of(path)


def test_a_scan_of_more_than_a_metre_is_no_scan(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", np.zeros((2, 2, 40), np.int16), np.diag([1.0, 1, 30, 1]))
    assert "1200 mm" in error_of(tmp_path / "scan.nii.gz")


def test_errors_of_place_come_together(path):
    with_header(path, put(xyzt_units=1, pixdim=(1, 0.0), srow_x=[0, np.nan, 0, 0]))
    with pytest.raises(DataError) as caught:
        read_header(path)
    assert len(caught.value.errors) == 3


def test_single_precision_does_not_hold_all_of_double(tmp_path):
    write_nifti(tmp_path / "scan.nii.gz", np.full(SHAPE, 1e300), AFFINE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(read(tmp_path / "scan.nii.gz")).all()


def zeros(megabytes):
    return gzip.compress(bytes(megabytes * 1024 * 1024))


STREAMS = {
    "checksum": (lambda data: data[:-8] + struct.pack("<I", 7) + data[-4:], "data check"),
    "length": (lambda data: data[:-4] + struct.pack("<I", 7), "length check"),
    "no end": (lambda data: data[:-8], "ends early"),
    "half": (lambda data: data[: len(data) // 2], "NIfTI"),
    "letters behind": (lambda data: data + b"letters", "incorrect header"),
    "bomb behind": (lambda data: data + zeros(64), "much more follows"),
    "bomb": (lambda data: zeros(64), "no NIfTI header"),
    "bomb in the stream": (lambda data: gzip.compress(gzip.decompress(data) + bytes(2**26)), "much more follows"),
    "long name": (lambda data: data[:3] + b"\x08" + data[4:10] + b"x" * 500_000, "NIfTI"),
    "empty members": (lambda data: gzip.compress(b"") * 20_000 + data, "gzip members"),
    "another method": (lambda data: data[:2] + b"\x07" + data[3:], "compression method"),
    "not compressed": (gzip.decompress, "incorrect header"),
    "compressed twice": (gzip.compress, "no NIfTI header"),
    "nothing": (lambda data: b"", "no NIfTI header"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_damaged_stream_is_named_without_much_memory(path, name):
    damage, words = STREAMS[name]
    path.write_bytes(damage(path.read_bytes()))
    tracemalloc.start()
    try:
        assert words in error_of(path)
        assert tracemalloc.get_traced_memory()[1] < 12 * LARGEST_HEADER
    finally:
        tracemalloc.stop()


def test_a_claim_is_refused_before_memory_is_asked_for(tmp_path):
    """A scan may have 16 million voxels of 8 bytes, but not in a file of a few hundred bytes."""
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, DATA.astype(np.float64), AFFINE)
    with_header(path, put(dim=[3, 512, 512, 64, 1, 1, 1, 1]))
    assert LARGEST_VOXELS >= 512 * 512 * 64
    tracemalloc.start()
    try:
        assert "cannot hold" in error_of(path)
        assert tracemalloc.get_traced_memory()[1] < LARGEST_HEADER
    finally:
        tracemalloc.stop()


def test_an_uncompressed_file_that_goes_on_is_refused_by_its_size(tmp_path):
    write_nifti(tmp_path / "scan.nii", DATA, AFFINE)
    os.truncate(tmp_path / "scan.nii", 2**40)
    assert str(2**40) in error_of(tmp_path / "scan.nii")
    os.truncate(tmp_path / "scan.nii", 3 * LARGEST_HEADER)
    assert "must end" in error_of(tmp_path / "scan.nii")
    os.truncate(tmp_path / "scan.nii", 400)
    assert "truncated" in error_of(tmp_path / "scan.nii")


def test_extensions_and_free_text_are_not_looked_at(path, capfd):
    """nibabel's reader would seek by an extension's negative size, and would parse a CIFTI extension as XML."""
    image = nib.Nifti2Image(DATA, AFFINE)
    image.header["intent_code"] = 3001
    image.header["descrip"] = b"\x1b[31m\xff"
    extension = struct.pack("<ii", -16, 32) + b"<" * 24
    content = image.to_bytes()
    head = bytearray(content[:544])
    struct.pack_into("<q", head, 168, 544 + len(extension))
    head[540] = 1
    path.write_bytes(gzip.compress(bytes(head) + extension + content[544:]))
    np.testing.assert_array_equal(read(path), DATA)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["pipe", "folder", "absent", "loop"])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "scan.nii.gz"
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    if kind == "loop":
        path.symlink_to(path)
    error_of(path)


def test_a_file_that_may_not_be_read_is_named(path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    assert "Permission denied" in error_of(path)


@cache
def base():
    image = nib.Nifti1Image(DATA, AFFINE)
    image.set_qform(AFFINE, 1)
    return image.to_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(st.tuples(st.integers(0, 475), st.binary(min_size=1, max_size=8)), max_size=6),
    length=st.integers(0, 472),
    compressed=st.booleans(),
)
def test_any_bytes_in_the_header_give_a_scan_or_a_message(tmp_path_factory, edits, length, compressed):
    content = bytearray(base())
    for at, written in edits:
        content[at : at + len(written)] = written
    content = bytes(content if length > 460 else content[:length])
    path = tmp_path_factory.mktemp("any") / ("scan.nii.gz" if compressed else "scan.nii")
    path.write_bytes(zlib_gzip(content) if compressed else content)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            header = read_header(path)
            voxels = read_voxels(header)
        except DataError as error:
            assert error.errors
            assert all(line.startswith(f"{path}: must ") for line in error.errors)
        else:
            assert voxels.shape == header.shape
            assert np.isfinite(header.affine).all()
            np.linalg.inv(header.affine)


def zlib_gzip(content):
    engine = zlib.compressobj(1, zlib.DEFLATED, 31)
    return engine.compress(content) + engine.flush()


def test_how_a_file_is_compressed_and_named_must_agree(path, tmp_path):
    raw = tmp_path / "raw.nii.gz"
    raw.write_bytes(gzip.decompress(path.read_bytes()))
    error = error_of(raw)
    assert "compressed by gzip, as its name implies, but does not begin like one" in error
    assert error.endswith("compress it, or let its name end in .nii")
    for name in ("scan.nii", "scan.NII.GZ"):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert "it is compressed by gzip: let its name end in .gz" in error_of(tmp_path / name)


LARGE_SHAPE = (256, 256, 20)
LARGE_SPACING_MM = (1.5, 1.5, 8.0)
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1)
angles_deg = st.one_of(st.floats(0, 180), st.floats(-9, 0).map(lambda power: 180 - 10**power))
"""Any, and as often such that are less than a degree away from a half turn, down to a billionth."""


def affine_of(axis, angle_deg, qfac=1):
    """Return the affine of a grid rotated about an axis. Its slices are stored backwards if `qfac` is -1."""
    turn = Rotation.from_rotvec(np.radians(angle_deg) * np.asarray(axis) / np.linalg.norm(axis))
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() * LARGE_SPACING_MM * (1, 1, qfac)
    affine[:3, 3] = -120, -90, 40
    return affine


def header_of(sform, qform):
    header = nib.Nifti1Header()
    header.set_data_shape(LARGE_SHAPE)
    header.set_qform(qform, 1)
    header.set_sform(sform, 1)
    return header


def errors_of(sform, qform):
    return placement(Path("scan.nii"), header_of(sform, qform), LARGE_SHAPE)[2]


def in_single_precision(header, affine):
    """Write the quaternion into the header with single-precision rounding errors."""
    turn = Rotation.from_matrix(affine[:3, :3] / LARGE_SPACING_MM)
    quaternion = turn.as_quat(canonical=True).astype(np.float32)[:3]
    for name, value, step in zip("bcd", quaternion, (1, -1, 1), strict=True):
        header[f"quatern_{name}"] = value + step * np.float32(np.spacing(value))
    return header


@settings(max_examples=150, deadline=None)
@given(axis=directions, angle_deg=angles_deg, qfac=st.sampled_from([1, -1]))
def test_forms_that_nibabel_writes_of_one_affine_agree_whatever_the_turn(axis, angle_deg, qfac):
    affine = affine_of(axis, angle_deg, qfac)
    read, bounds, errors = placement(Path("scan.nii"), header_of(affine, affine), LARGE_SHAPE)
    assert errors == []
    assert corner_distance_mm(LARGE_SHAPE, read, affine) < 1e-3
    assert bounds[0] is read is bounds[1], "an sform is sure"


@settings(max_examples=150, deadline=None)
@given(axis=directions, angle_deg=angles_deg, other=directions)
def test_forms_that_differ_by_a_degree_or_a_millimetre_are_refused_whatever_the_turn(axis, angle_deg, other):
    affine = affine_of(axis, angle_deg)
    turned, moved = affine.copy(), affine.copy()
    turned[:3, :3] = affine_of(other, 1.0)[:3, :3] / LARGE_SPACING_MM @ affine[:3, :3]
    moved[:3, 3] += np.asarray(other) / np.linalg.norm(other)
    for sform in (turned, moved):
        (error,) = errors_of(sform, affine)
        assert "must have a qform and an sform that agree" in error


def test_a_nearly_axial_stack_with_a_tilt_of_a_fifth_of_a_degree_is_sound(tmp_path):
    """LPS stacks are rotations by 180 degrees about the third axis; with a tilt, a of the quaternion is near 0."""
    axial, worst_mm = np.diag([-1.0, -1.0, 1.0]), 0.0
    for tilt_deg in np.linspace(0.0, 0.4, 41):
        for about in (0, 1, 2):
            affine = affine_of(np.eye(3)[about], tilt_deg)
            affine[:3, :3] = axial @ affine[:3, :3]
            write_nifti(tmp_path / "scan.nii", np.zeros(LARGE_SHAPE, np.uint8), affine)
            read_header(tmp_path / "scan.nii")
            qform = nib.load(tmp_path / "scan.nii").header.get_qform()
            worst_mm = max(worst_mm, corner_distance_mm(LARGE_SHAPE, affine, qform))
    assert worst_mm > 2 * FORMS_TOLERANCE_MM, "what the two forms say by themselves"


@pytest.mark.parametrize("angle_deg", [180.0, 179.99, 179.97, 179.9, 120.0])
def test_a_writer_may_lose_the_last_bits(angle_deg):
    affine = affine_of((0.2, 0.3, 0.9), angle_deg)
    header = in_single_precision(header_of(affine, affine), affine)
    assert placement(Path("scan.nii"), header, LARGE_SHAPE)[2] == []


@pytest.mark.parametrize("angle_deg", [180.0, 179.99, 179.98, 179.97, 90.0])
def test_a_label_that_another_reader_s_qform_placed_is_on_its_image_s_grid(tmp_path, angle_deg):
    """The image has a qform only; its label has the same affine as an sform, from the format's formula."""
    affine = affine_of((0, 0, 1), angle_deg)
    scan, label, moved = (tmp_path / f"{name}.nii" for name in ("scan", "label", "moved"))
    write_nifti(scan, np.zeros(LARGE_SHAPE, np.uint8), affine, codes=(0, 1))
    header = nib.load(scan).header
    quaternion = [float(header[f"quatern_{name}"]) for name in "bcd"]
    read_by_another = affine.copy()
    a = np.sqrt(max(0.0, 1 - np.square(quaternion).sum()))
    read_by_another[:3, :3] = quat2mat([a, *quaternion]) * LARGE_SPACING_MM
    write_nifti(label, np.zeros(LARGE_SHAPE, np.uint8), read_by_another, codes=(1, 0))
    assert check_headers([PatientFiles("1", scan, scan, label, label)]) == []
    read_by_another[0, 3] += 0.02
    write_nifti(moved, np.zeros(LARGE_SHAPE, np.uint8), read_by_another, codes=(1, 0))
    (error,) = check_headers([PatientFiles("1", scan, scan, moved, None)])
    assert "0.02 mm off" in error


def test_no_quaternion_has_no_bounds(tmp_path):
    header = header_of(np.diag([2.0, 2, 8, 1]), np.diag([2.0, 2, 8, 1]))
    header["quatern_b"] = 1.1
    with pytest.raises(DataError, match="rotation"):
        raise DataError(placement(tmp_path, header, LARGE_SHAPE)[2])


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan])
def test_a_qform_that_lies_nowhere_is_refused_beside_a_sound_sform(offset):
    header = header_of(affine_of((0, 0, 1), 20), affine_of((0, 0, 1), 20))
    header["qoffset_x"] = offset
    (error,) = placement(Path("scan.nii"), header, LARGE_SHAPE)[2]
    assert "scan.nii: must have a finite qform" in error


@pytest.mark.parametrize("field", ["srow_z", "pixdim", "quatern_b"])
def test_a_signalling_nan_is_an_error_without_a_warning(field):
    header = header_of(np.diag([2.0, 2, 8, 1]), np.diag([2.0, 2, 8, 1]))
    content = bytearray(header.binaryblock)
    offset = header.template_dtype.fields[field][1] + (8 if field != "quatern_b" else 0)
    content[offset : offset + 4] = b"\x01\x00\x81\x7f"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert placement(Path("scan.nii"), nib.Nifti1Header(bytes(content), check=False), LARGE_SHAPE)[2]


SERIES = np.stack([DATA + 100 * frame for frame in range(5)], -1)


@pytest.mark.parametrize("name", ["series.nii.gz", "series.nii"])
@pytest.mark.parametrize("frame", [0, 3, 4])
def test_a_frame_of_a_series_is_the_volume_at_its_place(tmp_path, name, frame):
    write_nifti(tmp_path / name, SERIES, AFFINE)
    header = read_header(tmp_path / name, frame)
    assert (header.shape, header.frames) == (SHAPE, 5)
    np.testing.assert_array_equal(read_voxels(header), SERIES[..., frame])


SERIES_ERRORS = {
    "no frame stated": (SERIES, None, False, r"three axes, got shape \(4, 5, 3, 5\); .*\[cine\] frame"),
    "a frame too many": (SERIES, 5, False, r"frame 5, counted from 0, .*, got 5 frames"),
    "a frame before the first": (SERIES, -1, False, r"frame -1, counted from 0, .*, got 5 frames"),
    "a frame of a volume": (DATA, 1, False, r"frame 1, counted from 0, .*, got 1 frame$"),
    "a segmentation, no frame stated": (SERIES, None, True, "three axes"),
    "five axes": (SERIES[..., None].repeat(2, -1), 0, False, r"three axes, got shape \(4, 5, 3, 5, 2\)"),
}


@pytest.mark.parametrize("name", SERIES_ERRORS)
def test_a_frame_that_is_not_there_is_named(tmp_path, name):
    data, frame, label, words = SERIES_ERRORS[name]
    write_nifti(tmp_path / "scan.nii.gz", data, AFFINE)
    with pytest.raises(DataError, match=words):
        read_header(tmp_path / "scan.nii.gz", frame, label)


def test_a_volume_is_frame_0_and_a_segmentation_of_any_frame(path):
    np.testing.assert_array_equal(read_voxels(read_header(path, 0)), DATA)
    np.testing.assert_array_equal(read_voxels(read_header(path, 7, label=True)), DATA)


def test_one_frame_of_a_long_series_takes_the_memory_of_one(tmp_path):
    series = np.zeros((64, 64, 8, 200), np.int16)
    series[..., 120] = 7
    write_nifti(tmp_path / "long.nii.gz", series, AFFINE)
    header = read_header(tmp_path / "long.nii.gz", 120)
    tracemalloc.start()
    try:
        assert (read_voxels(header) == 7).all()
        assert tracemalloc.get_traced_memory()[1] < series.nbytes / 4
    finally:
        tracemalloc.stop()


def test_a_series_that_is_cut_off_after_the_frame_is_refused(tmp_path):
    write_nifti(tmp_path / "scan.nii", SERIES, AFFINE)
    content = (tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(content[:-2]))
    with pytest.raises(DataError, match="truncated"):
        read_voxels(read_header(tmp_path / "scan.nii.gz", 0))


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4096, 4096, 2, 2), f"at most {LARGEST_VOXELS} voxels,"), ((512, 512, 64, 9), "voxels in all frames")],
)
def test_a_series_has_a_largest_frame_and_a_largest_length(path, shape, words):
    with_header(path, put(dim=[4, *shape, 1, 1, 1]))
    with pytest.raises(DataError, match=words):
        read_header(path, 0)


@pytest.mark.parametrize("label", [SERIES, DATA], ids=["of all frames", "of one frame"])
def test_headers_of_a_series_and_its_segmentation_agree(tmp_path, label):
    for name, data in {"cine": SERIES, "lge": DATA, "label": label}.items():
        write_nifti(tmp_path / f"{name}.nii.gz", data, AFFINE)
    cine, lge, manual = (tmp_path / f"{name}.nii.gz" for name in ("cine", "lge", "label"))
    assert check_headers([PatientFiles("1", cine, lge, manual, cine_frame=2)]) == []
    error, *_ = check_headers([PatientFiles("1", cine, lge, manual, cine_frame=9)])
    assert error.startswith(f"{cine}: must have frame 9")

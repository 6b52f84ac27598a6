"""Written volumes and transform files, read and applied by nibabel and SimpleITK."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scans import CENTRE_MM, affine_about, axes, transposed, write_nifti
from scans import pair as scan_pair

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.predict.back_projection import displacement_mm, lge_on_cine, lge_voxels, registration
from jointnet.predict.output_files import (
    as_label_values,
    as_stored,
    in_lps,
    intensities,
    itk_displacement,
    itk_transform,
    itk_transforms,
    nifti_bytes,
    transforms_content,
)
from jointnet.preparation.grid import Stack, common_grid

SHAPE = (12, 10, 3)


def scan(tmp_path, codes=(1, 1), dtype=np.int16):
    affine = affine_about(axes(10, 5), (1.5, 1.25, 8.0), SHAPE)
    write_nifti(tmp_path / "scan.nii.gz", np.arange(360).reshape(SHAPE).astype(dtype), affine, codes)
    return nib.load(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (2, 0)])
def test_a_written_file_lies_where_the_scan_lies(tmp_path, codes):
    like = scan(tmp_path, codes)
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (tmp_path / "out.nii.gz").write_bytes(nifti_bytes(volume, like))
    out = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(out.dataobj), volume)
    np.testing.assert_array_equal(out.affine, like.affine)
    assert out.header.get_xyzt_units()[0] == "mm"
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == codes
    first, second = (SimpleITK.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "out.nii.gz"))
    for of in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        assert getattr(first, of)() == getattr(second, of)()


def test_no_text_of_a_header_is_copied(tmp_path):
    like = scan(tmp_path)
    for name in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        like.header[name] = b"DOE^JANE"
    like.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    assert b"DOE" in like.to_bytes()
    assert b"DOE" not in gzip.decompress(nifti_bytes(np.zeros(SHAPE, np.int16), like))


def test_the_same_content_gives_the_same_bytes(tmp_path):
    like = scan(tmp_path)
    assert nifti_bytes(np.ones(SHAPE, np.int16), like) == nifti_bytes(np.ones(SHAPE, np.int16), like)


@pytest.mark.parametrize(
    "stored, expected, values",
    [
        (np.int16, np.int16, [0, 2, 32767]),
        (np.uint8, np.uint8, [0, 2, 255]),
        (np.uint16, np.uint16, [0, 2, 65535]),
        (np.float32, np.float32, [-0.4, 1.6, 1e6]),
        (np.float64, np.float32, [-0.4, 1.6, 1e6]),
        (np.int32, np.float32, [-0.4, 1.6, 1e6]),
    ],
)
def test_resampled_intensities_have_the_scan_s_own_type(tmp_path, stored, expected, values):
    result = as_stored(np.array([-0.4, 1.6, 1e6], np.float32), scan(tmp_path, dtype=stored))
    assert result.dtype == expected
    np.testing.assert_allclose(result, values)


def test_a_scan_with_a_scale_factor_gives_floats(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2), np.eye(4), header)
    nib.save(image, tmp_path / "scaled.nii.gz")
    like = nib.load(tmp_path / "scaled.nii.gz")
    assert like.dataobj.slope not in (0, 1)
    assert as_stored(np.array([0.25], np.float32), like).tolist() == [0.25]
    np.testing.assert_allclose(intensities(like), image.get_fdata(), atol=1e-4)


def test_codes_become_the_challenge_s_values():
    assert as_label_values(np.array([0, 1, 2, 3], np.uint8)).tolist() == [0, 200, 500, 600]


TURNED = np.array([[0.0, -1.0, 0.0, 10.0], [1.0, 0.0, 0.0, 20.0], [0.0, 0.0, 1.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
SKEW = np.array([[1.05, 0.08], [-0.1, 0.95]])


def test_lps_is_ras_with_two_signs_changed():
    # RAS (1, 2, 3) is mapped to (-2 + 10, 1 + 20, 33), so LPS (-1, -2, 3) to (-8, -21, 33)
    assert (in_lps(TURNED) @ [-1, -2, 3, 1]).tolist() == [-8, -21, 33, 1]
    np.testing.assert_array_equal(in_lps(in_lps(TURNED)), TURNED)


def test_simpleitk_reads_the_text_and_moves_a_known_point(tmp_path):
    path = tmp_path / "turned.tfm"
    path.write_text(itk_transform(TURNED))
    read = SimpleITK.ReadTransform(str(path))
    np.testing.assert_allclose(read.TransformPoint((-1.0, -2.0, 3.0)), (-8, -21, 33), atol=1e-12)


def registered(tmp_path, tilt=False, change=lambda scan: scan):
    """Write a pair of scans, register them by known affines, and return all results."""
    cine, lge = scan_pair(slices=3)
    cine = change(cine)
    affine = lge.affine.copy()
    if tilt:
        angle = np.deg2rad(4)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        affine[:3, :3] = turn @ affine[:3, :3]
        affine[:3, 3] = CENTRE_MM + turn @ (affine[:3, 3] - CENTRE_MM)
    write_nifti(tmp_path / "cine.nii.gz", cine.image, cine.affine)
    write_nifti(tmp_path / "lge.nii.gz", lge.image, affine)
    scans = nib.load(tmp_path / "cine.nii.gz"), nib.load(tmp_path / "lge.nii.gz")
    stacks = [Stack(np.asarray(scan.affine, float), scan.shape) for scan in scans]
    grid = common_grid(*stacks)
    theta = np.zeros((grid.slices, 2, 3))
    theta[:, :, :2] = SKEW
    theta[:, :, 2] = np.array([5.0, -4.0]) / HALF_EXTENT_MM + np.linspace(0, 0.03, grid.slices)[:, None]
    pair = registration(*stacks, grid, theta)
    voxels, taken = lge_voxels(pair)
    image = lge_on_cine(lge.image, voxels, taken)
    (tmp_path / "displacement.nii.gz").write_bytes(
        nifti_bytes(itk_displacement(displacement_mm(pair, voxels)), scans[0])
    )
    (tmp_path / "registered.nii.gz").write_bytes(nifti_bytes(image, scans[0]))
    return pair, image


def read(path):
    return SimpleITK.ReadImage(str(path))


@pytest.mark.parametrize("tilt", [False, True])
@pytest.mark.parametrize("change", [lambda scan: scan, transposed])
def test_the_displacement_field_gives_the_registered_image_in_simpleitk(tmp_path, tilt, change):
    pair, _ = registered(tmp_path, tilt, change)
    covered = [number for number, match in enumerate(pair.cine_matches) if match is not None]
    cine, lge = read(tmp_path / "cine.nii.gz"), read(tmp_path / "lge.nii.gz")
    field = SimpleITK.ReadImage(str(tmp_path / "displacement.nii.gz"), SimpleITK.sitkVectorFloat64)
    moved = SimpleITK.Resample(
        lge, cine, SimpleITK.DisplacementFieldTransform(field), SimpleITK.sitkLinear, 0.0, SimpleITK.sitkFloat32
    )
    written = read(tmp_path / "registered.nii.gz")
    assert written.GetSize() == cine.GetSize()
    for of in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(written, of)(), getattr(cine, of)(), atol=1e-9)
    assert len(covered) >= 2
    difference = abs(SimpleITK.GetArrayFromImage(moved) - SimpleITK.GetArrayFromImage(written))[covered]
    assert SimpleITK.GetArrayFromImage(written).std() > 50
    assert np.mean(difference > 0.05) < 2e-4, "but for places on LGE's very edge"


def test_a_slice_s_transform_gives_its_slice_where_lge_is_the_same_through_the_plane(tmp_path):
    pair, image = registered(tmp_path)
    lge_scan = nib.load(tmp_path / "lge.nii.gz")
    constant = np.repeat(np.asarray(lge_scan.dataobj)[:, :, :1], lge_scan.shape[2], axis=2)
    write_nifti(tmp_path / "lge.nii.gz", constant, lge_scan.affine)
    voxels, taken = lge_voxels(pair)
    image = lge_on_cine(constant, voxels, taken)
    cine, lge = read(tmp_path / "cine.nii.gz"), read(tmp_path / "lge.nii.gz")
    texts = itk_transforms(pair)
    assert list(texts) == ["cine_slice_000.tfm", "cine_slice_001.tfm", "cine_slice_002.tfm"]
    for number, (name, text) in enumerate(texts.items()):
        (tmp_path / name).write_text(text)
        transform = SimpleITK.ReadTransform(str(tmp_path / name))
        moved = SimpleITK.GetArrayFromImage(SimpleITK.Resample(lge, cine, transform, SimpleITK.sitkLinear, 0.0))[
            number
        ].T
        assert np.mean(abs(moved - image[:, :, number]) > 0.05) < 1e-3


def test_the_json_s_matrices_are_the_itk_files(tmp_path):
    pair, _ = registered(tmp_path)
    content = transforms_content(pair, dict.fromkeys(range(pair.grid.slices), 3.0))
    assert json.loads(json.dumps(content)) == content
    assert {"equation", "direction", "frames"} <= set(content)
    for entry in content["slices"]:
        (tmp_path / "one.tfm").write_text(itk_transforms(pair)[entry["itk_file"].removeprefix("transforms/")])
        transform = SimpleITK.ReadTransform(str(tmp_path / "one.tfm"))
        point = np.array([12.0, 34.0, -56.0, 1.0])
        lps = np.array(entry["matrix_lps"]) @ point
        np.testing.assert_allclose(transform.TransformPoint(point[:3].tolist()), lps[:3], atol=1e-9)
        ras = np.array(entry["matrix_ras"]) @ (point * [-1, -1, 1, 1])
        np.testing.assert_allclose(ras[:3] * [-1, -1, 1], lps[:3], atol=1e-9)

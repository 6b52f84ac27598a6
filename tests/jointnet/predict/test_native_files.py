import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scans import affine_about, axes, write_nifti

from jointnet.predict.native_files import as_file_values, as_stored, intensities, nifti_bytes

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
    assert as_file_values(np.array([0, 1, 2, 3], np.uint8)).tolist() == [0, 200, 500, 600]

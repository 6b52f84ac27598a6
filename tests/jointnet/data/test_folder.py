import gzip
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from scans import file_paths, pair, write_nifti, write_patient

from jointnet.data.challenge_files import challenge_file_name, challenge_files
from jointnet.data.folder import find_patients, scan_folder, select
from jointnet.errors import DataError
from jointnet.preparation import scan_file
from jointnet.preparation.grid import corner_distance_mm
from jointnet.preparation.patient_files import check_headers
from jointnet.preparation.scan_file import LARGEST_VOXELS, volume_shape

SHAPE = (4, 5, 3)


def write_blank(root, number, subfolders=False, shape=SHAPE, affine=None):
    """Write four files of zeros for tests that read names and headers only."""
    paths = file_paths(root, number, subfolders)
    for path in paths.values():
        write_nifti(path, np.zeros(shape, np.int16), np.eye(4) if affine is None else affine)
    return paths


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(number, suffix=".nii.gz"):
    return [f"patient{number}_{name}{suffix}" for name in ("C0", "LGE", "C0_manual", "LGE_manual")]


@pytest.mark.parametrize("subfolders", [False, True])
def test_both_layouts_are_found_in_natural_order(tmp_path, subfolders):
    expected = {str(number): write_blank(tmp_path, number, subfolders) for number in (10, 2, 1)}
    found = find_patients(tmp_path)
    assert list(found) == ["1", "2", "10"]
    for name, files in found.items():
        assert files.patient == name
        assert {role: getattr(files, role) for role in expected[name]} == expected[name]


def test_lge_labels_may_lie_in_two_folders_of_the_challenge(tmp_path):
    touch(tmp_path, *(f"c0t2lge/{name}" for number in (1, 2) for name in names(number)[:2]))
    touch(tmp_path, *(f"c0gt/{names(number)[2]}" for number in (1, 2)))
    touch(tmp_path, f"lgegt/{names(1)[3]}", f"lge_test_gt/{names(2)[3]}")
    found = find_patients(tmp_path)
    assert found["1"].lge_label == tmp_path / "lgegt/patient1_LGE_manual.nii.gz"
    assert found["2"].lge_label == tmp_path / "lge_test_gt/patient2_LGE_manual.nii.gz"


def test_uncompressed_files_are_found_and_other_names_ignored(tmp_path):
    touch(tmp_path, *names(3, ".nii"))
    touch(tmp_path, "patient3_T2.nii.gz", "patient3_T2_manual.nii.gz", "patient3_C0.nii.gz.part", "truth.json")
    touch(tmp_path, "patient_C0.nii.gz", "patient4_C0_auto.nii.gz", "apatient5_C0.nii.gz", "patient6_c0.nii.gz")
    (tmp_path / "patient7_C0.nii.gz").mkdir()
    assert list(find_patients(tmp_path)) == ["3"]


def test_t2_alone_makes_no_patient(tmp_path):
    touch(tmp_path, "patient1_T2.nii.gz")
    with pytest.raises(DataError, match="patientN_C0"):
        find_patients(tmp_path)


@pytest.mark.parametrize("kind", ["absent", "empty", "file"])
def test_no_folder_and_no_patients_are_named(tmp_path, kind):
    path = tmp_path / "scans"
    if kind == "empty":
        path.mkdir()
    if kind == "file":
        path.touch()
    with pytest.raises(DataError) as caught:
        find_patients(path)
    assert len(caught.value.errors) == 1
    assert str(path) in caught.value.errors[0]


def test_every_missing_file_and_duplicate_is_reported_at_once(tmp_path):
    touch(tmp_path, *names(1))
    touch(tmp_path, *names(2)[:3])
    touch(tmp_path, names(7)[1])
    touch(tmp_path, "again/patient1_LGE.nii.gz")
    with pytest.raises(DataError) as caught:
        find_patients(tmp_path)
    errors = "\n".join(caught.value.errors)
    assert len(caught.value.errors) == 3
    assert str(tmp_path / "again/patient1_LGE.nii.gz") in errors
    assert "patient2_LGE_manual.nii.gz" in errors
    assert all(name in errors for name in ("patient7_C0.nii.gz", "patient7_C0_manual.nii.gz"))
    assert "patient2_C0.nii.gz" not in errors


def test_compressed_and_uncompressed_twins_are_duplicates(tmp_path):
    touch(tmp_path, *names(1), "patient1_C0.nii")
    with pytest.raises(DataError, match="one cine file"):
        find_patients(tmp_path)


@pytest.mark.parametrize("role", ["cine", "lge", "cine_label", "lge_label"])
def test_file_name_is_what_find_patients_finds(tmp_path, role):
    assert file_paths(tmp_path, 12)[role].name == challenge_file_name("12", role)


def test_select_keeps_the_wanted_order_and_names_who_is_missing(tmp_path):
    touch(tmp_path, *names(1), *names(2), *names(3))
    found = find_patients(tmp_path)
    assert [files.patient for files in select(found, ("3", "1"))] == ["3", "1"]
    with pytest.raises(DataError, match=r"\[8, 9\].*\[1, 2, 3\]"):
        select(found, ("8", "2", "9"))


def test_sound_headers_have_no_error(tmp_path, scan_folder):
    assert check_headers(find_patients(scan_folder).values()) == []
    write_blank(tmp_path, 1, shape=(4, 5, 3, 1))
    assert check_headers(find_patients(tmp_path).values()) == []


def test_an_affine_that_differs_by_rounding_only_is_the_image_s_grid(tmp_path):
    paths = write_blank(tmp_path, 1)
    moved = np.eye(4)
    moved[0, 3] = 5e-3
    write_nifti(paths["cine_label"], np.zeros(SHAPE, np.int16), moved)
    assert check_headers(find_patients(tmp_path).values()) == []


def other_shape(path):
    write_nifti(path, np.zeros((4, 5, 4), np.int16), np.eye(4))


def other_affine(path):
    affine = np.eye(4)
    affine[1, 3] = 2.5
    write_nifti(path, np.zeros(SHAPE, np.int16), affine)


def four_axes(path):
    write_nifti(path, np.zeros((*SHAPE, 2), np.int16), np.eye(4))


def two_axes(path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5), np.int16), np.eye(4)), path)


def placed_nowhere(path):
    write_nifti(path, np.zeros(SHAPE, np.int16), np.eye(4), codes=(0, 0))


def singular(path):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4))
    image.header.set_sform(np.diag([1.0, 1, 0, 1]), code=1)
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), path)


def nan_affine(path):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4))
    image.header["srow_x"][0] = np.nan
    image.header["sform_code"] = 1
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), path)


def no_nifti(path):
    path.write_bytes(gzip.compress(b"this is a letter, not a scan" * 40))


def no_gzip(path):
    path.write_bytes(b"neither gzip nor NIfTI")


def nothing(path):
    path.write_bytes(b"")


def cut_header(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:200]))


def another_format(path):
    nib.save(nib.MGHImage(np.zeros(SHAPE, np.float32), np.eye(4)), path.with_name("scan.mgz"))
    shutil.move(path.with_name("scan.mgz"), path)


def claimed(path, header, shape):
    header["dim"][1:4] = shape
    header.set_sform(np.eye(4), code=1)
    path.write_bytes(gzip.compress(header.binaryblock + bytes(600)))


def giant(path):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header["vox_offset"] = 352
    claimed(path, header, (32000, 32000, 32000))


ERRORS = {
    "other_shape": (other_shape, "image's grid"),
    "other_affine": (other_affine, "2.50 mm"),
    "four_axes": (four_axes, "three axes"),
    "two_axes": (two_axes, "three axes"),
    "placed_nowhere": (placed_nowhere, "qform"),
    "singular": (singular, "invertible"),
    "nan_affine": (nan_affine, "affine"),
    "no_nifti": (no_nifti, "NIfTI"),
    "no_gzip": (no_gzip, "NIfTI"),
    "nothing": (nothing, "NIfTI"),
    "cut_header": (cut_header, "NIfTI"),
    "another_format": (another_format, "NIfTI"),
    "giant": (giant, "32000"),
}


@pytest.mark.parametrize("role", ["cine_label", "lge_label"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_header_error_names_the_file_and_the_rule(tmp_path, error, role):
    paths = write_blank(tmp_path, 1)
    damage, words = ERRORS[error]
    damage(paths[role])
    errors = check_headers(find_patients(tmp_path).values())
    assert len(errors) == 1
    assert errors[0].startswith(f"{paths[role]}: must ")
    assert words in errors[0]


def test_the_errors_of_all_patients_come_together(tmp_path):
    damaged = {}
    for number, error in enumerate(ERRORS, start=1):
        paths = write_blank(tmp_path, number)
        ERRORS[error][0](paths["lge_label"])
        damaged[number] = paths["lge_label"]
    errors = check_headers(find_patients(tmp_path).values())
    assert [error.split(": ")[0] for error in errors] == [str(path) for path in damaged.values()]


def test_both_files_of_a_pair_may_be_at_error(tmp_path):
    paths = write_blank(tmp_path, 1)
    no_nifti(paths["cine"])
    four_axes(paths["cine_label"])
    errors = check_headers(find_patients(tmp_path).values())
    assert [error.split(": ")[0] for error in errors] == [str(paths["cine"]), str(paths["cine_label"])]


@pytest.mark.parametrize("shape", [(2**21, 2**21, 2**21), (2**32, 2**32, 1), (2**32, 2**31, 2)])
def test_a_claim_whose_product_overflows_64_bits_is_refused_too(tmp_path, shape):
    paths = write_blank(tmp_path, 1)
    header = nib.Nifti2Header()
    header.set_data_shape(SHAPE)
    header["vox_offset"] = 544
    for role in ("cine", "cine_label"):
        claimed(paths[role], header, shape)
    errors = check_headers(find_patients(tmp_path).values())
    assert [error.split(": ")[0] for error in errors] == [str(paths["cine"]), str(paths["cine_label"])]


def test_headers_are_checked_without_reading_a_voxel(tmp_path, monkeypatch):
    write_patient(tmp_path, 1, *pair())
    real, asked = scan_file.file_content, []

    def noted(path, most, complete=True):
        asked.append(most)
        return real(path, most, complete)

    monkeypatch.setattr(scan_file, "file_content", noted)
    monkeypatch.setattr(scan_file, "read_voxels", lambda _: pytest.fail("voxels were read"))
    monkeypatch.setattr(nib, "load", lambda *_, **__: pytest.fail("nibabel was asked"))
    assert check_headers(find_patients(tmp_path).values()) == []
    assert len(asked) == 4
    assert max(asked) <= 540  # size of the longest header in bytes


def test_corner_distance_is_that_of_the_farthest_corner():
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    assert corner_distance_mm(SHAPE, np.eye(4), moved) == pytest.approx(5)
    assert corner_distance_mm((11, 2, 2), np.diag([1.0, 1, 1, 1]), np.diag([1.1, 1, 1, 1])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("shape", "volume"),
    [((2, 3, 4), (2, 3, 4)), ((2, 3, 4, 1, 1), (2, 3, 4)), ((2, 3, 4, 2), (2, 3, 4, 2)), ((2, 1, 1), (2, 1, 1))],
)
def test_only_trailing_axes_of_length_1_fall_away(shape, volume):
    assert volume_shape(shape) == volume


def test_the_largest_scan_accepted_holds_any_real_one():
    assert LARGEST_VOXELS > 512 * 512 * 40


def test_an_unlabelled_patient_needs_no_manual_segmentations_and_those_it_has_are_left_aside(tmp_path):
    for number in (1, 2, 3):
        write_patient(tmp_path, number, *pair())
    for path in tmp_path.glob("patient2_*_manual*"):
        path.unlink()
    found, errors = scan_folder(tmp_path, unlabelled=["2", "3"])
    assert errors == []
    assert [found[name].cine_label is None for name in ("1", "2", "3")] == [False, True, True]
    assert [len(found[name].paths) for name in ("1", "2", "3")] == [4, 2, 2]
    assert check_headers(found.values()) == []
    assert len(scan_folder(tmp_path, unlabelled=["3"])[1]) == 1


def test_an_unlabelled_patient_still_needs_both_scans(tmp_path):
    write_patient(tmp_path, 1, *pair())
    next(tmp_path.glob("patient1_LGE.nii*")).unlink()
    found, errors = scan_folder(tmp_path, unlabelled=["1"])
    assert found == {}
    assert len(errors) == 1
    assert "patient1_LGE.nii.gz" in errors[0]


def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(tmp_path, monkeypatch):
    write_blank(tmp_path, 1)
    write_blank(tmp_path / "more", 2)
    walk = os.walk

    def refuse(top, onerror):
        for here, folders, found in walk(top):
            if here == str(top):
                yield here, folders, found
            else:
                onerror(PermissionError(13, "Permission denied", here))

    monkeypatch.setattr(os, "walk", refuse)
    found, errors = scan_folder(tmp_path)
    assert list(found) == ["1"]
    assert errors == [f"{tmp_path / 'more'}: must be a readable folder: Permission denied"]


def test_links_that_lead_round_in_circles_end(tmp_path):
    write_blank(tmp_path, 1)
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "patient2_C0.nii.gz").symlink_to("patient2_C0.nii.gz")
    (tmp_path / "patient3_C0.nii.gz").symlink_to(tmp_path / "absent")
    assert list(find_patients(tmp_path)) == ["1"]


@pytest.mark.parametrize("number", ["\u0663", "1\u0660"])
def test_digits_of_other_scripts_make_no_patient(tmp_path, number):
    touch(tmp_path, *names(1), *(f"patient{number}_{name}.nii.gz" for name in ("C0", "LGE")))
    assert list(find_patients(tmp_path)) == ["1"]


def test_a_number_of_any_length_is_a_name(tmp_path):
    touch(tmp_path, *names(10**20), *names(2))
    assert scan_folder(tmp_path)[1] == []
    assert list(find_patients(tmp_path)) == ["2", "1" + "0" * 20]


def test_leading_zeros_are_the_same_patient(tmp_path):
    touch(tmp_path, *names(1), "patient01_C0.nii.gz")
    assert len(scan_folder(tmp_path)[1]) == 1


NEAR = [
    "patient4_c0.nii.gz",
    "Patient4_C0.nii.gz",
    "PATIENT4_C0.NII.GZ",
    "patient4_C0.nii.GZ",
    "patient4_C0.NII",
    "patient_4_C0.nii.gz",
    "patient4-C0.nii.gz",
    "patient4C0.nii.gz",
    "patient 4 C0.nii.gz",
]


@pytest.mark.parametrize("name", NEAR)
def test_a_name_that_is_nearly_right_is_named_where_the_file_is_missing(tmp_path, name):
    touch(tmp_path, *names(4))
    (tmp_path / "patient4_C0.nii.gz").rename(tmp_path / name)
    (error,) = scan_folder(tmp_path)[1]
    assert error.startswith(
        f"{tmp_path}: patient 4 lacks patient4_C0.nii.gz (there is {name}: rename it if it is meant)"
    )


def test_a_patient_of_whom_all_names_are_nearly_right_is_not_left_out_without_a_word(tmp_path):
    touch(tmp_path, *names(3), *(name.replace("nii.gz", "NII.GZ") for name in names(4)))
    complete, (error,) = scan_folder(tmp_path)
    assert list(complete) == ["3"]
    assert error.startswith(f"{tmp_path}: patient 4 lacks patient4_C0.nii.gz, patient4_LGE.nii.gz, ")
    assert "(there is patient4_C0.NII.GZ, patient4_LGE.NII.GZ, " in error
    assert scan_folder(tmp_path, only=["3"])[1] == []


@pytest.mark.parametrize("name", ["patient4_LGE_Manual.nii.gz", "patient4_lge_manual.NII.gz", "patient4_LGEmanual.nii"])
@pytest.mark.parametrize("labels_needed", [True, False])
def test_a_segmentation_whose_name_is_nearly_right_is_named_also_where_none_is_needed(tmp_path, name, labels_needed):
    touch(tmp_path, *names(4))
    (tmp_path / "patient4_LGE_manual.nii.gz").rename(tmp_path / name)
    (error,) = scan_folder(tmp_path, labels_needed=labels_needed)[1]
    assert f"lacks patient4_LGE_manual.nii.gz (there is {name}: " in error


def test_a_folder_of_names_that_are_all_nearly_right_is_told_one_of_them(tmp_path):
    touch(tmp_path, *(name.lower() for name in names(4)))
    with pytest.raises(DataError, match=r"must hold files named patientN_C0.*, got patient4_c0.nii.gz"):
        find_patients(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "._patient1_C0.nii.gz",
        "patient1_C0 (1).nii.gz",
        "patient1_C0.nii.gz.part",
        "patient1_T2.nii.gz",
        "patientC0.nii",
    ],
)
def test_what_nobody_meant_for_a_scan_is_not_named(tmp_path, name):
    touch(tmp_path, *names(1), name)
    found, errors, overlooked, *_ = challenge_files(tmp_path)
    assert (list(found), errors, overlooked) == (["1"], [], {})


@pytest.mark.parametrize("how", ["symbolic", "hard", "to an uncompressed file", "relative, in a subfolder"])
def test_a_link_and_the_file_that_it_points_to_are_one_file(tmp_path, how):
    paths = write_blank(tmp_path, 1)
    cine = paths["cine"]
    if how == "symbolic":
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / cine.name).symlink_to(cine)
    if how == "hard":
        (tmp_path / "z").mkdir()
        (tmp_path / "z" / cine.name).hardlink_to(cine)
    if how == "to an uncompressed file":
        cine = tmp_path / "patient1_C0.nii"
        cine.write_bytes(gzip.decompress(paths["cine"].read_bytes()))
        paths["cine"].unlink()
        paths["cine"].symlink_to(cine)
    if how == "relative, in a subfolder":
        (tmp_path / "raw").mkdir()
        cine = paths["cine"].rename(tmp_path / "raw" / paths["cine"].name)
        paths["cine"].symlink_to(f"raw/{cine.name}")
    found, errors = scan_folder(tmp_path)
    assert errors == []
    assert found["1"].cine == cine
    assert check_headers(found.values()) == []


def test_two_copies_are_two_files(tmp_path):
    paths = write_blank(tmp_path, 1)
    (tmp_path / "again").mkdir()
    shutil.copy(paths["cine"], tmp_path / "again")
    (error,) = scan_folder(tmp_path)[1]
    assert "must have one cine file" in error

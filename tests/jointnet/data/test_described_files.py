"""Finding files by the patterns of a description, and what does not fit them."""

import os

import pytest

from jointnet.data.described_files import described_files
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder
from jointnet.data.found_files import unmatched_text
from jointnet.errors import DataError

HOSPITAL = """
[files]
cine = "{id}/cine/{id}_sax.nii.gz"
lge = "{id}/lge/{id}_psir.nii.gz"
cine_label = "{id}/seg/{id}_sax_seg.nii.gz"
lge_label = "{id}/seg/{id}_psir_seg.nii.gz"
[labels]
lv = 1
myo = [2, 3]
"""
ROLES = ("cine", "lge", "cine_label", "lge_label")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(patient):
    ends = ("cine/{id}_sax", "lge/{id}_psir", "seg/{id}_sax_seg", "seg/{id}_psir_seg")
    return [f"{{id}}/{end}.nii.gz".replace("{id}", patient) for end in ends]


@pytest.fixture
def hospital(tmp_path):
    """A described folder of three patients, of which one has no segmentation of LGE."""
    (tmp_path / "dataset.toml").write_text(HOSPITAL)
    for patient in ("case_9", "case_10", "Jörg M"):
        touch(tmp_path, *names_of(patient))
    (tmp_path / names_of("case_10")[3]).unlink()
    return tmp_path


def test_patients_have_their_own_names_in_natural_order(hospital):
    patients, errors = scan_folder(hospital)
    assert errors == []
    assert list(patients) == ["case_9", "case_10", "Jörg M"]
    for patient, files in patients.items():
        assert files.patient == patient
        found = [files.cine, files.lge, files.cine_label, files.lge_label]
        expected = [hospital / name for name in names_of(patient)]
        assert found == ([*expected[:3], None] if patient == "case_10" else expected)
        assert dict(files.lge_values.structures) == {"lv": (1,), "myo": (2, 3)}


def test_some_patients_alone(hospital):
    assert list(scan_folder(hospital, only=["case_10"])[0]) == ["case_10"]
    with pytest.raises(DataError, match=r"patients \[case_11\] must be in the folder, which holds .*is case_1"):
        scan_folder(hospital, only=["case_11"])


def test_segmentations_of_unlabelled_patients_are_not_used(hospital):
    files = scan_folder(hospital, unlabelled=["case_9"])[0]["case_9"]
    assert (files.cine_label, files.lge_label) == (None, None)


def test_a_patient_without_a_scan_is_an_error_that_names_the_pattern(hospital):
    (hospital / names_of("case_9")[1]).unlink()
    patients, (error,) = scan_folder(hospital)
    assert list(patients) == ["case_10", "Jörg M"]
    assert error == f"{hospital}: patient case_9 lacks case_9/lge/case_9_psir.nii.gz; add or remove the patient"


def test_a_near_miss_is_shown_where_it_is_missed(hospital):
    lge = hospital / names_of("case_9")[1]
    lge.rename(lge.with_name("Case-9_PSIR.nii"))
    _, (error,) = scan_folder(hospital)
    assert "lacks case_9/lge/case_9_psir.nii.gz (there is Case-9_PSIR.nii: rename it if it is meant)" in error


def test_files_that_fit_no_pattern_are_counted(hospital):
    touch(hospital, "case_9/t2/t2.nii.gz", "atlas.nii", "case_9/notes.txt", ".hidden/x.nii.gz", "case_9/.part.nii.gz")
    found = described_files(hospital, load_dataset(hospital))
    assert [path.name for path in found.unmatched] == ["atlas.nii", "t2.nii.gz"]
    text = unmatched_text(hospital, found)
    assert text == f"{hospital}: 2 NIfTI files fit no pattern and are not read: atlas.nii, case_9/t2/t2.nii.gz"


def test_a_near_miss_of_nobody_s_is_shown_too(hospital):
    touch(hospital, "case_12/cine/case_12_SAX.nii.gz")
    found = described_files(hospital, load_dataset(hospital))
    assert found.overlooked == {("{id}", "cine"): [hospital / "case_12/cine/case_12_SAX.nii.gz"]}
    assert found.unmatched == ()


def test_two_files_for_one_patient_and_role_are_an_error(tmp_path):
    (tmp_path / "dataset.toml").write_text('[files]\ncine = "{id}_*_sax.nii.gz"\nlge = "{id}_psir.nii.gz"\n')
    touch(tmp_path, "a_1_sax.nii.gz", "a_2_sax.nii.gz", "a_psir.nii.gz")
    _, (error,) = scan_folder(tmp_path)
    assert error == (
        f"{tmp_path / 'a_2_sax.nii.gz'}: patient a must have one cine file, {tmp_path / 'a_1_sax.nii.gz'} is another"
    )


def test_a_link_and_its_target_are_one_file(hospital):
    cine = hospital / names_of("case_9")[0]
    original = cine.rename(hospital / "original.nii.gz")
    cine.symlink_to(original)
    patients, errors = scan_folder(hospital)
    assert errors == []
    assert patients["case_9"].cine == cine


def test_a_broken_link_is_a_file_that_lacks(hospital):
    cine = hospital / names_of("case_9")[0]
    cine.unlink()
    cine.symlink_to(hospital / "nowhere")
    _, (error,) = scan_folder(hospital)
    assert "lacks case_9/cine/case_9_sax.nii.gz (there is case_9_sax.nii.gz" in error


def test_folders_that_are_links_are_not_followed(hospital):
    (hospital / "more").symlink_to(hospital / "case_9")
    (hospital / "loop").symlink_to(hospital)
    assert scan_folder(hospital)[1] == []


def test_the_pattern_that_says_most_counts(tmp_path):
    files = 'cine = "{id}.nii.gz"\nlge = "{id}_lge.nii.gz"\ncine_label = "{id}_gt.nii.gz"\n'
    (tmp_path / "dataset.toml").write_text(f"[files]\n{files}[labels]\nlv = 1\n")
    touch(tmp_path, "a.nii.gz", "a_lge.nii.gz", "a_gt.nii.gz")
    patients, errors = scan_folder(tmp_path)
    assert errors == []
    assert list(patients) == ["a"]
    assert patients["a"].cine_label == tmp_path / "a_gt.nii.gz"


def test_one_segmentation_of_both_scans(tmp_path):
    labels = 'cine_label = "l/{id}.nii.gz"\nlge_label = "l/{id}.nii.gz"\n[labels]\nlv = 1\n'
    (tmp_path / "dataset.toml").write_text(f'preset = "nnunet"\n[files]\n{labels}')
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "l/a.nii.gz")
    files = scan_folder(tmp_path)[0]["a"]
    assert files.cine_label == files.lge_label == tmp_path / "l/a.nii.gz"


@pytest.mark.parametrize("name", ["..", "\udce4", "a\x07b", "x" * 230])
def test_a_text_that_can_be_no_name_is_an_error(tmp_path, name):
    (tmp_path / "dataset.toml").write_text('[files]\ncine = "c/{id}_.nii.gz"\nlge = "l/{id}_.nii.gz"\n')
    touch(tmp_path, "c/a_.nii.gz", "l/a_.nii.gz")
    if name == "..":
        touch(tmp_path, "c/.._.nii.gz")  # hidden, so not read
        assert list(scan_folder(tmp_path)[0]) == ["a"]
        return
    os.close(os.open(os.fsencode(tmp_path / "c") + b"/" + os.fsencode(name) + b"_.nii.gz", os.O_CREAT))
    _, (error,) = scan_folder(tmp_path)
    assert "{id} of files.cine is the patient's name, which must" in error


@pytest.mark.parametrize("there", [[], ["x.nii.gz"], ["a/cine/a-sax.nii.gz"]])
def test_a_folder_in_which_nothing_fits(tmp_path, there):
    (tmp_path / "dataset.toml").write_text(HOSPITAL)
    touch(tmp_path, *there)
    with pytest.raises(DataError) as caught:
        scan_folder(tmp_path)
    (error,) = caught.value.errors
    assert "must hold files named {id}/cine/{id}_sax.nii.gz and {id}/lge/{id}_psir.nii.gz, as " in error
    assert error.endswith(f"got {there[0]}" if there else "got no NIfTI file")


def test_unlabelled_patients_that_are_not_there(hospital):
    (hospital / "dataset.toml").write_text('unlabelled = {myo = ["case_9", "case_99"]}\n' + HOSPITAL)
    patients, (error,) = scan_folder(hospital)
    assert patients["case_9"].unlabelled == {("cine", "myo"), ("lge", "myo")}
    assert patients["case_10"].unlabelled == frozenset()
    assert error.startswith(f"{hospital / 'dataset.toml'}: unlabelled: patients [case_99] must be in the folder")
    assert scan_folder(hospital, only=["case_9"])[1] == []


ACDC = 'preset = "acdc"\n[files]\nlge = "**/patient{id}/patient{id}_lge.nii.gz"\n'


def acdc(folder, info, *frames, text=ACDC):
    (folder / "dataset.toml").write_text(text)
    touch(folder, "training/patient001/patient001_4d.nii.gz", "training/patient001/patient001_lge.nii.gz")
    touch(folder, *(f"training/patient001/patient001_frame{frame}_gt.nii.gz" for frame in frames))
    if info is not None:
        (folder / "training/patient001/Info.cfg").write_text(info)
    return folder / "training/patient001"


def test_acdc_s_end_diastolic_frame_is_that_of_info_cfg(tmp_path):
    folder = acdc(tmp_path, "ED: 4\nES: 12\nGroup: DCM\n", "04", "12")
    patients, errors = scan_folder(tmp_path)
    assert errors == []
    files = patients["001"]
    assert files.cine_frame == 3
    assert files.cine_label == folder / "patient001_frame04_gt.nii.gz"
    assert files.lge_label is None


INFOS = {
    "no file": (None, "must have a line such as", "it cannot be read: No such file"),
    "no line": ("ES: 12\n", 'must have a line such as "ED: 1"', "counted from 1"),
    "frame 0": ("ED: 0\n", "counted from 1", "got ED: 0"),
    "no number": ("ED: first\n", "must have a line such as", ""),
    "binary": ("\x00\ufffd", "must have a line such as", ""),
}


@pytest.mark.parametrize("name", INFOS)
def test_an_info_cfg_that_names_no_frame_is_an_error(tmp_path, name):
    info, *words = INFOS[name]
    folder = acdc(tmp_path, info, "04", "12")
    _, (error,) = scan_folder(tmp_path)
    assert error.startswith(f"{folder / 'Info.cfg'}: must ")
    assert all(word in error for word in words)


def test_a_frame_without_its_segmentation_is_an_error(tmp_path):
    folder = acdc(tmp_path, "ED: 1\n", "04", "12")
    _, (error,) = scan_folder(tmp_path)
    assert error == (
        f"{folder}: must hold the cine_label file of frame 1, counted from 1, got patient001_frame04_gt.nii.gz, "
        "patient001_frame12_gt.nii.gz"
    )


def test_a_frame_can_be_stated_for_all(tmp_path):
    acdc(tmp_path, None, "04", "12", text=ACDC + "[cine]\nframe = 11\n")
    patients, errors = scan_folder(tmp_path)
    assert errors == []
    assert patients["001"].cine_frame == 11
    assert patients["001"].cine_label.name == "patient001_frame12_gt.nii.gz"


def test_the_challenge_s_layout_with_a_description(tmp_path):
    text = 'preset = "mscmrseg"\nstructures = ["lv", "myo"]\nunlabelled.lv = ["9"]\n[cine]\nframe = 2\n'
    (tmp_path / "dataset.toml").write_text(text)
    touch(tmp_path, *(f"sub/patient{number}_{kind}.nii" for number in (3, 12) for kind in ("C0", "LGE", "C0_manual")))
    patients, (error,) = scan_folder(tmp_path)
    assert "unlabelled: patients [9] must be in the folder, which holds [3, 12]" in error
    assert list(patients) == ["3", "12"]
    assert [files.cine_frame for files in patients.values()] == [2, 2]
    assert patients["3"].lge_label is None
    assert patients["3"].cine_values.ignored == (600,)

"""`python -m jointnet.data check` prints the same errors as training, a description, and no text of a header."""

import gzip
import json
import math
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from scans import axes, cropped, pair, without, write_nifti, write_patient

from jointnet.data.__main__ import main
from jointnet.data.check.facts import FolderFacts, PatientFacts
from jointnet.data.check.inspection import slices_reached
from jointnet.data.check.label_facts import enclosed_slices, label_facts
from jointnet.data.folder import scan_folder
from jointnet.errors import DataError
from jointnet.preparation.cache import prepare
from jointnet.preparation.grid import Stack
from jointnet.structures import CLASS_INDEX


def check(folder, tmp_path, *more):
    status = main(["check", str(folder), "--json", str(tmp_path / "check.json"), *more])
    written = tmp_path / "check.json"
    return status, json.loads(written.read_text()) if written.exists() else None


def test_a_sound_folder(scan_folder, tmp_path, capsys):
    status, content = check(scan_folder, tmp_path)
    assert status == 0
    assert content["errors"] == []
    assert content["labelled_without_error"] == 5
    assert content["splits"] == {"25/15/5": False, "35/5/5": False}
    assert [sum(map(int, split.split("/"))) for split in content["splits_that_fit"]] == [4, 5]
    assert [patient["patient"] for patient in content["patients"]] == ["1", "2", "3", "4", "5"]
    for patient in content["patients"]:
        assert patient["cine"]["shape"] == [56, 52, 2]
        assert patient["cine"]["spacing_mm"] == pytest.approx([2.5, 2.5, 10.0])
        assert patient["lge"]["slices"] == patient["grid_slices"] == 4
        assert patient["cine_slices_reached"] == 2
        for scan in (patient["cine"], patient["lge"]):
            label = scan["label"]
            assert set(label["voxels"]) == {"200", "500", "600"}
            assert label["pieces"] == {"lv": 1, "myo": 1, "rv": 1}
            assert label["enclosed"] == label["lv_slices"] == label["slices"] == scan["slices"]
            assert label["in_field"] == label["on_grid"] == 1.0
        disc = patient["cine"]["label"]["voxels"]["500"] / 2 * 2.5**2
        assert disc == pytest.approx(math.pi * 16**2, rel=0.05), "mm2 of the LV's disc"
    out = capsys.readouterr().out
    assert "56x52x2" in out
    assert "25/15/5 no" in out


def test_each_header_is_parsed_once(scan_folder, tmp_path, file_reads):
    own = shutil.copytree(scan_folder, tmp_path / "own scans")
    assert check(own, tmp_path)[0] == 0
    parsed, hashed = file_reads
    assert parsed == {path.name: 1 for path in own.iterdir()}
    assert not hashed


def test_the_errors_are_those_of_training_and_all_of_them(tmp_path, capsys):
    folder = tmp_path / "scans"
    paths = {number: write_patient(folder, number, *pair(seed=number)) for number in range(1, 6)}
    paths[2]["lge"].write_bytes(b"ruined")
    label = np.asarray(nib.load(paths[3]["cine_label"]).dataobj).copy()
    label[0, 0, 0] = 77
    write_nifti(paths[3]["cine_label"], label, nib.load(paths[3]["cine"]).affine)
    paths[4]["lge_label"].unlink()
    moved = nib.load(paths[5]["lge"]).affine.copy()
    moved[:3, 3] += 200 * axes()[2]
    for role in ("lge", "lge_label"):
        write_nifti(paths[5][role], np.asarray(nib.load(paths[5][role]).dataobj).copy(), moved)
    status, content = check(folder, tmp_path)
    assert status == 3
    found, errors = scan_folder(folder)
    with pytest.raises(DataError) as caught:
        prepare(list(found.values()), tmp_path / "cache", known_errors=errors)
    assert sorted(content["errors"]) == sorted(caught.value.errors)
    assert len(content["errors"]) == 4
    assert capsys.readouterr().err.splitlines() == [f"error: {error}" for error in content["errors"]]
    assert content["labelled_without_error"] == 1
    assert content["splits_that_fit"] == []


def test_the_files_of_an_incomplete_patient_are_checked_too(tmp_path, capsys):
    paths = write_patient(tmp_path / "scans", 1, *pair())
    paths["cine_label"].unlink()
    paths["lge"].write_bytes(b"ruined")
    status, content = check(tmp_path / "scans", tmp_path)
    assert status == 3
    assert len(content["errors"]) == 2
    assert content["patients"][0]["files"] == ["cine", "lge", "lge_label"]
    out = capsys.readouterr().out
    assert "invalid" in out


def test_an_unlabelled_patient_is_no_error_where_it_is_named(tmp_path, capsys):
    for number in (1, 2):
        paths = write_patient(tmp_path / "scans", number, *pair(seed=number))
    paths["cine_label"].unlink()
    paths["lge_label"].unlink()
    assert check(tmp_path / "scans", tmp_path)[0] == 3
    status, content = check(tmp_path / "scans", tmp_path, "--unlabelled", "2")
    assert (status, content["labelled_without_error"]) == (0, 1)
    assert check(tmp_path / "scans", tmp_path, "--patients", "1")[0] == 0
    assert check(tmp_path / "scans", tmp_path, "--patients", "1,9")[0] == 3
    assert "patient 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["check"], 2),
        (["chek", "DIR"], 2),
        (["check", "DIR", "--json", "DIR/patient1_C0.nii.gz"], 2),
        (["check", "DIR", "--patients", "5-1"], 2),
        (["check", "DIR", "--patients", "9" * 5000], 2),
        (["check", "absent"], 3),
        (["check", "a" * 300], 3),
    ],
)
def test_a_bad_command_line_changes_nothing(scan_folder, capsys, arguments, status):
    before = {path: path.read_bytes() for path in scan_folder.iterdir()}
    try:
        assert main([part.replace("DIR", str(scan_folder)) for part in arguments]) == status
    except SystemExit as leaving:
        assert leaving.code == status
    assert {path: path.read_bytes() for path in scan_folder.iterdir()} == before
    assert "Traceback" not in capsys.readouterr().err


def test_no_word_of_a_header_is_shown(tmp_path, capfd):
    paths = write_patient(tmp_path / "scans", 1, *pair())
    for path in paths.values():
        image = nib.load(path)
        for field in ("descrip", "aux_file", "intent_name", "db_name"):
            image.header[field] = b"DOE^JANE"
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    assert b"DOE^JANE" in gzip.decompress(paths["cine"].read_bytes())
    assert check(tmp_path / "scans", tmp_path)[0] == 0
    paths["lge_label"].write_bytes(gzip.compress(gzip.decompress(paths["lge_label"].read_bytes())[:-9]))
    assert check(tmp_path / "scans", tmp_path)[0] == 3
    shown = capfd.readouterr()
    assert "DOE" not in shown.out + shown.err + (tmp_path / "check.json").read_text()


def ring(gap):
    """Return one slice of class indices: a 4 x 4 pool in a ring one pixel thick, with the pixels in `gap` removed."""
    labels = np.zeros((8, 8, 1), np.uint8)
    labels[1:7, 1:7] = CLASS_INDEX["myo"]
    labels[2:6, 2:6] = CLASS_INDEX["lv"]
    for pixel in gap:
        labels[pixel] = 0
    return labels


@pytest.mark.parametrize(
    ("gap", "closed"), [([], 1), ([(1, 3)], 0), ([(6, 6)], 1), ([(1, 1), (1, 6), (6, 1), (6, 6)], 1)], ids=str
)
def test_a_pool_is_enclosed_where_no_side_is_open(gap, closed):
    assert enclosed_slices(ring(gap)) == (1, closed)


def test_without_a_pool_nothing_is_to_be_enclosed():
    labels = ring([])
    labels[labels == CLASS_INDEX["lv"]] = 0
    assert enclosed_slices(labels) == (0, 0)
    assert label_facts(np.zeros((3, 3, 2), np.uint8), Stack(np.eye(4), (3, 3, 2)), None).pieces == {}


@pytest.mark.parametrize(("shift_mm", "reached"), [(0, 5), (10, 4), (-25, 3), (24, 3), (26, 2), (51, 0), (500, 0)])
def test_slices_reached_by_algebra(shift_mm, reached):
    """Five slices, 10 mm apart, from -5 to 45 mm. The other scan covers the same range shifted by `shift_mm`."""
    affine = np.diag([2.0, 2, 10, 1])
    moved = affine.copy()
    moved[2, 3] = shift_mm
    assert slices_reached(Stack(affine, (30, 30, 5)), Stack(moved, (30, 30, 5))) == reached


def test_part_of_a_label_may_lie_outside_of_the_grid(tmp_path, capsys):
    """Half of a cine field of 300 mm is labelled. The grid of 168 mm covers 168 / 300 of the labelled rows."""
    affine = np.eye(4)
    affine[:3, :3] = axes().T * np.array([3.0, 3.0, 10.0])
    image = np.random.default_rng(0).normal(100, 10, (100, 20, 2)).astype(np.float32)
    label = np.full((100, 20, 2), 500, np.int16)
    for name in ("C0", "LGE"):
        write_nifti(tmp_path / f"scans/patient1_{name}.nii.gz", image, affine)
        write_nifti(tmp_path / f"scans/patient1_{name}_manual.nii.gz", label, affine)
    status, content = check(tmp_path / "scans", tmp_path)
    assert status == 0
    facts = content["patients"][0]["cine"]["label"]
    assert facts["in_field"] == facts["on_grid"] == pytest.approx(168 / 300, abs=0.01)
    assert facts["enclosed"] == 0
    assert "56 %" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a name that is no text only on some file systems")
def test_a_folder_s_name_need_not_be_text(tmp_path, capfd):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    write_patient(tmp_path / "scans", 1, *pair())
    (tmp_path / "scans").rename(folder)
    assert main(["check", folder]) == 0
    (next(p for p in tmp_path.iterdir()) / "patient1_LGE.nii.gz").unlink()
    assert main(["check", folder]) == 3
    capfd.readouterr()


def test_what_only_some_patients_show_and_what_is_not_read_is_remarked(tmp_path, capsys):
    folder = tmp_path / "scans"
    for number in range(1, 4):
        cine, lge = pair(seed=number)
        write_patient(folder, number, cine, lge if number == 3 else without(lge, "rv"))
    for path in write_patient(folder, 4, *pair(seed=4)).values():
        path.rename(path.with_name(path.name.replace("_C0", "_c0").replace("nii.gz", "NII.GZ")))
    (folder / "patient3_C0.NII.gz").write_bytes(b"")
    status, content = check(folder, tmp_path)
    assert (status, content["labelled_without_error"]) == (3, 3)
    (error,) = content["errors"]
    assert error.startswith(f"{folder}: patient 4 lacks patient4_C0.nii.gz, ")
    assert error in scan_folder(folder)[1]
    assert [patient["shown"] for patient in content["patients"]] == [["lv", "myo"]] * 2 + [["lv", "myo", "rv"], None]
    rule = "must be a file named"
    assert content["remarks"] == [
        f"{folder}/patient3_C0.NII.gz: {rule} patient3_C0.nii.gz to be read",
        f"{folder}/patient4_c0.NII.GZ: {rule} patient4_C0.nii.gz to be read",
        f"{folder}/patient4_c0_manual.NII.GZ: {rule} patient4_C0_manual.nii.gz to be read",
        f"{folder}/patient4_LGE.NII.GZ: {rule} patient4_LGE.nii.gz to be read",
        f"{folder}/patient4_LGE_manual.NII.GZ: {rule} patient4_LGE_manual.nii.gz to be read",
        "rv counts as not drawn, not as background, in lge of 2 patients, which never show it: [1, 2]",
        f"{folder}: both segmentations of a slice show rv in 1 of 3 patients (3); training, validation and test "
        "patients each need one",
    ]
    warnings = [f"warning: {remark}" for remark in content["remarks"]]
    assert capsys.readouterr().err.splitlines() == [*warnings, f"error: {error}"]
    (folder / "patient3_LGE.nii.gz").unlink()
    status, content = check(folder, tmp_path)
    assert status == 3
    assert "show rv in 0 of 2 patients (none)" in content["remarks"][-1]


def test_structures_that_the_common_field_cuts_are_counted(tmp_path, capsys):
    folder = tmp_path / "scans"
    for number, columns in ((1, 0), (2, 12), (3, 0)):
        cine, lge = pair(seed=number, slices=1)
        write_patient(folder, number, cropped(cine, columns), lge)  # 12 columns of 2.5 mm: the field ends in the RV
    status, content = check(folder, tmp_path)
    assert status == 0
    assert [patient["cut"] for patient in content["patients"]] == [[], [[0, "rv"], [1, "rv"]], []]
    assert [patient["shown"] for patient in content["patients"]][1] == ["lv", "myo"]
    told = f"{folder}: left out: 2 structures of 1 patient that the common field cuts (2)"
    assert content["remarks"][-1] == told
    assert f"warning: {told}" in capsys.readouterr().err.splitlines()


def test_patients_who_need_no_segmentations_need_not_show_anything(tmp_path, capsys):
    for number in (1, 2):
        write_patient(tmp_path / "scans", number, *pair(seed=number))
    status, content = check(tmp_path / "scans", tmp_path, "--unlabelled", "2")
    assert (status, content["remarks"]) == (0, [])
    assert [patient["shown"] for patient in content["patients"]] == [["lv", "myo", "rv"], None]
    assert capsys.readouterr().err == ""


def test_who_can_be_what_in_a_described_folder_is_remarked(tmp_path):
    folder = tmp_path / "scans"
    for number in range(1, 5):
        write_patient(folder, number, *pair(seed=number))
    (folder / "dataset.toml").write_text('preset = "mscmrseg"\n[unlabelled]\nrv = ["1"]\n')
    for name in ("2_LGE", "3_C0", "4_C0", "4_LGE"):
        (folder / f"patient{name}_manual.nii.gz").unlink()
    status, content = check(folder, tmp_path)
    assert (status, content["labelled_without_error"]) == (0, 1)
    assert content["remarks"][2:6] == [
        "2 patients can only train, and only a model that segments, because not both scans are labelled: [2, 3]",
        "1 patient is left unused, because nothing is labelled (see --unlabelled of jointnet.train and study.run): [4]",
        "rv counts as not drawn, not as background, in cine of 1 patients, which never show it: [1]",
        "rv counts as not drawn, not as background, in lge of 1 patients, which never show it: [1]",
    ]


@pytest.mark.parametrize(
    ("whole", "partly", "expected"),
    [
        (5, 0, ("2/1/1", "3/1/1")),
        (5, 3, ("4/1/1", "6/1/1")),
        (2, 4, ("2/1/1", "4/1/1")),
        (1, 5, ()),  # validation and test need two
        (0, 0, ()),
    ],
)
def test_the_splits_use_those_who_can_only_train_too(whole, partly, expected):
    labelled = [("cine", "lge", "cine_label", "lge_label")] * whole + [("cine", "lge", "cine_label")] * partly
    patients = [
        PatientFacts(str(number), files, None, None, None, None, 0.9, None, (), (), ())
        for number, files in enumerate(labelled)
    ]
    assert FolderFacts("", tuple(patients), (), ()).splits == expected

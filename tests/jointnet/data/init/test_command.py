"""`python -m jointnet.data init` on the ten foreign folders, and what it asks, refuses and says."""

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from foreign_folders import LAYOUTS, description, write_foreign
from scans import pair, write_nifti, write_patient

from jointnet.data.__main__ import main
from jointnet.data.description import dataset_from_content, load_dataset
from jointnet.system.toml_file import parse_toml


def init(folder, *more):
    return main(["init", str(folder), *map(str, more)])


@pytest.fixture(scope="module")
def hospital(scan_folder, tmp_path_factory):
    """The hospital's folder; to be copied before it is changed."""
    folder = tmp_path_factory.mktemp("foreign") / "hospital"
    write_foreign(scan_folder, folder, LAYOUTS["hospital"], only=(1, 2))
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_foreign_folders(scan_folder, tmp_path, name, capsys):
    names = write_foreign(scan_folder, tmp_path / name, LAYOUTS[name])
    assert init(tmp_path / name, "--write") == 0
    shown = capsys.readouterr()
    expected = dataset_from_content(parse_toml(description(scan_folder, LAYOUTS[name]).encode(), "expected"), Path())
    assert replace(load_dataset(tmp_path / name), name="") == expected
    assert all(any(line.startswith(f"{one} ") for line in shown.out.splitlines()) for one in names.values())
    assert shown.err == ""
    doubtful = {"emidec": "scar", "mnms": "frame 1", "rv_missing": "no RV", "lge_unlabelled": "no file for 3 patients"}
    assert ("unsure: " in shown.out) == (name in doubtful)
    assert doubtful.get(name, "") in shown.out


def test_nothing_is_written_unless_told_and_nothing_is_overwritten(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    before = sorted(folder.rglob("*"))
    assert init(folder) == 0
    assert sorted(folder.rglob("*")) == before
    out = capsys.readouterr()
    assert "[files]" in out.out
    assert "--write" in out.err
    assert "not used: 2 files: {id}/cine/{id}_4ch.nii.gz (2)" in out.out
    assert init(folder, "--write", "--dataset", tmp_path / "there.toml") == 0
    assert sorted(folder.rglob("*")) == before
    assert f"check {folder} --dataset {tmp_path / 'there.toml'}" in capsys.readouterr().out
    (folder / "dataset.toml").write_text("mine")
    assert init(folder, "--write") == 2
    assert (folder / "dataset.toml").read_text() == "mine"
    assert "--dataset FILE" in capsys.readouterr().err
    assert load_dataset(folder, tmp_path / "there.toml").patterns["cine"] == "{id}/cine/{id}_sax.nii.gz"


def test_the_challenge_s_layout_needs_no_description(scan_folder, capsys):
    assert init(scan_folder) == 0
    assert "needs no description" in capsys.readouterr().out


def test_the_challenge_s_layout_needs_one_where_a_label_file_lacks(scan_folder, tmp_path, capsys):
    folder = shutil.copytree(scan_folder, tmp_path / "own")
    (folder / "patient2_LGE_manual.nii.gz").unlink()
    assert main(["check", str(folder)]) == 3
    assert f"describe the folder (python -m jointnet.data init {folder} --write)" in capsys.readouterr().err
    assert init(folder, "--write") == 0
    assert load_dataset(folder).in_challenge_layout
    assert main(["check", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "because not both scans are labelled: [2]" in shown.err
    assert "4 labelled patients without error." in shown.out
    assert "To use all of them: --splits 2/1/1 3/1/1" in shown.out  # the fifth trains


@pytest.mark.parametrize("kind", ["cine", "lge"])
def test_two_candidates_are_asked_for_and_the_option_answers(hospital, tmp_path, kind, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    pattern = LAYOUTS["hospital"].files[kind]
    for name in ("STJ-0107", "STJ-0114"):
        first = folder / pattern.format(id=name)
        shutil.copyfile(first, first.with_name(f"again_{first.name}"))
    assert init(folder, "--write") == 3
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith(f"error: --{kind}: ")
    assert pattern in line
    assert not (folder / "dataset.toml").exists()
    assert init(folder, "--write", f"--{kind}", pattern) == 0
    assert load_dataset(folder).patterns == LAYOUTS["hospital"].files
    capsys.readouterr()


def test_values_that_topology_cannot_tell_are_asked_for(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    for path in folder.rglob("*_seg.nii.gz"):
        image = nib.load(path)
        labels = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(labels == 1, 0, labels).astype(np.int16), image.affine), path)
    assert init(folder) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(line.startswith("error: --values: ") for line in errors)
    assert init(folder, "--write", "--values", "myo=2", "rv=3") == 0
    dataset = load_dataset(folder)
    assert dataset.structures == ("myo", "rv")
    assert dict(dataset.lge_values.structures) == {"myo": (2,), "rv": (3,)}
    capsys.readouterr()


def test_the_frame_is_asked_for_where_nothing_tells_it(scan_folder, tmp_path, capsys):
    write_foreign(scan_folder, tmp_path / "acdc", LAYOUTS["acdc"], only=(1, 3))
    for path in (tmp_path / "acdc").rglob("Info.cfg"):
        path.unlink()
    for path in (tmp_path / "acdc").rglob("*_frame02_gt.nii.gz"):
        path.rename(path.with_name(path.name.replace("frame02", "ed")))
    assert init(tmp_path / "acdc") == 3
    assert "error: --frame: " in capsys.readouterr().err
    assert init(tmp_path / "acdc", "--write", "--frame", "1") == 0
    assert load_dataset(tmp_path / "acdc").frame == 1
    capsys.readouterr()


def test_values_outside_the_structures_are_ignored_with_a_remark(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    path = folder / "STJ-0114/seg/STJ-0114_sax_seg.nii.gz"
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[:3, :3] = 7
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    assert init(folder, "--write") == 0
    assert load_dataset(folder).cine_values.ignored == (7,)
    out = capsys.readouterr().out
    assert "unsure: labels of cine: 7 lie outside" in out
    assert "7 occurs in 1 patient (STJ-0114)" in out


def test_a_structure_of_one_scan_only_is_no_structure_of_the_data(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    for path in folder.rglob("*_psir_seg.nii.gz"):
        image = nib.load(path)
        labels = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.where(labels == 3, 0, labels).astype(np.int16), image.affine), path)
    assert init(folder, "--write") == 0
    assert load_dataset(folder).structures == ("lv", "myo")
    assert "only the labels of cine hold the RV" in capsys.readouterr().out


def test_many_patients_are_grouped_by_what_is_the_same(tmp_path, capsys):
    cine, lge = pair(slices=1)
    for number in range(1, 15):
        paths = write_patient(tmp_path, number, cine, lge)
        if number == 3:
            paths["lge_label"].unlink()
    assert init(tmp_path) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert len(table) == 3
    assert table[1].startswith("13: 1 to 14 ")
    assert table[2].startswith("3 ")
    assert table[2].endswith("none")


def test_a_damaged_file_is_named_and_the_rest_is_described(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital, tmp_path / "own")
    (folder / "STJ-0107/seg/STJ-0107_sax_seg.nii.gz").write_bytes(b"damaged")
    assert init(folder, "--write") == 0
    assert load_dataset(folder).patterns == LAYOUTS["hospital"].files
    out = capsys.readouterr().out
    assert "1 label files cannot be read" in out
    assert "unreadable" in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--cine", "no id.nii.gz"], 2, "--cine: must contain {id}"),
        (["--lge", "../{id}.nii.gz"], 2, "--lge: must not leave the folder"),
        (["--values", "lv=1", "atrium=2"], 2, "--values: must be one of lv, myo, rv"),
        (["--values", "lv=one"], 2, "--values: must be one of"),
        (["--frame", "first"], 2, "--frame: must be a number"),
        (["--frame", "9" * 5000], 2, "--frame: must be a number"),
        (["--values", "lv=--1"], 2, "--values: must be one of"),
        (["--values", f"lv={'9' * 5000}"], 2, "--values: must be one of"),
        (["--cine", "{id}/none.nii.gz"], 3, "got '{id}/none.nii.gz', which matches none"),
    ],
)
def test_invalid_options(hospital, arguments, status, said, capsys):
    assert init(hospital, *arguments) == status
    assert said in capsys.readouterr().err


def test_folders_without_scans(tmp_path, capsys):
    assert init(tmp_path / "absent") == 3
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "IM0001.dcm").write_bytes(b"")
    assert init(tmp_path) == 3
    assert "NIfTI files (.nii, .nii.gz), got 1 .dcm" in capsys.readouterr().err


def test_one_patient_is_asked_for_its_patterns(tmp_path, capsys):
    cine, lge = pair(slices=1)
    write_nifti(tmp_path / "x" / "cine.nii.gz", cine.image, cine.affine)
    write_nifti(tmp_path / "x" / "lge.nii.gz", lge.image, lge.affine)
    assert init(tmp_path) == 3
    assert "--cine" in capsys.readouterr().err
    assert init(tmp_path, "--cine", "{id}/cine.nii.gz", "--lge", "{id}/lge.nii.gz") == 0
    out = capsys.readouterr().out
    assert "1 patient, 2 NIfTI files" in out
    assert "unsure: no label files were found" in out

"""`init` on folders with damaged content, and where the description cannot be written."""

import errno
import os
import signal

import nibabel as nib
import numpy as np
import pytest
from foreign_folders import LAYOUTS, write_foreign

from jointnet.data.__main__ import main
from jointnet.data.description import load_dataset
from jointnet.system import atomic_file


@pytest.fixture
def folder(scan_folder, tmp_path):
    """A folder of a patient without faults; its layout is no preset's."""
    write_foreign(scan_folder, tmp_path / "own", LAYOUTS["hospital"], only=(1, 2))
    return tmp_path / "own"


def label_files(folder):
    return sorted(folder.rglob("*_seg.nii.gz"))


@pytest.mark.parametrize("value", [1e30, -1e30, 2.0**40, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_values_that_are_no_labels_are_no_labels(folder, value, capsys):
    path = label_files(folder)[-1]
    image = nib.load(path)
    labels = np.asarray(image.dataobj, np.float32).copy()
    labels[0, 0, 0] = value
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    assert main(["init", str(folder), "--write"]) == 0
    assert "1 label files cannot be read" in capsys.readouterr().out


def test_where_no_segmentation_can_be_read_that_is_an_error(folder, capsys):
    for path in label_files(folder):
        path.write_bytes(b"")
    patterns = LAYOUTS["hospital"].files
    given = [part for role in ("cine", "lge", "cine_label") for part in (f"--{role.replace('_', '-')}", patterns[role])]
    assert main(["init", str(folder), "--write", *given]) == 3
    assert (
        capsys.readouterr().err
        == f"error: {folder}: must hold a segmentation that can be read, but none of them can be\n"
    )


def test_names_that_are_not_utf_8_are_left_out_and_said(folder, capsys):
    for path in sorted(folder.rglob("*.nii.gz"))[:4]:
        path.with_name(os.fsdecode(b"\xff" + os.fsencode(path.name))).hardlink_to(path)
    assert main(["init", str(folder), "--write"]) == 0
    assert capsys.readouterr().out.count("a scan's name must be in UTF-8, so it is left out, got '\\udcff") == 4
    assert load_dataset(folder).patterns == LAYOUTS["hospital"].files


@pytest.mark.parametrize("name", ["a\nb", "x" * 220, "\x1b[31m"])
def test_a_folder_s_name_that_is_no_name_of_a_data_set(folder, name, capsys):
    renamed = folder.rename(folder.with_name(name))
    assert main(["init", str(renamed), "--write"]) == 0
    assert load_dataset(renamed).name == "".join(letter for letter in name if letter.isprintable())[:200]
    capsys.readouterr()


def full(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_nothing_is_left(folder, monkeypatch, capsys):
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(atomic_file.os, "fsync", full)
    assert main(["init", str(folder), "--write"]) == 2
    rule = "must be a file that can be written; --dataset FILE names another, got No space left on device"
    assert f"error: {folder / 'dataset.toml'}: {rule}\n" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_killed_command_leaves_no_description_and_can_be_repeated(folder, monkeypatch, capsys):
    child = os.fork()
    if not child:
        monkeypatch.setattr(atomic_file.os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        main(["init", str(folder), "--write"])
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (folder / "dataset.toml").exists()
    assert main(["init", str(folder), "--write"]) == 0
    assert load_dataset(folder).patterns == LAYOUTS["hospital"].files
    capsys.readouterr()


def test_a_folder_to_write_to_that_is_not_there_and_a_broken_link_are_named(folder, tmp_path, capsys):
    assert main(["init", str(folder), "--write", "--dataset", str(tmp_path / "no" / "own.toml")]) == 2
    assert f"{tmp_path / 'no' / 'own.toml'}: must be a file that can be written" in capsys.readouterr().err
    (folder / "dataset.toml").symlink_to("nowhere")
    assert main(["init", str(folder), "--write"]) == 2
    assert "--write: must name a file that does not exist" in capsys.readouterr().err
    assert (folder / "dataset.toml").is_symlink()

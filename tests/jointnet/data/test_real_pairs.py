"""The benchmarks that write real pairs, here from a repository of synthetic scans, and cut fields of view."""

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from jointnet.data.folder import find_patients

ACCURACY = Path(__file__).parents[3] / "benchmarks" / "accuracy"
SCRIPTS = ("real_pairs", "cut_fields")


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a script and returns its exit status and errors; `commit` replaces the repository's."""
    monkeypatch.syspath_prepend(ACCURACY)

    def run_script(name, *arguments, commit=None):
        module = __import__(name)
        if commit:
            monkeypatch.setattr(module, "COMMIT", commit)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main(), capsys.readouterr().err

    yield run_script
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def git(folder, *arguments):
    own = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *own, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository of two patients in the layout of VarDA, and its commit. Cine's pixel size is wrong."""
    folder, random = tmp_path / "VarDA", np.random.default_rng(0)
    turned = np.linalg.qr(random.normal(size=(3, 3)))[0]
    for sequence, pixel_mm, slices, label_value in (("C0", 1.2, 3, 199.6), ("LGE", 1.0, 4, 500.0)):
        place = folder / "Dataset" / "Patch192" / sequence
        place.mkdir(parents=True)
        for patient in (1, 2):
            affine = np.eye(4)
            affine[:3, :3] = turned * [pixel_mm, pixel_mm, 8]
            affine[:3, 3] = random.normal(0, 50, 3)
            for suffix, data in (
                ("", random.random((20, 24, slices))),
                ("_manual", np.full((20, 24, slices), label_value)),
            ):
                nib.save(nib.Nifti1Image(data, affine), place / f"patient{patient}_{sequence}{suffix}.nii.gz")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "scans")
    return folder, git(folder, "rev-parse", "HEAD")


def centre(image, affine):
    rows, columns = image.shape[:2]
    return (affine @ [(rows - 1) / 2, (columns - 1) / 2, 0, 1])[:3]


def test_cine_gets_the_pixels_and_the_axis_of_lge(run, repository, tmp_path):
    folder, commit = repository
    out = tmp_path / "pairs"
    assert run("real_pairs", "--repository", folder, "--out", out, "--patients", "1-2", commit=commit) == (0, "")
    assert list(find_patients(out)) == ["1", "2"]
    for patient in (1, 2):
        cine, lge, label = (nib.load(out / f"patient{patient}_{name}.nii.gz") for name in ("C0", "LGE", "C0_manual"))
        theirs = nib.load(folder / f"Dataset/Patch192/C0/patient{patient}_C0.nii.gz")
        np.testing.assert_array_equal(label.affine, cine.affine)
        assert set(np.unique(label.dataobj)) == {200}
        np.testing.assert_array_equal(cine.get_fdata(), theirs.get_fdata().astype(np.float32))
        np.testing.assert_allclose(cine.header.get_zooms(), lge.header.get_zooms(), rtol=1e-5)
        # relative to LGE's centre: along the normal what the header says, in plane the patient's random vector
        directions = lge.affine[:3, :3] / np.linalg.norm(lge.affine[:3, :3], axis=0)
        offset = directions.T @ (centre(cine, cine.affine) - centre(lge, lge.affine))
        header = directions.T @ (centre(theirs, theirs.affine) - centre(lge, lge.affine))
        np.testing.assert_allclose(offset[:2], np.random.default_rng([0, patient]).normal(0, 2, 2), atol=1e-4)
        assert offset[2] == pytest.approx(header[2], abs=1e-4)


def test_all_files_that_a_repository_lacks_are_named(run, repository, tmp_path):
    folder, commit = repository
    status, told = run("real_pairs", "--repository", folder, "--out", tmp_path / "x", "--patients", "3", commit=commit)
    assert status == 3
    assert told.count("\n") == 4
    assert (
        f"{folder}: must be a clone of FupingWu90/VarDA that has Dataset/Patch192/C0/patient3_C0_manual.nii.gz" in told
    )
    status, told = run("real_pairs", "--repository", tmp_path, "--out", tmp_path / "x", "--patients", "case_1")
    assert (status, told) == (2, "error: --patients: must be numbers, such as 1-25, got case_1\n")


def rim_px(labelled):
    """Return the pixels between the labels and each side of the plane."""
    places = np.argwhere(labelled)[:, :2]
    return np.concatenate([places.min(0), np.subtract(labelled.shape[:2], 1) - places.max(0)])


def test_a_cut_keeps_labels_and_places(run, scan_folder, tmp_path):
    out = tmp_path / "cut"
    assert run("cut_fields", "--data", scan_folder, "--out", out, "--patients", "1-3", "--most-px", "12") == (0, "")
    removed = set()
    for path in sorted(out.iterdir()):
        whole, cut = nib.load(scan_folder / path.name), nib.load(path)
        first = np.linalg.solve(whole.affine, cut.affine[:, 3])[:3]
        np.testing.assert_allclose(first, np.rint(first), atol=1e-3)
        low = np.rint(first).astype(int)
        high = np.subtract(whole.shape, low) - cut.shape
        assert min(*low, *high) >= 0 and max(*low, *high) <= 12 and low[2] == high[2] == 0
        inside = tuple(slice(start, start + size) for start, size in zip(low, cut.shape, strict=True))
        np.testing.assert_array_equal(cut.get_fdata(), whole.get_fdata()[inside])
        if "manual" in path.name:
            assert (cut.get_fdata() > 0).sum() == (whole.get_fdata() > 0).sum()
            before, after = (rim_px(each.get_fdata() > 0) for each in (whole, cut))
            assert (after >= np.minimum(before, 6)).all()
            removed.add((*low, *high))
    assert len(list(out.iterdir())) == 12 and len(removed) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--patients", "1-6"), "patients [6] must be in the folder"),
        (("--patients", "a"), "--patients: must be numbers"),
        (("--out", "{data}"), "--out: must be another folder than --data"),
        (("--data", "{data}/none"), "must be a folder with scans"),
    ],
)
def test_invalid_arguments_write_nothing(run, scan_folder, tmp_path, arguments, message):
    given = [text.format(data=scan_folder) for text in arguments]
    status, told = run("cut_fields", "--data", scan_folder, "--out", tmp_path / "cut", *given)
    assert status in (2, 3) and message in told
    assert not (tmp_path / "cut").exists()

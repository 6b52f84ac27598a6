"""The foreign folders of the tests hold the same voxels at the same places as the challenge's."""

import nibabel as nib
import numpy as np
import pytest
from foreign_folders import LAYOUTS, ROLES, challenge_files, foreign_names, write_foreign, write_reference


@pytest.mark.parametrize("name", LAYOUTS)
def test_voxels_and_places_are_those_of_the_challenge(scan_folder, tmp_path, name):
    layout = LAYOUTS[name]
    names = write_foreign(scan_folder, tmp_path / "foreign", layout)
    write_reference(scan_folder, tmp_path / "reference", layout)
    reference = challenge_files(tmp_path / "reference")
    assert len(set(names.values())) == len(reference) == 5
    meant = {"myo": 200, "lv": 500, "rv": 600}
    for number in names:
        for role in ROLES.values():
            path = tmp_path / "foreign" / layout.path(role, number)
            assert path.exists() == (role in reference[number])
            if not path.exists():
                continue
            one, other = nib.load(path), nib.load(reference[number][role])
            assert np.array_equal(one.affine, other.affine)
            voxels, expected = np.asarray(one.dataobj), np.asarray(other.dataobj)
            if voxels.ndim == 4:
                assert not np.array_equal(voxels[..., 0], voxels[..., 1])
                voxels = voxels[..., layout.frame(number)]
            if role.endswith("_label"):
                read = {0: 0, **{value: meant[structure] for structure, value in layout.value_of(role).items()}}
                read |= dict.fromkeys(layout.scar, meant["myo"])
                voxels = np.vectorize(read.get)(voxels)
            assert np.array_equal(voxels, expected)


def test_what_nobody_drew_is_left_out_of_both(scan_folder, tmp_path):
    names = foreign_names(scan_folder, LAYOUTS["rv_missing"])
    assert names == {1: "P1", 2: "P2", 3: "P3", 4: "P4", 5: "P5"}
    write_foreign(scan_folder, tmp_path / "rv", LAYOUTS["rv_missing"])
    held = {
        number: set(np.unique(nib.load(tmp_path / "rv" / f"P{number}_{scan}_mask.nii.gz").dataobj))
        for number in names
        for scan in ("cine", "lge")
    }
    assert held == {1: {0, 1, 2, 3}, 2: {0, 1, 2}, 3: {0, 1, 2, 3}, 4: {0, 1, 2}, 5: {0, 1, 2, 3}}
    write_reference(scan_folder, tmp_path / "lge", LAYOUTS["lge_unlabelled"])
    unlabelled = [number for number, files in challenge_files(tmp_path / "lge").items() if "lge_label" not in files]
    assert unlabelled == [1, 3, 4]


def test_emidec_has_five_labels_and_scar_is_myocardium(scan_folder, tmp_path):
    layout = LAYOUTS["emidec"]
    write_foreign(scan_folder, tmp_path, layout, only=[3])
    label = np.asarray(nib.load(tmp_path / layout.path("lge_label", 3)).dataobj)
    counts = np.bincount(label.ravel())
    assert len(counts) == 6
    assert counts.all()
    assert counts[2] == pytest.approx(counts[3], rel=0.05) == pytest.approx(counts[4], rel=0.05)

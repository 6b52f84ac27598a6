import json
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from rings import lge_of, sector, ventricle

from jointnet.errors import EXIT_DATA, EXIT_USAGE, DataError
from jointnet.phantom.scanner import rotation
from jointnet.preparation.grid import Stack
from jointnet.scar.__main__ import main
from jointnet.scar.output.pictures import bullseye, scar_overlay, surface_picture
from jointnet.scar.pair import read_pair, short_axis_view, without_padding
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

SPACING_MM = (5.0, 1.0, 1.0)
"""Every second pixel of `rings`, which keeps the pictures quick."""
COLUMN, ROW = np.array([-0.6, -0.8, 0.0]), np.array([0.0, 0.0, -1.0])
"""A frontal-plane-like short axis: columns towards left-posterior, rows downwards, so that slices run to the base."""
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.stack([np.cross(COLUMN, ROW) * SPACING_MM[0], ROW * SPACING_MM[1], COLUMN * SPACING_MM[2]], 1)
SLICES = 6


def stored(stack, turned=False, flips=(False, False, False)):
    """Return a stack (slice, row, column) as a file's volume (i, j, k), with slices along k, and its affine."""
    order = (1, 2, 0) if turned else (2, 1, 0)
    reorder = np.eye(4)
    reorder[:3, :3] = np.eye(3)[:, order]
    volume = stack.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            volume = np.flip(volume, axis)
            reorder[:3, 3] += reorder[:3, axis] * (volume.shape[axis] - 1)
            reorder[:3, axis] *= -1
    return np.ascontiguousarray(volume), AFFINE @ reorder


def file_values(labels):
    values = np.zeros(labels.shape, np.int16)
    for name, value in LABEL_VALUE.items():
        values[labels == CLASS_INDEX[name]] = value
    return values


def write_pair(folder, labels, lge, **how):
    paths = folder / "lge_registered.nii.gz", folder / "cine_segmentation.nii.gz"
    for path, stack in zip(paths, (np.nan_to_num(lge), file_values(labels)), strict=True):
        nib.save(nib.Nifti1Image(*stored(stack, **how)), path)
    return paths


@pytest.fixture(scope="module")
def heart():
    labels = ventricle(slices=SLICES)
    scar = sector(90, 60, slices=SLICES)
    scar[3:] = False
    return labels[:, ::2, ::2], scar[:, ::2, ::2], lge_of(labels, scar)[:, ::2, ::2]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
def test_however_a_file_is_stored_the_view_is_the_same(heart, tmp_path, turned, flips):
    labels, _, lge = heart
    pair = read_pair(*write_pair(tmp_path, labels, lge, turned=turned, flips=flips))
    np.testing.assert_array_equal(pair.labels, labels)
    np.testing.assert_allclose(pair.lge, lge, rtol=1e-6)
    np.testing.assert_allclose(pair.affine, AFFINE, atol=1e-5)
    np.testing.assert_allclose(pair.spacing_mm, SPACING_MM, rtol=1e-5)
    np.testing.assert_array_equal(pair.view.to_file(pair.labels), stored(labels, turned, flips)[0])


def test_every_view_leads_back():
    volume = np.arange(24).reshape(2, 3, 4)
    for order, signs in product(permutations(range(2)), product([1, -1], repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = rotation(np.array([0.1, -0.2, 0.1])) @ (np.diag(signs) @ np.eye(3)[:, [*order, 2]])
        view = short_axis_view(Stack(affine, volume.shape))
        np.testing.assert_array_equal(view.to_file(view.from_file(volume)), volume)


def test_zeros_that_reach_the_border_are_unseen_and_others_are_dark():
    lge = np.ones((2, 6, 6), np.float32)
    lge[0, :, :2] = 0
    lge[0, 3, 4] = 0
    lge[1] = 0
    found = without_padding(lge)
    assert np.isnan(found[0, :, :2]).all() and np.isnan(found[1]).all()
    assert found[0, 3, 4] == 0 and np.isfinite(found[0, :, 2:]).all()


def test_the_command_writes_figures_mask_surfaces_and_pictures(heart, tmp_path, capsys):
    labels, scar, lge = heart
    lge_path, label_path = write_pair(tmp_path, labels, lge, turned=True, flips=(True, False, True))
    out = tmp_path / "new" / "out"
    arguments = ["--lge", lge_path, "--labels", label_path, "--cine", lge_path, "--out", out]
    arguments += ["--registration-sd-mm", "0.5", "--perturbations", "10"]
    assert main([str(each) for each in arguments]) == 0
    surfaces = {f"{name}.{kind}" for name in ("lv", "myo", "rv", "scar") for kind in ("stl", "vtp")}
    tables = {"scar.json", "segments.csv", "spread.csv", "scar.nii.gz"}
    assert {path.name for path in out.iterdir()} == surfaces | tables | {"bullseye.png", "overlay.png", "surfaces.png"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    report = json.loads((out / "scar.json").read_text())
    expected_ml = 60 / 360 * np.pi * (30**2 - 20**2) * 5 * 3 / 1000
    assert report["figures"]["scar_ml"] == pytest.approx(expected_ml, rel=0.03)
    assert report["segments"]["percent"][16] is None
    image = nib.load(out / "scar.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), stored(scar, True, (True, False, True))[0])
    np.testing.assert_allclose(image.affine, nib.load(lge_path).affine, atol=1e-5)
    table = pd.read_csv(out / "segments.csv").set_index("segment")
    # 90 to 150 degrees: anterior 90 to 120, anteroseptal 120 to 150; in the most apical mid slice only
    assert table.loc[7, "scar_percent"] == pytest.approx(25, abs=2)
    assert table.loc[8, "scar_percent"] == pytest.approx(25, abs=2)
    assert table.loc[1, "scar_percent"] == 0
    assert "scar_ml" in capsys.readouterr().out


def test_a_second_run_replaces_the_first(heart, tmp_path):
    labels, _, lge = heart
    paths = [str(path) for path in write_pair(tmp_path, labels, lge)]
    arguments = ["--lge", paths[0], "--labels", paths[1], "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main([*arguments, "--n-sd", "1e9"]) == 0
    assert json.loads((tmp_path / "out" / "scar.json").read_text())["figures"]["scar_ml"] == 0
    assert not (tmp_path / "out" / "scar.stl").exists()
    assert (tmp_path / "out" / "rv.stl").exists()


def test_what_a_reader_must_know_is_noted(heart, tmp_path, capsys):
    labels, _, lge = heart
    hidden = lge.copy()
    hidden[0] = 0
    small = np.array(labels[::-1])
    small[-1][small[-1] == CLASS_INDEX["lv"]] = 0
    small[-1, 45:55, 45:55] = CLASS_INDEX["lv"]
    no_rv = np.where(labels == CLASS_INDEX["rv"], 0, labels)
    no_lv = np.where(labels == CLASS_INDEX["lv"], 0, labels)
    for changed, image, note in (
        (labels, hidden, "does not cover 16.7 %"),
        (no_rv, lge, "no RV"),
        (no_lv, lge, "no LV pool"),
        (small, lge, "check the files' orientation"),
    ):
        lge_path, label_path = write_pair(tmp_path, changed.astype(np.uint8), image)
        assert main(["--lge", str(lge_path), "--labels", str(label_path), "--out", str(tmp_path / "out")]) == 0
        assert note in capsys.readouterr().out


def unequal(folder, lge_path, label_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), AFFINE), lge_path)


def moved_grid(folder, lge_path, label_path):
    image = nib.load(lge_path)
    affine = image.affine.copy()
    affine[0, 3] += 1
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), lge_path)


def no_myocardium(folder, lge_path, label_path):
    image = nib.load(label_path)
    values = np.asarray(image.dataobj).copy()
    values[values == LABEL_VALUE["myo"]] = 0
    nib.save(nib.Nifti1Image(values, image.affine), label_path)


def not_finite(folder, lge_path, label_path):
    image = nib.load(lge_path)
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(values, image.affine), lge_path)


def unknown_label(folder, lge_path, label_path):
    image = nib.load(label_path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + np.int16(1), image.affine), label_path)


def nothing_shown(folder, lge_path, label_path):
    image = nib.load(lge_path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), lge_path)


def missing(folder, lge_path, label_path):
    lge_path.unlink()


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (unequal, "must have the grid of cine_segmentation.nii.gz"),
        (moved_grid, "a corner of it lies 1.00 mm off"),
        (no_myocardium, "must label myocardium"),
        (not_finite, "must have finite intensities"),
        (unknown_label, "must hold the labels 0 background"),
        (nothing_shown, "must cover myocardium"),
        (missing, "must be a readable NIfTI file"),
    ],
)
def test_bad_files_are_named_and_nothing_is_written(heart, tmp_path, capsys, damage, rule):
    labels, _, lge = heart
    lge_path, label_path = write_pair(tmp_path, labels, lge)
    damage(tmp_path, lge_path, label_path)
    out = tmp_path / "out"
    assert main(["--lge", str(lge_path), "--labels", str(label_path), "--out", str(out)]) == EXIT_DATA
    assert rule in capsys.readouterr().err
    assert not out.exists()


def test_bad_options_are_named_together(tmp_path, capsys):
    arguments = ["--lge", "a", "--labels", "b", "--out", str(tmp_path / "out"), "--n-sd", "-1", "--smallest-mm2", "nan"]
    arguments += ["--registration-sd-mm", "-2", "--perturbations", "0", "--seed", "-4"]
    assert main(arguments) == EXIT_USAGE
    errors = capsys.readouterr().err.splitlines()
    names = ["n_sd", "smallest_mm2", "--registration-sd-mm", "--perturbations", "--seed"]
    assert [error.removeprefix("error: ").split(":")[0] for error in errors] == names


def test_an_out_that_is_a_file_is_kept(heart, tmp_path):
    labels, _, lge = heart
    lge_path, label_path = write_pair(tmp_path, labels, lge)
    assert main(["--lge", str(lge_path), "--labels", str(label_path), "--out", str(lge_path)]) == EXIT_USAGE
    assert nib.load(lge_path).shape[2] == SLICES


def test_an_error_of_both_files_is_named_for_both(tmp_path):
    with pytest.raises(DataError) as caught:
        read_pair(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    assert len(caught.value.errors) == 2


def test_the_bullseye_draws_each_segment_once_and_hatches_the_unknown():
    percent = np.linspace(0, 100, 17)
    percent[[4, 16]] = np.nan
    axes = bullseye(percent, "title").axes[0]
    assert len(axes.patches) == 17
    assert [place for place, patch in enumerate(axes.patches) if patch.get_hatch()] == [4, 16]
    middles = [np.degrees(np.mean(patch.get_xy()[:, 0])) % 360 for patch in axes.patches[:6]]
    np.testing.assert_allclose(middles, [90, 150, 210, 270, 330, 30], atol=1)
    with pytest.raises(ValueError, match=r"shape \(17,\)"):
        bullseye(np.zeros(16), "title")


@pytest.mark.parametrize("scar_deg", [0, 90, 360])
def test_the_overlay_shows_every_slice_with_myocardium(scar_deg):
    labels = ventricle(slices=4)
    labels[0] = 0
    image = np.full(labels.shape, np.nan)
    figure = scar_overlay(image, labels, sector(0, scar_deg, slices=4) & (labels > 0))
    assert [axes.get_title() for axes in figure.axes] == ["slice 2", "slice 3", "slice 4"]


def test_nothing_to_draw_gives_empty_pictures():
    empty = np.zeros((2, 10, 10), np.uint8)
    assert scar_overlay(empty.astype(float), empty, empty > 0).axes == []
    assert len(surface_picture({}, np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), ("a", "b")).axes) == 2

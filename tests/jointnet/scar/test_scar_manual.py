"""Manual scar: its error against what is measured, folders of patients, and that it is never an input."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from rings import lge_of, sector, ventricle

from jointnet.data.description import dataset_from_content, preset_content
from jointnet.errors import DataError
from jointnet.phantom.patient import patient_files, patient_paths, true_scar
from jointnet.preparation.labels import LabelValues
from jointnet.scar.__main__ import main
from jointnet.scar.manual import errors_against, read_manual
from jointnet.structures import CLASS_INDEX

SLICES = 4
SPACING_MM = (1.0, 1.0, 5.0)
VALUES = {"lv": 1, "myo": 2, "rv": 5}
SCAR = 3
DESCRIPTION = """
[files]
cine = "{id}/cine.nii.gz"
lge = "{id}/lge.nii.gz"
lge_label = "{id}/lge_gt.nii.gz"
[labels]
lv = 1
myo = [2, 3]
rv = 5
scar = 3
"""


def half(stack):
    """Return every second pixel of `rings`, which keeps the pictures quick."""
    return stack[:, ::2, ::2]


def stored(stack):
    """Return a stack (slice, row, column) as a file with slices along k, apex first, as in the short-axis view."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*SPACING_MM, 1.0])
    return nib.Nifti1Image(np.ascontiguousarray(stack.transpose(2, 1, 0)), affine)


def write_heart(folder, drawn=None, shown=None):
    """Write LGE with scar of 60 degrees, or `shown`, and its segmentation with manual scar."""
    labels = ventricle(slices=SLICES)
    shown = sector(90, 60, slices=SLICES) if shown is None else shown
    folder.mkdir(parents=True)
    nib.save(stored(np.nan_to_num(half(lge_of(labels, shown)))), folder / "lge.nii.gz")
    values = np.zeros(labels.shape, np.int16)
    for name, value in VALUES.items():
        values[labels == CLASS_INDEX[name]] = value
    if drawn is not None:
        values[drawn] = SCAR
    nib.save(stored(half(values)), folder / "lge_gt.nii.gz")
    (folder / "cine.nii.gz").write_bytes(b"")  # not read
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("start_deg", "width_deg", "dice", "ml_share", "extent"),
    [(90, 60, 1, 0, 0), (120, 60, 1 / 2, 0, 50 * 4 / 6), (90, 30, 2 / 3, 1 / 2, 50 / 6), (90, 0, 0, 1, 100 / 6)],
)
def test_the_errors_of_a_sector_follow_from_its_angles(tmp_path, start_deg, width_deg, dice, ml_share, extent):
    values = LabelValues((("lv", (1,)), ("myo", (2, SCAR)), ("rv", (5,))), scar=(SCAR,))
    drawn = sector(start_deg, width_deg, slices=SLICES)
    measured = write_heart(tmp_path / "measured", sector(90, 60, slices=SLICES)) / "lge_gt.nii.gz"
    manual = read_manual(write_heart(tmp_path / "manual", drawn) / "lge_gt.nii.gz", values)
    found = read_manual(measured, values)
    errors = errors_against(manual, found.figures, found.scar)
    amount_ml = 60 / 360 * np.pi * (30**2 - 20**2) * 5 * SLICES / 1000
    assert errors["dice"] == pytest.approx(dice, abs=0.02)
    assert errors["scar_ml"] == pytest.approx(ml_share * amount_ml, abs=0.15)
    assert errors["scar_percent"] == pytest.approx(ml_share * 100 / 6, abs=0.5)
    assert np.isnan(errors_against(manual, found.figures, None)["dice"])
    assert errors["segment_extent_percent"] == pytest.approx(
        np.nanmean(abs(found.figures["extent_percent"] - manual.figures["extent_percent"]))
    )
    if width_deg != 60 or start_deg == 90:  # the moved sector also crosses segments
        basal = slice(0, 6)
        difference = abs(found.figures["extent_percent"] - manual.figures["extent_percent"])[basal].mean()
        assert difference == pytest.approx(extent, abs=1)


def test_two_hearts_without_scar_agree_and_have_no_dice(tmp_path):
    values = LabelValues((("lv", (1,)), ("myo", (2, SCAR)), ("rv", (5,))), scar=(SCAR,))
    manual = read_manual(write_heart(tmp_path / "none") / "lge_gt.nii.gz", values)
    errors = errors_against(manual, manual.figures, manual.scar)
    assert np.isnan(errors.pop("dice"))
    assert set(errors.values()) == {0.0}


def test_a_broken_segmentation_is_named(tmp_path):
    path = write_heart(tmp_path / "heart", sector(0, 30, slices=SLICES)) / "lge_gt.nii.gz"
    with pytest.raises(DataError, match=r"must hold the labels 0 background, 1 lv, 2 myo, 5 rv only, got 3"):
        read_manual(path, LabelValues((("lv", (1,)), ("myo", (2,)), ("rv", (5,)))))


def test_manual_scar_of_the_phantom_by_emidec_s_values_is_the_true_scar(tmp_path):
    number = 3  # the first with scar
    path = patient_paths(number)[3]
    (tmp_path / "label.nii.gz").write_bytes(patient_files(0, number)[path])
    image = nib.load(tmp_path / "label.nii.gz")
    labels, scar = np.asarray(image.dataobj), true_scar(0, number)
    own = np.select([scar & (labels == 200), labels == 200, labels == 500], [3, 2, 1], 0).astype(np.int16)
    nib.save(nib.Nifti1Image(own, image.affine), tmp_path / "emidec.nii.gz")
    content = preset_content("emidec")
    content["files"]["cine"] = "{id}_cine.nii.gz"
    manual = read_manual(tmp_path / "emidec.nii.gz", dataset_from_content(content, tmp_path / "x").lge_values)
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert manual.figures["scar_ml"] == pytest.approx((own == 3).sum() * voxel_ml, rel=1e-4)
    assert manual.figures["scar_percent"] == pytest.approx(100 * (own == 3).sum() / (own > 1).sum(), rel=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four patients: scar drawn as it is, scar drawn elsewhere, none drawn, and no segmentation."""
    folder = tmp_path_factory.mktemp("hospital")
    drawn = {"case_10": sector(90, 60, slices=SLICES), "Zoë Müller": sector(270, 60, slices=SLICES), "7": None}
    for name, scar in drawn.items():
        write_heart(folder / name, scar)
    write_heart(folder / "case_9")
    (folder / "case_9" / "lge_gt.nii.gz").unlink()
    (folder / "dataset.toml").write_text(DESCRIPTION, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(folder, tmp_path_factory):
    """The results of the folder."""
    out = tmp_path_factory.mktemp("results") / "scar"
    assert run("--data", folder, "--out", out) == 0
    return out


def test_a_folder_has_the_user_s_names_and_the_errors_of_each_patient(measured):
    assert {path.name for path in measured.iterdir()} == {"case_10", "Zoë Müller", "patient7", "patients.csv"}
    table = pd.read_csv(measured / "patients.csv", dtype={"patient": str}).set_index("patient")
    assert list(table.index) == ["7", "case_10", "Zoë Müller"]
    assert table.loc["case_10", "dice"] > 0.97
    assert table.loc[["Zoë Müller", "7"], "dice"].tolist() == [0, 0]
    amount_ml = 60 / 360 * np.pi * (30**2 - 20**2) * 5 * SLICES / 1000
    assert table["scar_ml"].to_numpy() == pytest.approx(amount_ml, rel=0.05)
    assert table["manual_scar_ml"].tolist() == pytest.approx([0, amount_ml, amount_ml], rel=0.05)
    assert table["error_scar_ml"].tolist() == pytest.approx([amount_ml, 0, 0], abs=0.3)
    assert table["error_scar_percent"].tolist() == pytest.approx([100 / 6, 0, 0], abs=0.5)
    assert table.loc["Zoë Müller", "error_segment_percent"] == pytest.approx(100 * 2 / 6, abs=2)
    report = json.loads((measured / "Zoë Müller" / "scar.json").read_text())
    assert report["manual"]["manual_scar_ml"] == pytest.approx(amount_ml, rel=0.05)
    segments = pd.read_csv(measured / "Zoë Müller" / "segments.csv")
    assert segments["manual_scar_percent"].sum() > 100
    assert (segments["scar_percent"] * segments["manual_scar_percent"]).max() < 100


def test_manual_scar_is_no_input_of_the_measurement(measured):
    masks = [(path / "scar.nii.gz").read_bytes() for path in measured.iterdir() if path.is_dir()]
    assert len(masks) == 3
    assert len(set(masks)) == 1


def test_patients_without_a_segmentation_are_said_and_alone_they_are_an_error(folder, tmp_path, capsys):
    assert run("--data", folder, "--patients", "7,case_9", "--out", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "patients [case_9] are not measured: each must have a segmentation of LGE" in told.err
    assert "1 patient measured; against manual scar in 1: mean absolute error" in told.out
    assert run("--data", folder, "--patients", "case_9", "--out", tmp_path / "other") == 3
    assert "must have a segmentation of LGE, or --predicted, got none for [case_9]" in capsys.readouterr().err
    assert run("--data", folder, "--patients", "case_11", "--out", tmp_path / "other") == 3
    assert "is case_10 or case_9 meant" in capsys.readouterr().err.replace("case_9 or case_10", "case_10 or case_9")
    assert not (tmp_path / "other").exists()


def test_predictions_are_measured_against_lge_s_own_manual_scar(folder, tmp_path, capsys):
    predicted = tmp_path / "predicted" / "Zoë Müller"
    predicted.mkdir(parents=True)
    shutil.copyfile(folder / "case_10" / "lge.nii.gz", predicted / "lge_registered.nii.gz")
    shutil.copyfile(folder / "case_10" / "lge.nii.gz", predicted / "cine.nii.gz")
    image = nib.load(folder / "7" / "lge_gt.nii.gz")
    labels = np.asarray(image.dataobj)
    challenge = np.select([labels == 1, labels == 2, labels == 5], [500, 200, 600], 0).astype(np.int16)
    nib.save(nib.Nifti1Image(challenge, image.affine), predicted / "cine_segmentation.nii.gz")
    arguments = ["--data", folder, "--patients", "Zoë Müller,case_10", "--predicted", tmp_path / "predicted"]
    assert run(*arguments, "--out", tmp_path / "out") == 3
    told = capsys.readouterr()
    assert "case_10/lge_registered.nii.gz: must be a readable NIfTI file" in told.err
    row = pd.read_csv(tmp_path / "out" / "patients.csv").iloc[0]
    assert row["patient"] == "Zoë Müller"
    assert row["error_scar_ml"] == pytest.approx(0, abs=0.3)
    assert np.isnan(row["dice"])  # the grids differ, in general


def test_a_pair_with_the_values_of_a_description(folder, tmp_path, capsys):
    own = folder / "case_10"
    pair = ["--lge", own / "lge.nii.gz", "--labels", own / "lge_gt.nii.gz", "--out", tmp_path / "out"]
    assert run(*pair) == 3
    assert "--dataset FILE" in capsys.readouterr().err
    assert run(*pair, "--dataset", folder / "dataset.toml") == 0
    assert "against manual" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "scar.json").read_text())["manual"]["dice"] > 0.97


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--lge", "a"], ["--labels: must be given with --lge, got none"]),
        (["--lge", "a", "--labels", "b", "--patients", "1"], ["--patients: must be given with --data, got 1"]),
        (["--lge", "a", "--labels", "b", "--predicted", "p"], ["--predicted: must be given with --data, got p"]),
        (
            ["--data", "d", "--labels", "b", "--cine", "c"],
            ["--labels: must be given with --lge, got b", "--cine: must be given with --lge, got c"],
        ),
    ],
)
def test_options_that_do_not_go_together(tmp_path, arguments, told, capsys):
    assert run(*arguments, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in told]

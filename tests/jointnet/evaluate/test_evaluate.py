import csv
import shutil
import statistics

import pandas as pd
import pytest
import torch
from scans import cropped, pair, stir, tiny_settings, without, write_patient

from jointnet.evaluate.__main__ import main
from jointnet.evaluate.command import table
from jointnet.model_file import save_model
from jointnet.networks import build_model

HEADER = "patient,slice,structure,metric,before,after"


def run(data, out, model="identity", *more):
    return main(["--data", str(data), "--model", str(model), "--out", str(out), "--device", "cpu", *map(str, more)])


@pytest.fixture(params=["standalone", "joint"])
def model(request, tmp_path):
    settings = tiny_settings(model__name=request.param)
    torch.manual_seed(0)
    network = build_model(settings)
    stir(network)
    save_model(tmp_path / "model.pt", network.state_dict(), settings, {"training": [1, 2], "validation": [3]}, 1)
    return request.param, tmp_path / "model.pt"


def corrupt(folder, *numbers):
    for number in numbers:
        for path in folder.glob(f"patient{number}_*"):
            path.write_bytes(b"ruined")


def test_identity_does_nothing(scan_folder, tmp_path, capsys):
    out = tmp_path / "deeper" / "rows.csv"
    assert run(scan_folder, out) == 0
    assert out.read_text().splitlines()[0] == HEADER
    assert [path.name for path in out.parent.iterdir()] == ["rows.csv"]
    rows = list(csv.DictReader(out.open()))
    assert all(row["before"] == row["after"] for row in rows)
    pairs = {(row["metric"], row["structure"]) for row in rows}
    assert pairs == {("cd_mm", "lv"), ("cd_mm", "rv")} | {
        (metric, name) for metric in ("asd_mm", "dice") for name in ("lv", "myo", "rv")
    }
    assert len(rows) == 5 * 4 * 8, "patients, slices, values"
    for row in rows:
        if row["metric"] == "cd_mm":
            # LGE is displaced by (4.8, 3.6) mm, and both discs are rasterised on voxels of 1.9 to 2.5 mm
            assert float(row["before"]) == pytest.approx(6.0, abs=0.5)
    shown = capsys.readouterr().out
    assert "registration ratio 1.000" in shown
    assert "cd_mm" in shown


def test_a_model_s_rows(scan_folder, tmp_path, model, capsys):
    name, path = model
    assert run(scan_folder, tmp_path / "rows.csv", path) == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert ",".join(rows.columns) == HEADER
    segmented = {"dice_cine", "dice_lge"}
    assert set(rows["metric"]) == {"cd_mm", "asd_mm", "dice"} | (segmented if name == "joint" else set())
    of_segmentation = rows["metric"].isin(segmented)
    assert rows.loc[of_segmentation, "before"].isna().all()
    assert not rows.loc[~of_segmentation].isna().any(axis=None)
    assert (rows.loc[~of_segmentation, "before"] != rows.loc[~of_segmentation, "after"]).mean() > 0.5
    capsys.readouterr()


def test_images_alone_register_without_a_model_file(scan_folder, tmp_path, capsys):
    """LGE is displaced by (4.8, 3.6) mm."""
    assert run(scan_folder, tmp_path / "rows.csv", "descriptors") == 0
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert set(rows["metric"]) == {"cd_mm", "asd_mm", "dice"}
    distances = rows.loc[rows["metric"] == "cd_mm"]
    assert distances["after"].mean() < 0.3 * distances["before"].mean()
    assert "warning" not in capsys.readouterr().err


def test_what_the_common_field_cuts_is_said(tmp_path, capsys):
    for number in (1, 2, 3):
        cine, lge = pair(seed=number, lge_shift_mm=(4.8, 3.6), slices=1)
        write_patient(tmp_path / "scans", number, cine, cropped(lge, 20) if number > 1 else lge)
    assert run(tmp_path / "scans", tmp_path / "rows.csv") == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "left out: 4 structures of 2 patients that the common field cuts"
    )
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert set(rows.loc[rows["structure"] == "rv", "patient"]) == {1}
    assert set(rows["patient"]) == {1, 2, 3}
    assert run(tmp_path / "scans", tmp_path / "rows.csv", "identity", "--patients", "1") == 0
    assert "left out" not in capsys.readouterr().out


def test_a_folder_stands_for_the_model_in_it(scan_folder, tmp_path, model, capsys):
    assert run(scan_folder, tmp_path / "one.csv", model[1]) == 0
    assert run(scan_folder, tmp_path / "two.csv", model[1].parent) == 0
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()
    capsys.readouterr()


def test_only_the_patients_named_are_opened(scan_folder, tmp_path, capsys):
    scans = shutil.copytree(scan_folder, tmp_path / "own")
    corrupt(scans, 1, 3, 5)
    assert run(scans, tmp_path / "rows.csv", "identity", "--patients", "4,2") == 0
    assert set(pd.read_csv(tmp_path / "rows.csv")["patient"]) == {2, 4}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("patients", "warned"),
    [("4-5", []), ("2-3", ["training", "validation"]), ("1", ["training"]), ("3,5", ["validation"])],
)
def test_patients_that_made_the_model_are_warned_of(scan_folder, tmp_path, model, capsys, patients, warned):
    assert run(scan_folder, tmp_path / "rows.csv", model[1], "--patients", patients) == 0
    err = capsys.readouterr().err
    assert err.count("warning") == len(warned)
    assert all(role in err for role in warned)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.pt",), "absent.pt"),
        (("identity", "--patients", "9-1"), "--patients"),
        (("identity", "--patients", ""), "--patients"),
        (("identity", "--device", "abacus"), "--device"),
    ],
)
def test_bad_usage_is_2_and_writes_nothing(scan_folder, tmp_path, capsys, arguments, words):
    assert run(scan_folder, tmp_path / "rows.csv", *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert not (tmp_path / "rows.csv").exists()


def test_a_device_that_is_none_is_not_blamed_on_the_model(scan_folder, tmp_path, model, capsys):
    assert run(scan_folder, tmp_path / "rows.csv", model[1], "--device", "abacus") == 2
    assert "--device" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_2(scan_folder, tmp_path, capsys):
    (tmp_path / "model.pt").write_bytes(b"nothing")
    assert run(scan_folder, tmp_path / "rows.csv", tmp_path / "model.pt") == 2
    assert str(tmp_path / "model.pt") in capsys.readouterr().err


def test_bad_data_is_3_and_writes_nothing(scan_folder, tmp_path, capsys):
    scans = shutil.copytree(scan_folder, tmp_path / "own")
    corrupt(scans, 2)
    assert run(scans, tmp_path / "rows.csv") == 3
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert not (tmp_path / "rows.csv").exists()
    assert run(tmp_path / "absent", tmp_path / "rows.csv") == 3
    assert run(scans, tmp_path / "rows.csv", "identity", "--patients", "70") in (2, 3)


def test_the_table_shows_mean_and_sample_sd_over_patients():
    values = {"1": 2.0, "2": 3.0, "3": 7.0}
    rows = pd.DataFrame(
        [(p, 0, "lv", "cd_mm", v, v / 2, False) for p, v in values.items()]
        + [(p, 0, "lv", "dice_cine", float("nan"), 0.5, False) for p in values],
        columns=["patient", "slice", "structure", "metric", "before", "after", "lost"],
    )
    lines = {line.split()[0]: line for line in table(rows).splitlines()}
    mean, sd = statistics.mean(values.values()), statistics.stdev(values.values())
    assert f"{mean:.3f} ({sd:.3f})" in lines["cd_mm"]
    assert f"{mean / 2:.3f} ({sd / 2:.3f})" in lines["cd_mm"]
    assert lines["cd_mm"].split()[-1] == "3"
    assert "nan" not in lines["dice_cine"]


def test_a_missing_file_does_not_hide_the_other_errors(scan_folder, tmp_path, capsys):
    folder = tmp_path / "scans"
    shutil.copytree(scan_folder, folder)
    next(folder.rglob("patient2_LGE.nii.gz")).unlink()
    for path in folder.rglob("patient4_C0.nii.gz"):
        path.write_bytes(b"ruined")
    assert run(folder, tmp_path / "rows.csv") == 3
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "patient2_LGE.nii.gz" in told[0]
    assert "patient4_C0.nii.gz" in told[1]
    assert not (tmp_path / "rows.csv").exists()


def test_a_structure_that_no_patient_shows_is_named_beside_the_ratio_that_is_without_it(tmp_path, capsys):
    cine, lge = pair(lge_shift_mm=(4.8, 3.6))
    write_patient(tmp_path / "scans", 1, cine, without(lge, "rv"))
    assert run(tmp_path / "scans", tmp_path / "rows.csv") == 0
    shown = capsys.readouterr()
    assert "ratio: geometric mean over LV CD, LV ASD, myocardium ASD\n" in shown.out
    assert shown.err.startswith(
        "warning: --patients: the patients must show rv in both segmentations of a slice, wholly"
    )


def test_a_chosen_patient_that_lacks_a_file_is_reported_with_the_file(scan_folder, tmp_path, capsys):
    folder = shutil.copytree(scan_folder, tmp_path / "scans")
    (folder / "patient2_LGE_manual.nii.gz").unlink()
    assert run(folder, tmp_path / "rows.csv", "identity", "--patients", "1,2,9") == 3
    assert capsys.readouterr().err.splitlines() == [
        f"error: {folder}: patient 2 lacks patient2_LGE_manual.nii.gz; if nobody drew it, describe the folder "
        f"(python -m jointnet.data init {folder} --write); add or remove the patient",
        "error: patients [9] must be in the folder, which holds [1]",
    ]

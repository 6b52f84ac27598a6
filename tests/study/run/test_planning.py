"""Working directories that do not last, and the splits of a command."""

import json
import shutil
from pathlib import Path

import pytest

from jointnet.errors import DataError, SettingsError
from study.plan.identity import digest
from study.plan.plan import Design, Plan, specification
from study.plan.plan_text import render
from study.run.__main__ import parser
from study.run.planning import is_job_folder, plan_from_options


@pytest.mark.parametrize(
    ("folder", "gone_with_the_job"),
    [("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1", True), ("/home/me/project", False)],
)
def test_the_working_directory_of_a_submitted_job_does_not_last(folder: str, gone_with_the_job: bool):
    assert is_job_folder(Path(folder)) is gone_with_the_job


@pytest.mark.parametrize(
    ("search", "options", "splits", "same"),
    [
        ("joint", (), ["25/5/5", "35/5/5"], True),
        ("joint", ("--splits", "25/15/5", "35/5/5"), ["25/15/5", "35/5/5"], False),
        ("joint", ("--splits", "25/15/5", "35/5/5", "--same-validation"), ["25/5/5", "35/5/5"], True),
        ("paper", (), ["25/15/5", "35/5/5"], False),
        ("joint", ("--folds", "9"), ["25/5/5", "35/5/5"], True),
        ("joint", ("--folds", "3"), ["18/4/15", "26/4/15"], True),
        ("paper", ("--folds", "9"), ["25/15/5", "35/5/5"], False),
    ],
)
def test_splits_that_are_not_stated_have_equal_validation_patients(
    search: str, options: tuple[str, ...], splits: list[str], same: bool, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan = plan_from_options(parser().parse_args(["--search", search, *options]))
    assert list(dict.fromkeys(str(arm.split.counts) for arm in plan.arms)) == splits
    assert plan.design.same_validation is same
    validated = {arm.split.validation for arm in plan.arms if arm.fold == 1}
    assert (len(validated) == 1) is same


def test_the_plan_of_a_folder_says_who_can_only_train_and_who_is_left_unused(tmp_path: Path, monkeypatch, scan_folder):
    """Of ten patients, cine of 2 and LGE of 5 and 6 are not labelled, and nothing of 7."""
    monkeypatch.chdir(tmp_path)
    for number in range(1, 11):
        for path in scan_folder.glob(f"patient{1 + number % 5}_*"):
            shutil.copyfile(path, tmp_path / path.name.replace(path.name.split("_")[0], f"patient{number}"))
    for name in ("2_C0", "5_LGE", "6_LGE", "7_C0", "7_LGE"):
        (tmp_path / f"patient{name}_manual.nii.gz").unlink()
    (tmp_path / "dataset.toml").write_text('preset = "mscmrseg"\nstructures = ["myo", "lv"]\n')
    options = ["--search", "joint", "--data", str(tmp_path), "--splits", "3/2/2", "5/2/2", "--seed", "1"]
    plan = plan_from_options(parser().parse_args(options))
    for arm in plan.arms:
        assert not {"2", "5", "6", "7"} & {*arm.split.validation, *arm.split.test}
        assert "7" not in arm.split.train
        assert arm.settings.model.structures == ("lv", "myo")
    text = render(plan)
    assert "3 patients can only train, and only a model that segments" in text
    assert "1 patient is left unused, because nothing is labelled" in text
    assert specification(plan)["endpoints"] == ["cd_mm/lv", "asd_mm/lv", "asd_mm/myo"]


def plan_of_command(*options: str) -> Plan:
    return plan_from_options(parser().parse_args(["--search", "joint", *options]))


def test_only_the_patients_of_a_list_take_part(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("9\n10\n1\n2\n# 3\n")
    for given in ("1,2,9-10", "@own.txt"):
        plan = plan_of_command("--patients", given, "--splits", "2/1/1")
        (split,) = plan.splits.values()
        assert {*split.train, *split.validation, *split.test} == {"1", "2", "9", "10"}
        assert plan.remarks == ("only these patients take part (--patients): 4 [1, 2, 9, 10]",)
    with pytest.raises(SettingsError, match=r"--patients: must be the phantom's, 1-45, got \[46, x\]"):
        plan_of_command("--patients", "1-46,x")
    with pytest.raises(SettingsError, match="--patients: a range must end with the larger number"):
        plan_of_command("--patients", "3-1")


def test_files_of_patients_that_take_no_part_are_not_looked_at(tmp_path: Path, monkeypatch, scan_folder: Path):
    shutil.copytree(scan_folder, tmp_path / "scans")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "scans").rglob("patient2_*"):
        path.write_bytes(b"no scan")
    for path in (tmp_path / "scans").rglob("patient3_LGE*"):
        path.unlink()
    plan = plan_of_command("--data", "scans", "--patients", "1,4-5", "--splits", "1/1/1")
    assert plan.data.patients == 3
    (split,) = plan.splits.values()
    assert sorted((*split.train, *split.validation, *split.test)) == ["1", "4", "5"]
    with pytest.raises(DataError, match=r"patients \[04\] must be in the folder"):
        plan_of_command("--data", "scans", "--patients", "1,04,5", "--splits", "1/1/1")


SPLITS = [
    {"train": train, "validation": [9], "test": test} for test in ([1, 2], [3, 4]) for train in ([5, 6], [5, 6, 7, 8])
]


def test_a_file_of_splits_makes_folds_and_arms_and_is_named_in_the_plan(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps(SPLITS))
    plan = plan_of_command("--splits-file", "splits.json")
    assert [(arm.key, arm.split.test) for arm in plan.arms] == [
        (f"fold-{fold}/joint-{train}", test) for fold, test in ((1, ("1", "2")), (2, ("3", "4"))) for train in (2, 4)
    ]
    assert plan.design == Design(folds=2, splits_file="splits.json")
    shown = render(plan)
    assert "the splits are those of splits.json: 2 folds" in shown
    assert "each patient is tested in at most one of them" in shown
    assert plan_of_command("--splits-file", "splits.json", "--folds", "2").splits == plan.splits
    before = digest(specification(plan))
    (tmp_path / "splits.json").write_text(json.dumps([SPLITS[0] | {"validation": [10]}, *SPLITS[1:]]))
    assert digest(specification(plan_of_command("--splits-file", "splits.json"))) != before


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--splits", "2/1/1"), "--splits: must not be given with --splits-file"),
        (("--same-validation",), "--same-validation: must not be given with --splits-file"),
        (("--folds", "3"), "--folds: must be left out, or the 2 of --splits-file splits.json, got 3"),
        (("--patients", "1-8"), r"must be patients of the data, \[1, 2, 3, 4, 5, 6, 7, 8\], got \[9\]"),
    ],
)
def test_what_contradicts_a_file_of_splits_is_refused(tmp_path: Path, monkeypatch, options, error: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits.json").write_text(json.dumps(SPLITS))
    with pytest.raises(SettingsError, match=error):
        plan_of_command("--splits-file", "splits.json", *options)

"""Working directories that do not last, and the splits of a command."""

import shutil
from pathlib import Path

import pytest

from study.plan.plan import specification
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
    assert "3 patients can only train, because not both scans are labelled: [2, 5, 6]" in text
    assert "1 patients are left unused, because nothing is labelled" in text
    assert specification(plan)["endpoints"] == ["cd_mm/lv", "asd_mm/lv", "asd_mm/myo"]

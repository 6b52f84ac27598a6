"""Working directories that do not last, and the splits of a command."""

from pathlib import Path

import pytest

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

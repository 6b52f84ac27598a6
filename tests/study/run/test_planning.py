"""Working directories that do not last."""

from pathlib import Path

import pytest

from study.run.planning import is_job_folder


@pytest.mark.parametrize(
    ("folder", "gone_with_the_job"),
    [("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1", True), ("/home/me/project", False)],
)
def test_the_working_directory_of_a_submitted_job_does_not_last(folder: str, gone_with_the_job: bool):
    assert is_job_folder(Path(folder)) is gone_with_the_job

"""Whole studies of foreign folders: their rows are those of the same patients in the challenge's layout."""

from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from foreign_folders import LAYOUTS, foreign_names, write_foreign
from simulation import search_in_process

import jointnet.data.__main__
import study.run.conduct
from study import StudyTables, read_study
from study.run.__main__ import main

TINY = """
question = "Does it run?"
models = ["joint"]
splits = ["2/1/2"]
[fixed]
"model.widths" = [4, 4]
"model.neighbours" = 0
"training.downsampling" = 4
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[parameters.alpha]
low = 0.0
high = 1.0
scale = "linear"
why = "all of it"
[fidelity]
max_epochs = 1
grace_epochs = 1
reduction_factor = 2
[budget]
num_samples = 1
"""
FOREIGN = ("acdc", "spaces")
REPORTED = "spaces"
"""The one whose report is written, which takes most of the time."""


def _study(data: Path) -> StudyTables:
    assert main(["--search", "tiny", "--data", str(data), "--cache", "cache"]) == 0
    return read_study()


def test_studies_of_foreign_folders_have_the_same_rows(
    scan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: str, capsys
):
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces/tiny.toml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("study.run.rounds.ray_session", lambda address: nullcontext())
    monkeypatch.setattr("study.run.rounds.run_round", search_in_process)
    report = study.run.conduct._report
    monkeypatch.setattr("study.run.conduct._report", lambda plan, outcome: 0)
    expected = _study(scan_folder)
    assert len(expected.rows) > 50
    seen = {expected.study_id}
    for name in FOREIGN:
        layout, folder = LAYOUTS[name], tmp_path / name
        write_foreign(scan_folder, folder, layout)
        assert jointnet.data.__main__.main(["init", str(folder), "--write"]) == 0
        if name == REPORTED:
            monkeypatch.setattr("study.run.conduct._report", report)
        found = _study(folder)
        assert found.study_id not in seen
        seen.add(found.study_id)
        names = {str(number): foreign for number, foreign in foreign_names(scan_folder, layout).items()}
        renamed = expected.rows.assign(patient=expected.rows["patient"].map(names))
        pd.testing.assert_frame_equal(found.rows, renamed, check_exact=True)
        tested = [column for column in expected.arms if column.startswith("test/")] + ["objective"]
        pd.testing.assert_frame_equal(found.arms[tested], expected.arms[tested], check_exact=True)
    (page,) = (tmp_path / "runs").glob("**/report.html")
    assert all(patient in page.read_text(encoding="utf-8") for patient in found.rows["patient"].unique())
    capsys.readouterr()

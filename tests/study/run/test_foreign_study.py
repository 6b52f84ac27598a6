"""Whole studies of foreign folders: their rows are those of the same patients in the challenge's layout."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from foreign_folders import LAYOUTS, Layout, foreign_names, reference_description, write_foreign, write_reference
from tiny_study import search_in_process, tiny_search

import jointnet.data.__main__
from study import StudyTables, read_study
from study.report.store.reader import read_study as read_records
from study.run.__main__ import main
from study.store_address import default_tracking_uri
from study.store_names import REMARKS_TAG


@pytest.fixture
def folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory in which studies run without Ray and without a report."""
    text = tiny_search("joint", splits=["2/1/2"])
    (workplace / "search_spaces/tiny.toml").write_text(text)
    monkeypatch.setattr("study.run.rounds.ray_session", lambda address: nullcontext())
    monkeypatch.setattr("study.run.rounds.run_round", search_in_process)
    return workplace


def _study(data: Path) -> StudyTables:
    assert main(["--search", "tiny", "--data", str(data)]) == 0
    return read_study()


def _check_same(found: StudyTables, expected: StudyTables, scans: Path, layout: Layout) -> None:
    assert found.study_id != expected.study_id
    names = {str(number): foreign for number, foreign in foreign_names(scans, layout).items()}
    renamed = expected.rows.assign(patient=expected.rows["patient"].map(names))
    pd.testing.assert_frame_equal(found.rows, renamed, check_exact=True)
    tested = [column for column in expected.arms if column.startswith("test/")] + ["objective"]
    pd.testing.assert_frame_equal(found.arms[tested], expected.arms[tested], check_exact=True)


def test_a_foreign_folder_has_the_same_rows_and_its_names_in_the_report(
    scan_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr("study.run.conduct._report", lambda plan, outcome: 0)
        expected = _study(scan_folder)
    assert len(expected.rows) > 50
    write_foreign(scan_folder, folder / "spaces", LAYOUTS["spaces"])
    assert jointnet.data.__main__.main(["init", str(folder / "spaces"), "--write"]) == 0
    found = _study(folder / "spaces")
    _check_same(found, expected, scan_folder, LAYOUTS["spaces"])
    (page,) = (folder / "runs").glob("**/report.html")
    assert all(patient in page.read_text(encoding="utf-8") for patient in found.rows["patient"].unique())
    capsys.readouterr()


def test_incomplete_foreign_folders_have_the_same_rows(
    scan_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    """LGE is not labelled in the first patient, who can only train, and RV not drawn in the last, who is tested."""
    monkeypatch.setattr("study.run.conduct._report", lambda plan, outcome: 0)
    monkeypatch.setattr("study.run.stages.evaluators", dict)  # without baselines
    expected = None
    for name in ("acdc", "emidec"):
        layout = replace(LAYOUTS[name], without_lge_label=(0,), without_rv=(4,))
        if expected is None:
            write_reference(scan_folder, folder / "reference", layout)
            (folder / "reference/dataset.toml").write_text(str(reference_description(scan_folder, layout)))
            expected = _study(folder / "reference")
            tested = expected.rows.drop_duplicates(["patient", "structure"])["structure"].value_counts()
            assert tested.to_dict() == {"lv": 2, "myo": 2, "rv": 1}
        write_foreign(scan_folder, folder / name, layout)
        assert jointnet.data.__main__.main(["init", str(folder / name), "--write"]) == 0
        capsys.readouterr()
        found = _study(folder / name)
        told = read_records(default_tracking_uri(), found.study_id).tags[REMARKS_TAG].splitlines()
        assert [line.rpartition(": ")[2] for line in told] == [f"[{layout.name(1)}]", f"[{layout.name(5)}]"]
        plan = " ".join(capsys.readouterr().out.split())
        assert all(line in plan for line in told)
        _check_same(found, expected, scan_folder, layout)

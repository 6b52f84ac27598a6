"""The Python interface reads every study of a store into tables with documented columns."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_store as synthetic

import study
from study.report.store.slice_rows import ROW_COLUMNS
from study.store_names import BASELINES

ARMS = ["arm", "fold", "method", "model", "train", "validation", "annotated", "test"]
ARMS += ["trials", "selected", "objective", "openings", "minutes"]
TRIALS = ["arm", "fold", "trial", "state", "reason", "objective", "best_epoch", "epochs", "minutes"]
ROWS = ["arm", "fold", "method", "annotated", *ROW_COLUMNS]


def test_studies_are_listed_newest_first(studies: str):
    assert study.list_studies(studies) == ["doubtful", "contradiction", "empty", synthetic.FULL, synthetic.PARTIAL]


@pytest.mark.parametrize("study_id", [synthetic.FULL, synthetic.PARTIAL, "empty", None])
def test_every_study_has_the_documented_columns_first(studies: str, study_id: str | None):
    tables = study.read_study(study_id, studies)
    assert tables.study_id == (study_id or "doubtful")
    for frame, columns in ((tables.arms, ARMS), (tables.trials, TRIALS), (tables.rows, ROWS)):
        assert list(frame)[: len(columns)] == columns
    assert set(re.findall(r"`(\w+)`", study.StudyTables.__doc__ or "")) >= {*ARMS, *TRIALS, *ROWS}
    assert tables.arms["objective"].isna().tolist() == tables.arms["selected"].isna().tolist()
    assert tables.arms["trials"].sum() == len(tables.trials)
    assert set(tables.rows["arm"]) <= set(tables.arms["arm"])
    assert (tables.arms["annotated"] == tables.arms["train"] + tables.arms["validation"]).all()


def test_a_study_without_arms_has_empty_tables(studies: str):
    tables = study.read_study("empty", studies)
    assert [len(frame) for frame in (tables.arms, tables.trials, tables.rows)] == [0, 0, 0]
    assert tables.rows.groupby(["arm", "metric", "structure"])[["before", "after"]].mean().empty


def test_rows_without_annotation_are_there_with_0_annotated_patients(uri: str, tmp_path: Path):
    arms = [replace(arm, trials=arm.trials[:1], selected=0) for arm in synthetic.full_arms()[:2]]
    synthetic.write_study(uri, "rows-without-annotation", arms, tmp_path)
    for name in BASELINES:  # the store returns the newest first
        synthetic.write_baseline(uri, "rows-without-annotation", name, synthetic.slice_rows(0.55, False), tmp_path)
    tables = study.read_study("rows-without-annotation", uri)
    found = tables.rows.drop_duplicates("arm").set_index("arm")[["method", "annotated"]]
    assert list(found.index) == [*BASELINES, "joint-25", "joint-35"]
    assert found.to_dict("index") == {
        **{name: {"method": name, "annotated": 0} for name in BASELINES},
        "joint-25": {"method": "joint", "annotated": 40},
        "joint-35": {"method": "joint", "annotated": 40},
    }
    assert not set(BASELINES) & set(tables.arms["arm"])

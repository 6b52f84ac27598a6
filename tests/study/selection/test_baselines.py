"""Baselines: their names and folders, their rows on the patients, and settings that do not follow the arms."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from cohort import cached_patients
from plans import plan_of

from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.mutual_information import is_installed
from jointnet.preparation.cache import fingerprint
from study.plan.splits import Split
from study.search.file.split_counts import Counts
from study.selection.baselines import baselines_of, evaluate_baseline, evaluators
from study.store_names import BASELINES, SIMPLEITK, is_plain_name


def test_each_fold_has_each_baseline_once_on_its_test_patients():
    plan = plan_of()
    arms = [
        replace(arm, fold=fold, folds=2, split=Split(Counts(2, 1, 1), ("1", "2"), ("3",), (str(3 + fold),)))
        for fold in (1, 2)
        for arm in plan.arms[:2]
    ]
    found = baselines_of(replace(plan, arms=tuple(arms)))
    assert [(one.key, one.test) for one in found] == [
        (f"fold-{fold}/baselines/{name}", (str(3 + fold),)) for fold in (1, 2) for name in BASELINES
    ]
    assert found[0].tags == {"baseline": next(iter(BASELINES)), "fold": "1", "folds": "2"}
    single = baselines_of(plan)
    assert [one.key for one in single] == [f"baselines/{name}" for name in BASELINES]
    assert single[0].test == plan.arms[0].split.test and "fold" not in single[0].tags
    assert set(evaluators()) <= set(BASELINES) and all(map(is_plain_name, BASELINES))


@pytest.mark.skipif(not is_installed(), reason="SimpleITK is not installed")
def test_rows_and_means_are_written_and_named(tmp_path: Path):
    patients = cached_patients(tmp_path / "cache", 2, slices=1)
    result = evaluate_baseline(SIMPLEITK, patients, tmp_path / "out", "cpu")
    rows = pd.read_csv(tmp_path / "out" / "slices.csv")
    assert set(rows["patient"]) == {1, 2} and set(rows["metric"]) == {"cd_mm", "asd_mm", "dice"}
    assert result.fingerprint == fingerprint(patients)
    for name, value in named_metrics(rows, "test").items():
        assert result.metrics[name] == pytest.approx(value)
    assert result.metrics["test/before/cd_mm/lv"] > result.metrics["test/cd_mm/lv"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"slices.csv", "patients.csv"}

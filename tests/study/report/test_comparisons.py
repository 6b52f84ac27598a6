"""Comparisons paired by patient: sign of differences, family of endpoints, and cases that cannot be compared."""

import math

import numpy as np
import pandas as pd
import pytest
from known_rows import patients_of
from scipy import stats

from jointnet.evaluate.aggregation import ENDPOINTS
from study.report.statistics.comparisons import (
    compare_arms,
    compare_with_before,
    comparison_frame,
)
from study.report.statistics.trainings import Trainings

BEFORE = [5.0, 4.0, 6.0, 7.0, 3.0, 5.5]
FIRST = [2.0, 2.5, 2.0, 4.0, 2.6, 3.0]
SECOND = [2.5, 2.6, 2.4, 4.9, 2.5, 3.3]


def test_an_arm_with_before() -> None:
    family = compare_with_before(patients_of(FIRST, BEFORE))
    assert [(one.metric, one.structure) for one in family] == list(ENDPOINTS)
    one, expected = family[0], stats.ttest_rel(FIRST, BEFORE)
    assert (one.reference_mean, one.compared_mean) == pytest.approx((np.mean(BEFORE), np.mean(FIRST)))
    assert (one.test.t, one.test.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert one.holm_p == pytest.approx(5 * expected.pvalue)  # five equal p values, each multiplied by five
    assert one.holm_wilcoxon_p == pytest.approx(5 * stats.wilcoxon(FIRST, BEFORE, method="exact").pvalue)
    assert one.relative.estimate == pytest.approx(np.mean(FIRST) / np.mean(BEFORE) - 1)
    assert one.bootstrap.low < one.test.difference < one.bootstrap.high < 0
    assert one.deciding.detectable > 0
    assert "one fold" in one.folds.reason


def test_arms_are_paired_by_patient_not_by_line() -> None:
    shuffled = patients_of(FIRST).sample(frac=1, random_state=1)
    family = compare_arms({"a": patients_of(SECOND), "b": shuffled}, "a", "b")
    expected = stats.ttest_rel(FIRST, SECOND)
    assert family[0].test.difference == pytest.approx(np.mean(FIRST) - np.mean(SECOND))
    assert family[0].test.p == pytest.approx(expected.pvalue)


def test_folds_are_compared_too() -> None:
    folds = [1, 1, 2, 2, 3, 3]
    frames = {"a": patients_of([0.5] * 6, folds=folds), "b": patients_of([1.0, 2.0, 3.0, 2.0, 3.5, 3.5], folds=folds)}
    one = compare_arms(frames, "a", "b", Trainings(4, 1, 0.0, 2.0))[0]
    assert (one.deciding.scope, one.deciding.over) == ("method", "folds")
    assert (one.folds.folds, one.folds.difference) == (3, 2.0)
    assert one.folds.t == pytest.approx(2 / math.sqrt(5 / 6))


def test_a_missing_endpoint_counts_in_the_family() -> None:
    frames = {name: patients_of(values, endpoints=ENDPOINTS[:3]) for name, values in (("a", FIRST), ("b", SECOND))}
    family = compare_arms(frames, "a", "b")
    assert [one.reason for one in family[3:]] == ["no test values of cd_mm of rv", "no test values of asd_mm of rv"]
    assert family[0].holm_p == pytest.approx(min(1.0, 5 * family[0].test.p))
    assert all(math.isnan(one.holm_p) for one in family[3:])
    before = compare_with_before(frames["a"])
    assert before[4].reason == "no test values of asd_mm of rv"
    assert before[0].holm_p == pytest.approx(5 * before[0].test.p)


def test_a_lost_structure_takes_part_with_its_worst_case() -> None:
    lost = compare_arms({"a": patients_of(FIRST), "b": patients_of([237.6, *SECOND[1:]])}, "a", "b")[0]
    assert lost.test.patients == 6
    assert lost.compared_mean > 40


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (None, "no test values of b"),
        (patients_of([]), "no test values of b"),
        (patients_of(SECOND[:5]), "a and b were not tested on the same patients, e.g. 6 in fold 1"),
        (patients_of(SECOND, folds=[1, 1, 1, 1, 1, 2]), "a and b were not tested on the same patients, e.g. 6 in fold"),
        (patients_of([*SECOND[:5], math.nan]), "a value is missing"),
        (patients_of(FIRST), "no patient changed"),
        (patients_of([value + 0.1 for value in FIRST]), "same amount"),
    ],
    ids=["absent", "empty", "fewer", "other fold", "nan", "equal", "shifted"],
)
def test_what_cannot_be_compared(second: pd.DataFrame | None, reason: str) -> None:
    frames = {"a": patients_of(FIRST)} | ({} if second is None else {"b": second})
    one = compare_arms(frames, "a", "b", Trainings(4, 1, 0.0, 2.0))[0]
    assert reason in one.reason
    numbers = (one.test.p, one.holm_p, one.holm_wilcoxon_p, one.bootstrap.low, one.folds.p, one.deciding.detectable)
    assert all(math.isnan(number) for number in numbers)


@pytest.mark.parametrize("patients", [1, 2])
def test_few_patients(patients: int) -> None:
    one = compare_arms({"a": patients_of(FIRST[:patients]), "b": patients_of(SECOND[:patients])}, "a", "b")[0]
    assert math.isnan(one.test.p) == (patients == 1)
    assert math.isnan(one.bootstrap.low)
    assert f"{'one' if patients == 1 else '2'} patient" in one.bootstrap.reason


def test_a_patient_twice_is_a_mistake_of_the_caller() -> None:
    twice = pd.concat([patients_of(FIRST), patients_of(FIRST[:1])])
    with pytest.raises(ValueError, match="b: patient 1 has more than one value of cd_mm of lv"):
        compare_arms({"a": patients_of(FIRST), "b": twice}, "a", "b")


def test_the_frame_holds_a_line_per_endpoint() -> None:
    frames = {"a": patients_of(FIRST), "b": patients_of(SECOND)}
    table = comparison_frame(
        {("a", "b"): compare_arms(frames, "a", "b"), ("before", "a"): compare_with_before(frames["a"])}
    )
    assert len(table) == 10
    assert table["reference"].tolist() == ["a"] * 5 + ["before"] * 5
    assert (table["high"] - table["low"] > 0).all()
    assert "difference" in comparison_frame({("a", "b"): compare_arms({}, "a", "b")})

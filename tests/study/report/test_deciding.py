"""The deciding test by hand, against SciPy's t interval of fold means, and its detectable differences."""

import math

import numpy as np
import pytest
from scipy import stats

from study.report.statistics.deciding import deciding_test, detectable_difference, fold_error
from study.report.statistics.paired import paired_test
from study.report.statistics.trainings import Trainings

FOLDS = np.array([1, 1, 2, 2, 3, 3])
APART = np.array([0.5, 1.5, 2.5, 1.5, 3.0, 3.0])  # fold means 1, 2, 3; squares within folds 0.5, 0.5, 0
ALIKE = np.array([0.5, 3.5, 1.0, 3.0, 0.0, 4.0])  # all fold means 2
DISJOINT = Trainings(4, 1, 0.0, 2.0)


def test_without_shared_training_patients_it_is_the_t_interval_of_the_fold_means() -> None:
    outcome = deciding_test(paired_test(np.zeros(6), APART), APART, FOLDS, DISJOINT)
    expected = stats.ttest_1samp([1.0, 2.0, 3.0], 0)
    interval = expected.confidence_interval(0.95)
    assert (outcome.scope, outcome.over, outcome.freedom) == ("method", "folds", 2)
    assert (outcome.low, outcome.high) == pytest.approx((interval.low, interval.high))
    assert outcome.p == pytest.approx(expected.pvalue)


def test_shared_training_patients_widen_it() -> None:
    # Variance of the fold means 1, of patients within folds 1/3, so of a mean of two 1/6: the excess is 5/6.
    assert fold_error(APART, FOLDS, Trainings(4, 1, 0.5, 2.0)) == pytest.approx(math.sqrt(1 / 3 + 5 / 6))
    assert fold_error(APART, FOLDS, Trainings(4, 1, 0.75, 2.0)) == pytest.approx(math.sqrt(1 / 3 + 3 * 5 / 6))
    test = paired_test(np.zeros(6), APART)
    widths = [
        (one := deciding_test(test, APART, FOLDS, Trainings(4, 1, shared, freedom))).high - one.low
        for shared, freedom in ((0.0, 2.0), (0.5, 2.0), (0.5, 1.5))
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]


def test_it_is_never_narrower_than_the_interval_over_patients() -> None:
    test = paired_test(np.zeros(6), ALIKE)
    outcome = deciding_test(test, ALIKE, FOLDS, Trainings(4, 1, 0.5, 2.0))
    assert (outcome.low, outcome.high, outcome.p, outcome.over) == (test.low, test.high, test.p, "patients")
    generator = np.random.default_rng(0)
    for _ in range(200):
        values = generator.normal(0.8, 1.0, 6)
        test = paired_test(np.zeros(6), values)
        outcome = deciding_test(test, values, FOLDS, Trainings(4, 1, 0.3, 1.8))
        assert outcome.low <= test.low and test.high <= outcome.high
        assert outcome.p >= test.p
        assert (outcome.p < 0.05) == (not outcome.low <= 0 <= outcome.high)


@pytest.mark.parametrize(
    ("folds", "trainings", "scope"),
    [
        ([1] * 6, DISJOINT, "this split only"),
        ([1] * 6, None, "this split only"),
        (FOLDS, Trainings(4, 1, 1.0, 0.0), "this split only"),  # all folds were trained on the same patients
        (FOLDS, Trainings(4, 0, 0.0, 2.0), "these models only"),
        (FOLDS, None, "these models only"),
    ],
)
def test_less_than_folds_and_seeds_is_the_interval_over_patients(
    folds: list[int], trainings: Trainings | None, scope: str
) -> None:
    test = paired_test(np.zeros(6), APART)
    outcome = deciding_test(test, APART, np.array(folds), trainings)
    assert (outcome.scope, outcome.low, outcome.high, outcome.p) == (scope, test.low, test.high, test.p)


def test_one_patient_a_fold_counts_all_of_its_spread_as_that_of_training_sets() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert fold_error(values, np.array([1, 2, 3]), Trainings(2, 1, 0.5, 2.0)) == pytest.approx(math.sqrt(1 / 3 + 1))


def test_what_has_no_test_has_no_interval() -> None:
    outcome = deciding_test(paired_test([1.0], [2.0]), np.array([1.0]), np.array([1]), DISJOINT)
    assert all(math.isnan(value) for value in (outcome.low, outcome.high, outcome.p, outcome.detectable))


def _paired(pairs: int, sd: float) -> float:
    """Return the detectable difference of a paired t-test."""
    return detectable_difference(pairs - 1, sd / math.sqrt(max(pairs, 1)))


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_that_power_tables_ask_for(effect: float, pairs: int) -> None:
    # Two-sided 0.05, power 0.80, matched pairs (G*Power 3; R's power.t.test gives 33.37 for 0.5).
    assert _paired(pairs, 1.0) <= effect < _paired(pairs - 1, 1.0)


@pytest.mark.parametrize("pairs", [2, 5, 25])
def test_its_power_is_80_percent(pairs: int) -> None:
    shift = _paired(pairs, 2.0) / 2.0 * math.sqrt(pairs)
    limit = stats.t.ppf(0.975, pairs - 1)
    power = stats.nct.sf(limit, pairs - 1, shift) + stats.nct.cdf(-limit, pairs - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize(("pairs", "effect"), [(3, 3.26404355), (5, 1.68199697), (25, 0.58402667), (199, 0.19956862)])
def test_detectable_differences_that_statsmodels_gives(pairs: int, effect: float) -> None:
    # TTestPower().solve_power of statsmodels 0.15, which solves to about 1e-5.
    assert _paired(pairs, 1.0) == pytest.approx(effect, rel=2e-6)


@pytest.mark.parametrize(("pairs", "sd"), [(0, 1.0), (1, 1.0), (5, 0.0), (5, math.nan), (1, math.nan)])
def test_where_there_is_none(pairs: int, sd: float) -> None:
    assert math.isnan(_paired(pairs, sd))

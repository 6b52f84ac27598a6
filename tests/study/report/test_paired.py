"""Paired tests and bootstrap intervals against published examples and enumeration, and cases without a result."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from study.report.statistics.paired import (
    bootstrap,
    bootstrap_difference,
    bootstrap_relative_change,
    holm,
    mean_sd,
    paired_test,
    significance_stars,
    smallest_wilcoxon_p,
)

# Student (1908), extra hours of sleep under two drugs; R's `t.test(extra ~ group, paired = TRUE)` gives these figures.
SLEEP_FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Hollander & Wolfe (1973), depression scores; the example of R's `wilcox.test`: V = 40, two-sided p = 0.03906.
DEPRESSION_FIRST = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
DEPRESSION_SECOND = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


def test_student_sleep() -> None:
    outcome = paired_test(SLEEP_SECOND, SLEEP_FIRST)
    assert outcome.patients == 10
    assert outcome.difference == pytest.approx(-1.58)
    assert outcome.t == pytest.approx(-4.0621, abs=5e-5)
    assert outcome.p == pytest.approx(0.002833, abs=5e-7)
    assert (outcome.low, outcome.high) == (pytest.approx(-2.4598858), pytest.approx(-0.7001142))
    assert significance_stars(outcome.p) == "**"


def test_hollander_wolfe_depression() -> None:
    outcome = paired_test(DEPRESSION_FIRST, DEPRESSION_SECOND)
    assert outcome.wilcoxon == 5  # the smaller rank sum: 45 - 40
    assert outcome.wilcoxon_p == pytest.approx(0.0390625)
    assert outcome.wilcoxon_method == "exact"


def test_t_by_algebra() -> None:
    # Differences -1, -2, -3: mean -2, SD 1, t = -2 / (1 / sqrt 3); with 2 degrees of freedom p has a closed form.
    outcome = paired_test([5, 6, 7], [4, 4, 4])
    t = -2 * math.sqrt(3)
    assert (outcome.difference, outcome.difference_sd) == (-2, 1)
    assert outcome.t == pytest.approx(t)
    assert outcome.p == pytest.approx(1 - abs(t) / math.sqrt(2 + t * t))


def test_wilcoxon_with_ties_enumerates_every_sign() -> None:
    differences = np.array([1.0, -1.0, 2.0, 2.0, 3.0, 4.0])
    ranks = np.array([1.5, 1.5, 3.5, 3.5, 5.0, 6.0])
    sums = [float(ranks[np.array(signs)].sum()) for signs in itertools.product([True, False], repeat=6)]
    observed = float(ranks[differences > 0].sum())
    expected = 2 * min(np.mean([s >= observed for s in sums]), np.mean([s <= observed for s in sums]))
    outcome = paired_test(np.zeros(6), differences)
    assert outcome.wilcoxon_p == pytest.approx(expected)
    assert outcome.wilcoxon_method == "exact"


def test_many_ties_say_that_they_are_asymptotic() -> None:
    outcome = paired_test(np.zeros(40), np.repeat([1.0, 2.0, -1.0, 3.0], 10))
    assert outcome.wilcoxon_method == "asymptotic"
    assert 0 < outcome.wilcoxon_p < 1


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ([], [], "no patients"),
        ([1.0], [2.0], "one patient"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "no patient changed"),
        ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], "same amount"),
        ([1.0, 2.0], [1.0, math.nan], "missing"),
    ],
)
def test_where_there_is_no_test(before: list[float], after: list[float], reason: str) -> None:
    outcome = paired_test(before, after)
    assert reason in outcome.reason
    assert all(math.isnan(value) for value in (outcome.t, outcome.p, outcome.wilcoxon, outcome.wilcoxon_p))
    assert math.isnan(outcome.low) and math.isnan(outcome.high)
    assert significance_stars(outcome.p) == ""


def test_two_patients_are_enough_for_t_and_too_few_for_ranks() -> None:
    # Differences 1 and 3: mean 2, standard error 1, one degree of freedom: the t distribution is Cauchy's.
    outcome = paired_test([0.0, 0.0], [1.0, 3.0])
    assert outcome.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert outcome.high == pytest.approx(2 + math.tan(math.pi * 0.475))
    assert outcome.wilcoxon_p == smallest_wilcoxon_p(2) == 0.5


def test_one_patient_that_moved_among_three() -> None:
    outcome = paired_test([1.0, 2.0, 3.0], [1.0, 2.0, 5.0])
    assert outcome.wilcoxon_p == 1.0  # zeros are dropped, and p is 1 for a single difference


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # the common textbook example
        ([0.319, 0.201, 0.4, 0.374, 0.113], [0.957, 0.804, 0.957, 0.957, 0.565]),  # stdlib's padjust, as R's p.adjust
        ([0.01, math.nan, 0.03], [0.03, math.nan, 0.06]),  # the missing test counts: 3 x 0.01, 2 x 0.03
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([math.nan, math.nan], [math.nan, math.nan]),
        ([], []),
    ],
)
def test_holm(raw: list[float], adjusted: list[float]) -> None:
    np.testing.assert_allclose(holm(raw), adjusted)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="equal length"):
        paired_test([1.0, 2.0], [1.0])


def test_small_things() -> None:
    assert mean_sd([2.0, 4.0]) == (3.0, pytest.approx(math.sqrt(2)))
    assert mean_sd([2.0])[0] == 2.0
    assert math.isnan(mean_sd([2.0])[1])
    assert [significance_stars(p) for p in (0.05, 0.049, 0.005, 0.0049, math.nan)] == ["", "*", "*", "**", ""]
    assert smallest_wilcoxon_p(5) == 0.0625


SKEWED = np.array([0.2, 0.5, 1.1, 2.0, 4.5, 7.0])


def test_bca_of_a_mean_against_every_resample() -> None:
    # Efron and Tibshirani (1993), equations 14.9 to 14.15, over all 6^6 resamples instead of a random part of them.
    means = np.array([np.mean(chosen) for chosen in itertools.product(SKEWED, repeat=6)])
    bias = stats.norm.ppf(np.mean(means < SKEWED.mean()) + np.mean(np.isclose(means, SKEWED.mean())) / 2)
    left_out = np.array([np.delete(SKEWED, place).mean() for place in range(6)])
    spread = left_out.mean() - left_out
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    shifted = bias + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    interval = bootstrap_difference(np.zeros(6), SKEWED)
    assert interval.method == "BCa"
    assert interval.estimate == pytest.approx(SKEWED.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.06)


def test_many_patients_give_the_normal_interval() -> None:
    values = stats.norm.ppf((np.arange(400) + 0.5) / 400, loc=1.0, scale=2.0)
    interval = bootstrap_difference(np.zeros(400), values)
    assert (interval.low, interval.high) == pytest.approx((1 - 1.96 * 0.1, 1 + 1.96 * 0.1), abs=0.01)


def test_pairs_stay_together() -> None:
    before = np.array([1.0, 10.0, 100.0, 1000.0, 5.0])
    interval = bootstrap_difference(before, before + np.array([0.1, 0.2, 0.3, 0.1, 0.2]))
    assert 0.1 <= interval.low < 0.18 < interval.high <= 0.3
    ratio = bootstrap_relative_change(before, before * [0.5, 0.51, 0.5, 0.49, 0.5])
    assert -0.51 - 1e-9 <= ratio.low < ratio.high <= -0.49 + 1e-9


def test_relative_change_scales_with_after() -> None:
    before, after = np.array([4.0, 5.0, 6.0, 3.0, 8.0, 5.5]), np.array([2.0, 3.5, 2.5, 2.8, 4.0, 3.0])
    once, twice = bootstrap_relative_change(before, after), bootstrap_relative_change(before, 2 * after)
    assert once.estimate == pytest.approx(after.sum() / before.sum() - 1)
    assert once.low < once.estimate < once.high
    for name in ("estimate", "low", "high"):
        assert 1 + getattr(twice, name) == pytest.approx(2 * (1 + getattr(once, name)))


def test_the_same_patients_give_the_same_interval() -> None:
    assert bootstrap_difference(np.zeros(6), SKEWED) == bootstrap_difference(np.zeros(6), SKEWED)


def test_percentiles_where_bca_is_undefined() -> None:
    # All jackknife medians of these are 0, so BCa's acceleration is 0 / 0.
    interval = bootstrap(np.median, np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]))
    assert interval.method == "percentile"
    assert (interval.estimate, interval.low, interval.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "difference", "relative"),
    [
        ([], [], "no patients", "no patients"),
        ([4.0], [2.0], "one patient", "one patient"),
        ([4.0, 5.0], [2.0, 3.5], "2 patients", "2 patients"),
        ([4.0, 5.0, 6.0], [2.0, 3.5, 5.0], "3 patients", "3 patients"),
        ([4.0, 5.0, 6.0, 7.0], [4.0, 5.0, 6.0, 7.0], "no patient changed", "same proportion"),
        ([4.0, 5.0, 6.0, 7.0], [5.0, 6.0, 7.0, 8.0], "same amount", ""),
        ([4.0, 5.0, 6.0, 7.0], [2.0, 2.5, 3.0, 3.5], "", "same proportion"),
        ([4.0, 5.0, math.nan, 7.0], [2.0, 2.5, 3.0, 3.5], "missing", "missing"),
        ([0.0, 5.0, 6.0, 7.0], [2.0, 2.5, 3.0, 3.5], "", "not positive"),
        ([4.0, 4.0, 6.0, 6.0], [2.0, 2.0, 3.5, 3.5], "", ""),
    ],
    ids=["none", "one", "two", "three", "equal", "shifted", "halved", "nan", "zero before", "ties"],
)
def test_where_there_is_no_interval(before: list[float], after: list[float], difference: str, relative: str) -> None:
    found = (bootstrap_difference(before, after), difference), (bootstrap_relative_change(before, after), relative)
    for interval, reason in found:
        assert reason in interval.reason
        assert bool(interval.reason) == bool(reason)
        assert math.isnan(interval.low) == math.isnan(interval.high) == bool(reason)
        assert bool(interval.method) != bool(reason)

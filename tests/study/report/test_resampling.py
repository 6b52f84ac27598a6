"""Bootstrap intervals against full enumeration and algebraic properties, and cases without an interval."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from study.report.statistics.resampling import bootstrap, bootstrap_difference, bootstrap_relative_change

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

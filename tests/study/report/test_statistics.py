"""Paired tests against published examples and enumeration by hand, and cases without a test."""

import itertools
import math

import numpy as np
import pytest

from study.report.statistics.paired import holm, mean_sd, paired_test, significance_stars, smallest_wilcoxon_p

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
    assert outcome.stars == "**"


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
    assert outcome.stars == ""


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

"""The corrected resampled t-test by hand, against SciPy without the correction, and cases without a test."""

import math

import numpy as np
import pytest
from scipy import stats

from study.report.statistics.cross_validation import fold_test

FOLDS = [1, 1, 2, 2, 3, 3]
AFTER = [0.5, 1.5, 2.5, 1.5, 3.0, 3.0]  # fold means 1, 2, 3 above before


def test_by_hand() -> None:
    # Fold means 1, 2, 3: mean 2, variance 1. Two test patients a fold, four trained on: 1/3 + 2/4 = 5/6.
    outcome = fold_test(np.zeros(6), AFTER, FOLDS, train_patients=4)
    t = 2 / math.sqrt(5 / 6)
    assert (outcome.folds, outcome.difference) == (3, 2)
    assert outcome.correction == pytest.approx(5 / 6)
    assert outcome.t == pytest.approx(t)
    assert outcome.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (outcome.low, outcome.high) == pytest.approx(
        (2 - 4.302653 * math.sqrt(5 / 6), 2 + 4.302653 * math.sqrt(5 / 6))
    )


def test_without_shared_patients_it_is_the_t_test_of_the_fold_means() -> None:
    outcome, plain = fold_test(np.zeros(6), AFTER, FOLDS, 10**12), stats.ttest_1samp([1.0, 2.0, 3.0], 0)
    assert (outcome.t, outcome.p) == pytest.approx((plain.statistic, plain.pvalue))
    assert fold_test(np.zeros(6), AFTER, FOLDS, 4).p > plain.pvalue


def test_folds_of_unlike_size_weigh_the_same() -> None:
    # Fold 1 holds three patients of 1, fold 2 one of 3; on average two patients a fold: 1/2 + 2/8.
    outcome = fold_test(np.zeros(4), [1.0, 1.0, 1.0, 3.0], [1, 1, 1, 2], 8)
    assert outcome.difference == 2.0
    assert outcome.correction == 0.75


@pytest.mark.parametrize(
    ("after", "folds", "train", "reason"),
    [
        ([], [], 4, "no patients"),
        ([1.0, 2.0], [1, 1], 4, "one fold"),
        ([1.0, math.nan], [1, 2], 4, "missing"),
        ([1.0, 1.0], [1, 2], 4, "same amount"),
        ([1.0, 3.0, 2.0, 2.0], [1, 1, 2, 2], 4, "same amount"),
        ([1.0, 2.0], [1, 2], None, "training patients is needed, got None"),
        ([1.0, 2.0], [1, 2], 0, "training patients is needed, got 0"),
    ],
)
def test_where_there_is_none(after: list[float], folds: list[int], train: int | None, reason: str) -> None:
    outcome = fold_test(np.zeros(len(after)), after, folds, train)
    assert reason in outcome.reason
    assert all(math.isnan(value) for value in (outcome.t, outcome.p, outcome.low, outcome.high, outcome.correction))

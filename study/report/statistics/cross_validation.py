"""The corrected resampled t-test: one value per fold, with a variance that accounts for shared training patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from study.report.statistics.paired import CONFIDENCE, ROUNDING, mean_sd, paired_arrays


@dataclass(frozen=True)
class FoldTest:
    """After minus before, averaged within each outer fold.

    Attributes:
        folds: number of folds.
        difference: mean of the folds' mean differences, in the unit of the values; all folds have equal weight.
        correction: 1/K + n_test/n_train, which replaces 1/K in the variance of that mean, or NaN.
        t: the statistic with K - 1 degrees of freedom, or NaN.
        p: its two-sided p value, or NaN.
        low, high: the 95 % interval of the difference, in the unit of the values, or NaN.
        reason: why a value is NaN; empty where none is.
    """

    folds: int
    difference: float
    correction: float
    t: float
    p: float
    low: float
    high: float
    reason: str


def fold_test(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    folds: Sequence[int] | np.ndarray,
    train_patients: int | None,
) -> FoldTest:
    """Compare two conditions over the folds of a cross-validation (Nadeau and Bengio, Machine Learning 52, 2003).

    A test over patients takes the trained models as given and the patients as independent. But the patients of a fold
    share their model, and the folds' models share training patients. The spread over patients therefore underestimates
    the variation between training sets. Here the unit is the fold:
    t = mean(d) / sqrt((1/K + n_test/n_train) var(d)), d the K folds' mean differences, with K - 1 degrees of freedom.

    Assumptions: near normal fold means, and a correlation of n_test / (n_test + n_train) between them. That value
    is a rule of thumb for random resampling; no unbiased estimate of the variance of K-fold cross-validation
    exists (Bengio and Grandvalet 2004). With three folds the test has two degrees of freedom and finds only large
    differences.

    Args:
        before: one value per patient, any unit.
        after: the same patients in the same order, same unit.
        folds: the outer fold in which each patient was tested, same order.
        train_patients: number of training patients of a model; the smaller number where arms differ, because it gives
            the larger correction. Validation patients are not counted, for the same reason. None where unknown.
    """
    first, second = paired_arrays(before, after)
    groups = pd.Series(second - first).groupby(np.asarray(folds))
    means = groups.mean().to_numpy(dtype=float)
    mean, sd = mean_sd(means)
    reason = _why_untestable(first, second, means, train_patients)
    if reason or train_patients is None:
        return untested_folds(reason, len(means), mean)
    correction = 1 / len(means) + len(first) / len(means) / train_patients
    error = sd * math.sqrt(correction)
    student = stats.t(df=len(means) - 1, loc=mean, scale=error)
    low, high = student.interval(CONFIDENCE)
    t = mean / error
    return FoldTest(
        len(means), mean, correction, t, float(2 * stats.t.sf(abs(t), len(means) - 1)), float(low), float(high), ""
    )


def untested_folds(reason: str, folds: int = 0, difference: float = math.nan) -> FoldTest:
    """Create the result of a difference that could not be tested over folds, with its reason."""
    nan = math.nan
    return FoldTest(folds, difference, nan, nan, nan, nan, nan, reason)


def _why_untestable(before: np.ndarray, after: np.ndarray, means: np.ndarray, train_patients: int | None) -> str:
    """Return the reason why there is no test over folds; empty where there is one."""
    if len(before) == 0:
        return "no patients"
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return "a value is missing"
    if len(means) == 1:
        return "one fold: the spread over training sets cannot be estimated"
    if train_patients is None or train_patients < 1:
        return f"the number of training patients is needed, got {train_patients}"
    if float(np.ptp(means)) <= ROUNDING * max(float(np.abs(before).max()), float(np.abs(after).max()), ROUNDING):
        return "all folds differ by the same amount: the differences have no spread"
    return ""

"""The test that decides between arms: it covers the variation between patients, training sets and seeds."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

from study.report.statistics.paired import ALPHA, PairedTest
from study.report.statistics.trainings import Trainings

METHOD, ONE_SPLIT, ONE_TRAINING = "method", "this split only", "these models only"
"""The scope of an interval: the methods, the models of this one split, or the models that the search chose."""

POWER = 0.8


@dataclass(frozen=True)
class DecidingTest:
    """The test and the interval of a mean difference that decide.

    Attributes:
        scope: `METHOD`, `ONE_SPLIT` or `ONE_TRAINING`. Only the first can support or refute a claim about methods.
        error: standard error of the mean difference, in its unit, or NaN.
        freedom: its degrees of freedom, or NaN.
        p: the two-sided p value, or NaN.
        low, high: the 95 % interval, in the unit of the difference, or NaN.
        over: the variation that decides its width: `patients`, or `folds` where training sets and seeds add to it.
    """

    scope: str
    error: float
    freedom: float
    p: float
    low: float
    high: float
    over: str

    @property
    def detectable(self) -> float:
        """The smallest true difference that 80 % of such studies would find; NaN where there is no interval."""
        return detectable_difference(self.freedom, self.error)


def deciding_test(
    test: PairedTest, differences: np.ndarray, folds: np.ndarray, trainings: Trainings | None
) -> DecidingTest:
    """Return the wider of two intervals, over patients and over folds, with the larger of their p values.

    The interval over patients is that of `test`. It ignores that the patients of a fold share models and that folds
    share training patients. The mean of a fold has the variance v + m, v from its patients and m from its training set
    and seeds. Folds have patients of their own, and the correlation of m between two of them is at most the share s of
    training patients in common (`trainings_of`). The sample variance S2 of the means of K folds then has the
    expectation v + (1 - s) m, and

        variance of the overall mean <= (v + m + (K - 1) s m) / K = E S2 / K + s m.

    (1 - s) m is estimated by what S2 exceeds the spread of patients within folds by, if it does. Student's t has the
    degrees of freedom of S2. Where no training patients are shared, this is the t interval of the folds' means.

    Args:
        test: the paired test over patients.
        differences: one per patient, in the unit of the result.
        folds: the fold in which each patient was tested, same order.
        trainings: the trainings behind the differences; None where unknown.
    """
    scope = _scope(len(np.unique(folds)), trainings)
    if test.reason:
        return DecidingTest(scope, math.nan, math.nan, math.nan, math.nan, math.nan, "")
    over_patients = DecidingTest(
        scope,
        test.difference_sd / math.sqrt(test.patients),
        test.patients - 1,
        test.p,
        test.low,
        test.high,
        "patients",
    )
    if scope != METHOD or trainings is None:
        return over_patients
    error, freedom = fold_error(differences, folds, trainings), trainings.freedom
    if error == 0:
        return over_patients
    p = max(test.p, float(2 * stats.t.sf(abs(test.difference) / error, freedom)))
    half = float(stats.t.isf(ALPHA / 2, freedom)) * error
    if test.difference + half <= test.high:
        return replace(over_patients, p=p)
    return DecidingTest(scope, error, freedom, p, test.difference - half, test.difference + half, "folds")


def fold_error(differences: np.ndarray, folds: np.ndarray, trainings: Trainings) -> float:
    """Return the standard error of the mean difference as estimated from the folds' means; see `deciding_test`."""
    _, place, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=differences) / sizes
    spread = float(means.var(ddof=1))
    inside = len(differences) - len(sizes)
    within = float(((differences - means[place]) ** 2).sum()) / inside if inside else 0.0
    excess = max(0.0, spread - within * float(np.mean(1 / sizes)))
    correlated = trainings.shared / (1 - trainings.shared) * excess if excess else 0.0
    return math.sqrt(spread / len(sizes) + correlated)


def detectable_difference(freedom: float, error: float) -> float:
    """Compute the smallest mean difference that a two-sided t-test at 0.05 finds with 80 % power.

    The power of the noncentral t distribution is solved for the effect. The result describes the design with the
    observed spread, which is itself uncertain. It does not depend on the observed difference. A p value above 0.05 is
    no evidence for a difference of zero, but a difference of at least this size would probably have been found.

    Args:
        freedom: degrees of freedom, one less than the number of pairs in a paired test.
        error: standard error of the mean difference, any unit.

    Returns:
        The difference in the unit of `error`; NaN without degrees of freedom or without a spread.
    """
    if not (freedom > 0 and math.isfinite(error) and error > 0):
        return math.nan
    limit = stats.t.isf(ALPHA / 2, freedom)

    def power_above(shift: float) -> float:
        """Return the power minus `POWER` where the t statistic has the noncentrality `shift`."""
        below = np.nan_to_num(stats.nct.cdf(-limit, freedom, shift))  # SciPy returns NaN where it is almost 0
        return float(stats.nct.sf(limit, freedom, shift) + below) - POWER

    return float(optimize.brentq(power_above, 0.0, 2 * limit)) * error


def _scope(folds: int, trainings: Trainings | None) -> str:
    if folds < 2 or (trainings is not None and trainings.shared >= 1):
        return ONE_SPLIT
    return METHOD if trainings is not None and trainings.seeds > 0 else ONE_TRAINING

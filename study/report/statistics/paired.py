"""Paired tests and bootstrap intervals over patients with SciPy.

Values that cannot be computed are NaN, with a reason.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

EXACT_WITH_TIES = 15
"""Up to this many patients the Wilcoxon test with ties or zeros enumerates all 2^n sign patterns."""

ALPHA = 0.05
"""Two-sided significance level of every test."""

CONFIDENCE = 1 - ALPHA
"""Level of every two-sided interval. Each single bound is a one-sided bound at 97.5 %."""

ROUNDING = 1e-12
"""Relative size below which a spread counts as rounding error."""

RESAMPLES = 9999
SEED = 20210215
"""Seed of every interval. It is fixed, so that a report that is built again has the same numbers."""


@dataclass(frozen=True)
class PairedTest:
    """After minus before, per patient; a negative mean is a decrease.

    Attributes:
        patients: number of pairs.
        difference: mean of the differences, in the unit of the values.
        difference_sd: their sample standard deviation (n - 1), in the unit of the values.
        t: Student's paired t statistic, or NaN.
        p: its two-sided p value, or NaN.
        low, high: the 95 % t interval of the mean difference, in the unit of the values, or NaN.
        wilcoxon: the smaller sum of signed ranks, or NaN.
        wilcoxon_p: the two-sided p value of Wilcoxon's signed-rank test, or NaN.
        wilcoxon_method: `exact`, or `asymptotic` where there are ties among too many patients to enumerate.
        reason: why a value is NaN; empty where no value is NaN.
    """

    patients: int
    difference: float
    difference_sd: float
    t: float
    p: float
    low: float
    high: float
    wilcoxon: float
    wilcoxon_p: float
    wilcoxon_method: str
    reason: str


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap interval.

    Attributes:
        estimate: the statistic of the original sample, or NaN.
        low, high: its bounds in the unit of `estimate`, or NaN.
        method: `BCa`, `percentile` where BCa is undefined, empty where there is no interval.
        reason: why there is no interval; empty where there is one.
    """

    estimate: float
    low: float
    high: float
    method: str
    reason: str


def significance_stars(p: float) -> str:
    """Return the stars of the paper: `**` for p < 0.005, `*` for p < 0.05, and none otherwise and for NaN."""
    if math.isnan(p) or p >= 0.05:
        return ""
    return "**" if p < 0.005 else "*"


def mean_sd(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1), in the unit of `values`; NaN where undefined."""
    array = np.asarray(values, dtype=float)
    mean = float(array.mean()) if array.size else math.nan
    sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
    return mean, sd


def paired_test(before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray) -> PairedTest:
    """Compare paired values of patients with Student's t-test and Wilcoxon's signed-rank test, both two-sided.

    Student's test and interval assume independent patients and near normal differences, which matters most with few
    patients. Wilcoxon's test assumes that the differences are symmetric about their centre.

    Args:
        before: one value per patient, any unit.
        after: the same patients in the same order, same unit.
    """
    first, second = paired_arrays(before, after)
    differences = second - first
    mean, sd = mean_sd(differences)
    reason = why_untestable(differences, np.maximum(np.abs(first), np.abs(second)))
    if reason:
        return replace(untested(reason), patients=len(differences), difference=mean, difference_sd=sd)
    student = stats.ttest_rel(second, first)
    interval = student.confidence_interval(CONFIDENCE)
    return PairedTest(
        len(differences),
        mean,
        sd,
        float(student.statistic),
        float(student.pvalue),
        float(interval.low),
        float(interval.high),
        *_wilcoxon(differences),
        "",
    )


def paired_arrays(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return both as vectors of floats.

    Raises:
        ValueError: where they are not vectors of equal length.
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"pairs of equal length are needed, got shapes {first.shape} and {second.shape}")
    return first, second


def untested(reason: str) -> PairedTest:
    """Create the result of a comparison without patients, with its reason."""
    nan = math.nan
    return PairedTest(0, nan, nan, nan, nan, nan, nan, nan, nan, "", reason)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust a family of p values by Holm (1979), which controls the probability of any false positive in the family.

    The p value of a test that could not be made is NaN. It stays NaN but counts in the family like p = 1, because the
    family was fixed before the data were seen and a missing test must not weaken the correction of the others.

    Args:
        p_values: the raw p values of the family, each tested at the same level.
    """
    raw = np.asarray(p_values, dtype=float)
    if raw.size == 0:
        return raw
    counted = np.where(np.isnan(raw), 1.0, raw)
    order = np.argsort(counted, kind="stable")
    adjusted = np.empty_like(counted)
    adjusted[order] = np.minimum(np.maximum.accumulate(counted[order] * np.arange(len(raw), 0, -1)), 1.0)
    return np.where(np.isnan(raw), math.nan, adjusted)


def smallest_wilcoxon_p(patients: int) -> float:
    """Return the smallest two-sided p value that an exact signed-rank test can reach with this number of patients."""
    return min(1.0, 2.0 ** (1 - patients))


def why_untestable(differences: np.ndarray, magnitude: np.ndarray) -> str:
    """Return the reason why no paired test exists for these differences; empty where one does.

    Args:
        differences: one per patient, any unit.
        magnitude: absolute size of the underlying values, same shape and unit. It sets the tolerance for rounding.
    """
    if len(differences) == 0:
        return "no patients"
    if not np.isfinite(differences).all():
        return "a value is missing"
    if len(differences) == 1:
        return "one patient: a paired test needs at least two"
    tolerance = ROUNDING * max(float(magnitude.max()), ROUNDING)
    if float(np.abs(differences).max()) <= tolerance:
        return "no patient changed"
    if float(np.ptp(differences)) <= tolerance:
        return "all patients changed by the same amount: the differences have no spread"
    return ""


def bootstrap_difference(before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray) -> Interval:
    """Compute the bootstrap interval of the mean of after minus before.

    Bias-corrected and accelerated (Efron 1987), with 9999 resamples of patients with their pairs. The interval assumes
    no distribution, but treats the observed patients as the population. With few patients it is too narrow: by about
    sqrt((n - 1) / n), and because a normal quantile replaces Student's. The t interval is then the one to use.

    Args:
        before: one value per patient, any unit.
        after: the same patients in the same order, same unit.
    """
    first, second = paired_arrays(before, after)
    differences = second - first
    estimate = float(differences.mean()) if differences.size else math.nan
    reason = why_untestable(differences, np.maximum(np.abs(first), np.abs(second))) or _too_few(differences.size)
    return without(reason, estimate) if reason else bootstrap(np.mean, differences)


def bootstrap_relative_change(before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray) -> Interval:
    """Compute the bootstrap interval of mean(after) / mean(before) - 1; -0.25 means a decrease by a quarter.

    This is the relative change of the means. A patient with a small value before would dominate the mean of the
    patients' relative changes. Every value before must be positive, because a resample with mean zero has no ratio.

    Args:
        before: one value per patient, any unit.
        after: the same patients in the same order, same unit.
    """
    first, second = paired_arrays(before, after)
    reason = _why_no_ratio(first, second)
    estimate = math.nan
    if first.size and np.isfinite(first).all() and np.isfinite(second).all() and first.mean() > 0:
        estimate = float(_relative_change(first, second))
    return without(reason, estimate) if reason else bootstrap(_relative_change, first, second)


def bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> Interval:
    """Compute the interval of a statistic of samples paired by patient: BCa, or percentile where BCa is undefined.

    Args:
        statistic: a function of the samples and `axis` that reduces arrays of any shape along that axis.
        samples: arrays with one finite value per patient, in the same order.
    """
    estimate = float(statistic(*samples, axis=-1))
    try:
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("error", stats.DegenerateDataWarning)
            low, high = _bounds(statistic, samples, "BCa")
        return Interval(estimate, low, high, "BCa", "")
    except stats.DegenerateDataWarning:
        low, high = _bounds(statistic, samples, "percentile")
    return Interval(estimate, low, high, "percentile", "")


def without(reason: str, estimate: float = math.nan) -> Interval:
    """Create an estimate without an interval, with the reason."""
    return Interval(estimate, math.nan, math.nan, "", reason)


def _wilcoxon(differences: np.ndarray) -> tuple[float, float, str]:
    """Return the signed-rank statistic, its two-sided p and the method. Zeros are dropped, as Wilcoxon did."""
    moved = differences[differences != 0]
    tied = len(np.unique(np.abs(moved))) < len(moved)
    method: str | stats.PermutationMethod
    if not tied:
        method, name = "exact", "exact"
    elif len(moved) <= EXACT_WITH_TIES:
        method, name = stats.PermutationMethod(n_resamples=2**EXACT_WITH_TIES), "exact"
    else:
        method, name = "asymptotic", "asymptotic"
    outcome = stats.wilcoxon(moved, method=method)
    return float(outcome.statistic), float(outcome.pvalue), name


def _bounds(statistic: Callable[..., np.ndarray], samples: tuple[np.ndarray, ...], method: str) -> tuple[float, float]:
    outcome = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method=method,
        rng=np.random.default_rng(SEED),
    )
    return float(outcome.confidence_interval.low), float(outcome.confidence_interval.high)


def _relative_change(before: np.ndarray, after: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(after, axis=axis) / np.mean(before, axis=axis) - 1


def _why_no_ratio(before: np.ndarray, after: np.ndarray) -> str:
    """Return the reason why the relative change has no interval; empty where it has one."""
    if before.size == 0:
        return "no patients"
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return "a value is missing"
    if (before <= 0).any():
        return "a value before registration is not positive: the relative change has no interval"
    if before.size > 1 and float(np.ptp(after / before)) <= ROUNDING * float(np.max(after / before)):
        return "all patients changed by the same proportion: the change has no spread"
    return _too_few(before.size)


def _too_few(patients: int) -> str:
    """Return the reason why a 95 % interval needs more patients; empty where it does not.

    With too few patients, the most extreme resample has a probability above 2.5 %.
    """
    tail = (1 - CONFIDENCE) / 2
    if patients == 1:
        return "one patient: a bootstrap needs several"
    if patients > 1 and float(patients) ** -patients > tail:
        return f"{patients} patients: the most extreme resample has a probability above {tail:.1%}"
    return ""

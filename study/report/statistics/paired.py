"""Paired tests over patients with SciPy. Values that cannot be computed are NaN, with a reason."""

import math
from collections.abc import Sequence
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

    @property
    def stars(self) -> str:
        """The stars of the paper: `**` for p < 0.005, `*` for p < 0.05 (t-test), in either direction."""
        return significance_stars(self.p)


def significance_stars(p: float) -> str:
    """Return `**` for p < 0.005, `*` for p < 0.05, and an empty text otherwise and for NaN."""
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

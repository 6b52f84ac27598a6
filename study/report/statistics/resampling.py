"""Bootstrap intervals over patients with SciPy. Patients are the resampling unit, so pairs stay together."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from study.report.statistics.paired import CONFIDENCE, ROUNDING, paired_arrays, why_untestable

RESAMPLES = 9999
SEED = 20210215
"""Seed of every interval. It is fixed, so that a report that is built again has the same numbers."""


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

"""What a study of so many patients could not have found."""

import math

from statsmodels.stats.power import TTestPower

from study.reporting.statistics.paired import ALPHA

POWER = 0.8


def detectable_difference(patients: int, sd: float) -> float:
    """Give the smallest mean difference that a paired two-sided t-test at 0.05 finds with 80 % power.

    It solves the power of the noncentral t distribution for the effect. It describes the design with the spread that
    was seen, which is itself uncertain, and says nothing about the difference that was found: a p value above 0.05 is
    no evidence for a difference of zero, but differences of this size and more would probably have shown.

    Args:
        patients: number of pairs.
        sd: sample standard deviation of the paired differences, any unit.

    Returns:
        The difference in the unit of `sd`; NaN with fewer than two patients or without a spread.
    """
    if patients < 2 or not math.isfinite(sd) or sd <= 0:
        return math.nan
    effect = TTestPower().solve_power(
        effect_size=None, nobs=patients, alpha=ALPHA, power=POWER, alternative="two-sided"
    )
    return float(effect) * sd

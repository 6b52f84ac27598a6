"""The smallest difference that a study of a given size can detect."""

import math

from statsmodels.stats.power import TTestPower

from study.report.statistics.paired import ALPHA

POWER = 0.8


def detectable_difference(patients: int, sd: float) -> float:
    """Compute the smallest mean difference that a paired two-sided t-test at 0.05 finds with 80 % power.

    The power of the noncentral t distribution is solved for the effect. The result describes the design with the
    observed SD, which is itself uncertain. It does not depend on the observed difference. A p value above 0.05 is no
    evidence for a difference of zero, but a difference of at least this size would probably have been found.

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

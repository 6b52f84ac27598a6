"""Detectable differences against published numbers of pairs, and against the noncentral t distribution."""

import math

import pytest
from scipy import stats

from study.report.statistics.detectable import detectable_difference


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_pairs_that_power_tables_ask_for(effect: float, pairs: int) -> None:
    # Two-sided 0.05, power 0.80, matched pairs (G*Power 3; R's power.t.test gives 33.37 for 0.5).
    assert detectable_difference(pairs, 1.0) <= effect < detectable_difference(pairs - 1, 1.0)


@pytest.mark.parametrize("pairs", [2, 5, 25])
def test_its_power_is_80_percent(pairs: int) -> None:
    shift = detectable_difference(pairs, 2.0) / 2.0 * math.sqrt(pairs)
    limit = stats.t.ppf(0.975, pairs - 1)
    power = stats.nct.sf(limit, pairs - 1, shift) + stats.nct.cdf(-limit, pairs - 1, shift)
    assert power == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(("pairs", "sd"), [(0, 1.0), (1, 1.0), (5, 0.0), (5, math.nan), (1, math.nan)])
def test_where_there_is_none(pairs: int, sd: float) -> None:
    assert math.isnan(detectable_difference(pairs, sd))

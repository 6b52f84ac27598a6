"""The claims that were stated in advance: their margins and their tests, one per endpoint.

(a) The joint model trained on few patients is not inferior to the stand-alone model trained on many.
(b) The joint model is superior to the stand-alone model where both are trained on the same few.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from jointnet.errors import InputError
from jointnet.evaluate.aggregation import ENDPOINTS
from study.report.statistics.claim_arms import ClaimArms, comparability
from study.report.statistics.claim_result import (
    ESTIMATED,
    GIVEN,
    INCONCLUSIVE,
    NO_EFFECT,
    NO_MARGIN,
    NOT_INFERIOR,
    NOT_JUDGED,
    REFUTED,
    SUPERIOR,
    SUPPORTED,
    TITLES,
    ClaimResult,
)
from study.report.statistics.comparisons import Comparison, Endpoint, adjusted, aligned, compare
from study.report.statistics.deciding import METHOD
from study.report.statistics.paired import ALPHA

LV_CD: Endpoint = ("cd_mm", "lv")
"""The default primary endpoint, which decides the claims. Without LV in the data it is the first endpoint."""

MARGIN_SHARE = 0.5
"""An estimated margin is this share of the stand-alone model's gain from more training patients."""

_NEGLIGIBLE_MM = 1e-9
"""A gain up to this size counts as rounding error."""


def given_margins(margin_mm: object) -> dict[Endpoint, float]:
    """Read `[claim] margin_mm` of a search file: one number for LV CD, or a table such as `{"cd_mm/lv" = 0.5}`.

    Args:
        margin_mm: the value from the store; None where the search file has no margin.

    Raises:
        InputError: where an endpoint is unknown or a margin is not a positive number of mm; it names all of them.
    """
    if margin_mm is None:
        return {}
    names = {"/".join(endpoint): endpoint for endpoint in ENDPOINTS}
    table: Mapping[str, Any] = margin_mm if isinstance(margin_mm, Mapping) else {"/".join(LV_CD): margin_mm}
    errors = [
        f"claim.margin_mm: an endpoint must be one of {', '.join(names)}, got {name!r}"
        for name in table
        if name not in names
    ]
    errors += [
        f"claim.margin_mm: the margin of {name} must be a positive number of mm, got {value!r}"
        for name, value in table.items()
        if not _is_positive(value)
    ]
    if errors:
        raise InputError(errors)
    return {names[name]: float(value) for name, value in table.items()}


def non_inferiority(
    patients_of: Mapping[str, pd.DataFrame],
    arms: ClaimArms,
    margins: Mapping[Endpoint, float] | None = None,
    primary: Endpoint = LV_CD,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
) -> tuple[ClaimResult, ...]:
    """Test claim (a): joint trained on few patients is not inferior to stand-alone trained on many.

    Where no margin is given, it is half of the stand-alone model's gain from the additional patients. Gain and
    difference come from the same patients. A margin that is computed first and then held fixed would ignore its own
    uncertainty. Therefore each patient i has its own limit,

        limit_i = standalone_large_i + (standalone_small_i - standalone_large_i) / 2,
        d_i = joint_small_i - limit_i,

    and the mean of d is tested against 0. It is the linear contrast joint - large - (small - large) / 2, so its
    interval includes the uncertainty of the margin and its correlation with the difference. This is the
    retention-of-effect test of a trial with three arms (Pigeot et al., Statistics in Medicine 22, 2003), here paired.
    With a given margin, limit_i = standalone_large_i + margin.

    Supported: the deciding interval of mean d (`study.report.statistics.deciding`) lies below 0. Refuted: it lies above
    0. Its upper bound is a one-sided bound at 97.5 %. Where it holds for one split or for the models at hand only, the
    verdict says so, and the claim is neither supported nor refuted.

    Where the observed gain is not positive there is no margin, and the claim is inconclusive by construction. Where the
    gain is positive by chance only, a true mean d < 0 still implies non-inferiority: the joint model's error is then
    below the mean of the two others, which is not above that of standalone_large. A true mean d > 0 does not imply
    inferiority. So a refutation by an estimated margin also requires the interval of joint minus stand-alone to lie
    above 0.

    The primary endpoint is judged by its interval alone, because it is a single endpoint named in advance. The others
    also need a Holm-adjusted p below 0.05 in the family of all of them, and are supported only where the primary
    endpoint is.

    Args:
        patients_of: each arm's patients over all folds, as returned by `study.report.store.slice_rows.over_folds`.
        arms: the three arms.
        margins: given margins in mm by endpoint; those of other endpoints are estimated.
        primary: the primary endpoint, which decides the claim.
        endpoints: the family of endpoints.

    Returns:
        One result per endpoint, in their order.

    Raises:
        ValueError: where `primary` is not in `endpoints`.
    """
    _check(primary, endpoints)
    joint, small, large = arms.joint_small.name, arms.standalone_small.name, arms.standalone_large.name
    family, parts = [], []
    for endpoint in endpoints:
        given = (margins or {}).get(endpoint)
        values, reason = aligned(patients_of, (joint, small, large), endpoint)
        difference = compare(endpoint, values[large], values[joint], arms.trainings_of(joint, large), reason)
        gain = None
        if given is not None:
            margin, source, limit = given, GIVEN, values[large] + given
        else:
            gain = compare(endpoint, values[large], values[small], arms.trainings_of(small, large), reason)
            margin, source = MARGIN_SHARE * gain.test.difference, ESTIMATED
            limit = values[large] + MARGIN_SHARE * (values[small] - values[large])
            if not gain.test.difference > _NEGLIGIBLE_MM:
                margin, source = math.nan, NO_MARGIN
                reason = reason or "the stand-alone model gained nothing from more training patients"
        family.append(compare(endpoint, limit, values[joint], arms.trainings_of(joint, small, large), reason))
        parts.append((difference, gain, margin, source))
    return _primary_first(
        [
            _result(NOT_INFERIOR, arms, contrast, *part, primary)
            for contrast, part in zip(adjusted(family), parts, strict=True)
        ]
    )


def superiority(
    patients_of: Mapping[str, pd.DataFrame],
    arms: ClaimArms,
    primary: Endpoint = LV_CD,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
) -> tuple[ClaimResult, ...]:
    """Test claim (b): joint is superior to stand-alone where both are trained on the same few patients.

    Supported: the deciding interval of joint minus stand-alone lies below 0. Refuted: it lies above 0. One split, one
    training of each model, and endpoints other than the primary one are as in `non_inferiority`.

    Args:
        patients_of: each arm's patients over all folds, as returned by `study.report.store.slice_rows.over_folds`.
        arms: the arms.
        primary: the primary endpoint, which decides the claim.
        endpoints: the family of endpoints.

    Returns:
        One result per endpoint, in their order.

    Raises:
        ValueError: where `primary` is not in `endpoints`.
    """
    _check(primary, endpoints)
    joint, small = arms.joint_small.name, arms.standalone_small.name
    family = []
    for endpoint in endpoints:
        values, reason = aligned(patients_of, (joint, small), endpoint)
        family.append(compare(endpoint, values[small], values[joint], arms.trainings_of(joint, small), reason))
    return _primary_first(
        [_result(SUPERIOR, arms, contrast, contrast, None, 0.0, NO_EFFECT, primary) for contrast in adjusted(family)]
    )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _result(
    claim: str,
    arms: ClaimArms,
    contrast: Comparison,
    difference: Comparison,
    gain: Comparison | None,
    margin_mm: float,
    source: str,
    primary: Endpoint,
) -> ClaimResult:
    """Create the result of a claim in one endpoint."""
    standalone = arms.standalone_small if claim == SUPERIOR else arms.standalone_large
    is_primary = (contrast.metric, contrast.structure) == primary
    verdict, reason = _verdict(contrast, difference, is_primary, source)
    return ClaimResult(
        claim=claim,
        metric=contrast.metric,
        structure=contrast.structure,
        primary=is_primary,
        joint=arms.joint_small.name,
        standalone=standalone.name,
        standalone_small=arms.standalone_small.name,
        annotated=(arms.joint_small.annotated, standalone.annotated),
        comparability=comparability(arms.joint_small, standalone),
        difference=difference,
        gain=gain,
        margin_mm=margin_mm,
        margin_source=source,
        contrast=contrast,
        verdict=verdict,
        reason=reason,
    )


def _verdict(contrast: Comparison, difference: Comparison, primary: bool, source: str) -> tuple[str, str]:
    """Compare a contrast with 0 and return the verdict and its reason.

    The reason is empty except for a missing test and for inconclusive results whose interval excludes 0. Where the
    margin is estimated, a refutation also needs the interval of `difference`, joint minus stand-alone, above 0.
    """
    if reason := (difference if source == NO_MARGIN else contrast).reason:
        return INCONCLUSIVE, reason
    if difference.deciding.scope != METHOD:
        return f"{NOT_JUDGED}{difference.deciding.scope}", contrast.reason
    if contrast.reason:
        return INCONCLUSIVE, contrast.reason
    interval = contrast.deciding
    if interval.low <= 0 <= interval.high:
        return INCONCLUSIVE, ""
    if not primary and contrast.holm_deciding_p >= ALPHA:
        return INCONCLUSIVE, f"Holm's correction over all endpoints leaves p = {contrast.holm_deciding_p:.2g}"
    if interval.high < 0:
        return SUPPORTED, ""
    if source == ESTIMATED and not difference.deciding.low > 0:
        return (
            INCONCLUSIVE,
            "the joint model is not shown to be worse at all, and the margin may be too small by chance",
        )
    return REFUTED, ""


def _primary_first(results: Sequence[ClaimResult]) -> tuple[ClaimResult, ...]:
    """Return the results of a claim. A secondary endpoint is supported only where the primary one is."""
    first = next(one for one in results if one.primary)
    if first.verdict == SUPPORTED:
        return tuple(results)
    reason = f"the primary endpoint, {TITLES[first.metric, first.structure]}, is not supported"
    return tuple(
        replace(one, verdict=INCONCLUSIVE, reason=reason) if one.verdict == SUPPORTED else one for one in results
    )


def _check(primary: Endpoint, endpoints: Sequence[Endpoint]) -> None:
    if primary not in endpoints:
        raise ValueError(f"the primary endpoint must be one of {endpoints}, got {primary}")

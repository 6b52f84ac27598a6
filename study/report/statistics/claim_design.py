"""The design of a study's claims, fixed before the test evaluation: their arms and given margins."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jointnet.errors import InputError
from jointnet.evaluate.aggregation import ENDPOINTS
from study.report.statistics.comparisons import Endpoint

LV_CD: Endpoint = ("cd_mm", "lv")
"""The default primary endpoint, which decides the claims."""


@dataclass(frozen=True)
class ClaimArms:
    """The three arms of the claims and their numbers of training patients.

    Attributes:
        joint_small, standalone_small, standalone_large: names of the arms.
        small, large: the two numbers of training patients.
    """

    joint_small: str
    standalone_small: str
    standalone_large: str
    small: int
    large: int


def claim_arms(arms: Iterable[tuple[str, str, int]]) -> ClaimArms | None:
    """Return the three arms of the claims; None where the study lacks one of them.

    Small is the smallest number of training patients for which both models have an arm. Large is the largest number of
    the stand-alone model, and must be above small.

    Args:
        arms: name, model and number of training patients of each arm; an arm may be listed once per fold.
    """
    name_of = {(model, train): name for name, model, train in arms}
    shared = [train for model, train in name_of if model == "joint" and ("standalone", train) in name_of]
    large = max((train for model, train in name_of if model == "standalone"), default=0)
    if not shared or min(shared) >= large:
        return None
    small = min(shared)
    names = name_of["joint", small], name_of["standalone", small], name_of["standalone", large]
    return ClaimArms(*names, small, large)


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


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

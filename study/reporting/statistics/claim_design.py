"""The claims of a study before any value is seen: which arms they are about, and margins that were given."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jointnet.aggregation import ENDPOINTS
from jointnet.faults import InputFaultError
from study.reporting.statistics.comparisons import Endpoint

LV_CD: Endpoint = ("cd_mm", "lv")
"""The primary endpoint where no other is named: the claims stand or fall with it."""


@dataclass(frozen=True)
class ClaimArms:
    """The three arms of the claims, and the numbers of training patients that they differ by.

    Attributes:
        joint_small, standalone_small, standalone_large: names of the arms.
        small, large: their numbers of training patients.
    """

    joint_small: str
    standalone_small: str
    standalone_large: str
    small: int
    large: int


def claim_arms(arms: Iterable[tuple[str, str, int]]) -> ClaimArms | None:
    """Find the three arms among a study's arms; None where it has no such three.

    Small is the smallest number of training patients that both models have, large the stand-alone model's largest.

    Args:
        arms: name, model and number of training patients of each arm; an arm may come once per fold.
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
        margin_mm: the value as the store holds it; None where the search gives no margin.

    Raises:
        InputFaultError: naming every endpoint that is unknown and every margin that is not a positive number of mm.
    """
    if margin_mm is None:
        return {}
    names = {"/".join(endpoint): endpoint for endpoint in ENDPOINTS}
    table: Mapping[str, Any] = margin_mm if isinstance(margin_mm, Mapping) else {"/".join(LV_CD): margin_mm}
    faults = [
        f"claim.margin_mm: an endpoint must be one of {', '.join(names)}, got {name!r}"
        for name in table
        if name not in names
    ]
    faults += [
        f"claim.margin_mm: the margin of {name} must be a positive number of mm, got {value!r}"
        for name, value in table.items()
        if not _is_positive(value)
    ]
    if faults:
        raise InputFaultError(faults)
    return {names[name]: float(value) for name, value in table.items()}


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0

"""Check before training that the registration metrics of the patients' labels are defined.

The objective is a ratio over `aggregation.ENDPOINTS`. It is undefined if no slice shows a structure in both labels, or
if a distance is 0 before registration in all slices.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jointnet.evaluate.aggregation import ENDPOINTS
from jointnet.evaluate.metrics import overlap_metrics
from jointnet.structures import STRUCTURES

Measurable = Mapping[tuple[str, str], bool]
"""By (metric, structure) with a value in any slice: whether it is above 0 before registration in any slice."""


def measurable(labels: NDArray[np.uint8]) -> Measurable:
    """Return the defined registration metrics of a patient's class codes (slice, 2, row, column), cine first."""
    found: dict[tuple[str, str], bool] = {}
    for cine, lge in labels:
        before = overlap_metrics(cine, lge)
        for endpoint in ENDPOINTS:
            if not math.isnan(before[endpoint]):
                found[endpoint] = found.get(endpoint, False) or before[endpoint] > 0
        if all(found.get(endpoint) for endpoint in ENDPOINTS):
            break
    return found


def shown_structures(patient: Measurable) -> tuple[str, ...]:
    """Return the structures that both labels of a patient show in at least one slice."""
    return tuple(name for name in STRUCTURES if any(structure == name for _, structure in patient))


def unmeasurable(who: str, patients: Mapping[int, Measurable], purpose: Literal["learned", "measured"]) -> list[str]:
    """Return the reasons why a set of patients cannot be used for training, validation or test.

    Args:
        who: start of each error message: the option and the part of the patients that it chose.
        patients: the defined metrics by patient number.
        purpose: `learned` for training, `measured` for validation and test. For `measured`, distances must also be
            above 0 before registration.
    """
    known = set().union(*patients.values())
    numbers = ", ".join(map(str, patients))
    errors = []
    if lacking := [name for name in STRUCTURES if not any(structure == name for _, structure in known)]:
        errors.append(
            f"{who} must show {' and '.join(lacking)} in both segmentations of a slice, got {numbers}, none of whom "
            f"does, so that this cannot be {purpose}; add patients or choose others, by --seed where it draws them"
        )
    still = [end for end in ENDPOINTS if end in known and not any(patient.get(end) for patient in patients.values())]
    if still and purpose == "measured":
        errors.append(
            f"{who} must have segmentations that are apart before registration, got {numbers}, where "
            f"{' and '.join(' of '.join(end) for end in still)} is 0 in every slice, so that no ratio to it can be "
            "measured; is one scan's segmentation a copy of the other's?"
        )
    return errors

"""Which registration metrics patients' labels have: data without one of them are found before anything is trained.

The objective is a ratio over `aggregation.ENDPOINTS`. It has no value where no slice shows a structure in both labels,
or where a distance is 0 before registration in every slice, so that no ratio can be taken.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jointnet.aggregation import ENDPOINTS
from jointnet.metrics import overlap_metrics
from jointnet.structures import STRUCTURES

Measurable = Mapping[tuple[str, str], bool]
"""Whether each registration metric of a structure that some slice has is above 0 in one, before registration."""


def measurable(labels: NDArray[np.uint8]) -> Measurable:
    """Return what class codes (slice, 2, row, column) of a patient, cine first, can be measured by."""
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
    """Return the structures that both labels of a patient show in a slice."""
    return tuple(name for name in STRUCTURES if any(structure == name for _, structure in patient))


def unmeasurable(who: str, patients: Mapping[int, Measurable], purpose: Literal["learned", "measured"]) -> list[str]:
    """Return why some patients cannot serve to train, or to validate or test: one fault for each reason.

    Args:
        who: what a fault begins with: the option and the part of the patients that it chose.
        patients: by number.
        purpose: what becomes of a structure by these patients. Where it is to be measured, the segmentations must be
            apart, too.
    """
    known = set().union(*patients.values())
    numbers = ", ".join(map(str, patients))
    faults = []
    if lacking := [name for name in STRUCTURES if not any(structure == name for _, structure in known)]:
        faults.append(
            f"{who} must show {' and '.join(lacking)} in both segmentations of a slice, got {numbers}, none of whom "
            f"does, so that this cannot be {purpose}; add patients or choose others, by --seed where it draws them"
        )
    still = [end for end in ENDPOINTS if end in known and not any(patient.get(end) for patient in patients.values())]
    if still and purpose == "measured":
        faults.append(
            f"{who} must have segmentations that are apart before registration, got {numbers}, where "
            f"{' and '.join(' of '.join(end) for end in still)} is 0 in every slice, so that no ratio to it can be "
            "measured; is one scan's segmentation a copy of the other's?"
        )
    return faults

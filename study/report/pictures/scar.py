"""Scar (bright myocardium in LGE) on the stored slices. It is for illustration and enters no measurement."""

import math

import numpy as np

from jointnet.errors import DataError
from jointnet.scar import ScarSettings
from jointnet.scar.threshold import find_scar
from jointnet.structures import CLASS_INDEX

SPACING_MM = (5.0, 0.75, 0.75)
"""Spacing of the common grid along slices, rows and columns, in mm."""
SETTINGS = ScarSettings()
RULE = (
    f"Scar is drawn where LGE is brighter than the mean plus {SETTINGS.n_sd:g} SD of remote myocardium, the darkest "
    "sector of each slice, inside the manual myocardium label of LGE. The rule is illustrative: no reader marked "
    "these scars."
)


def scar(lge: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mask (S, H, W) of myocardium pixels that `jointnet.scar` marks as scar.

    The mask is empty where scar cannot be determined, such as without myocardium.

    Args:
        lge: grey values of a patient's slices (S, H, W), any unit.
        labels: their label values (S, H, W).
    """
    try:
        return find_scar(lge.astype(np.float32), labels, SPACING_MM, SETTINGS)
    except DataError:
        return np.zeros(labels.shape, bool)


def share(found: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of the myocardium that is scar, from 0 to 1; NaN where there is no myocardium."""
    muscle = int((labels == CLASS_INDEX["myo"]).sum())
    return float((found & (labels == CLASS_INDEX["myo"])).sum()) / muscle if muscle else math.nan

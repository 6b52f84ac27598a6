"""Where LGE is bright inside the myocardium, on the slices that a study kept: to be looked at, measured on nobody."""

import math

import numpy as np

from jointnet.faults import DataFaultError
from jointnet.scar.threshold import ScarSettings, find_scar
from jointnet.structures import CODE

SPACING_MM = (5.0, 0.75, 0.75)
"""Of the common grid: slices, rows, columns."""
SETTINGS = ScarSettings()
RULE = (
    f"Scar is drawn where LGE is brighter than the mean plus {SETTINGS.n_sd:g} SD of remote myocardium, the darkest "
    "sector of each slice, inside the manual myocardium label of LGE. The rule is illustrative: no reader marked "
    "these scars."
)


def scar(lge: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give the pixels (S, H, W) of myocardium that count as scar, by `jointnet.scar`; none without myocardium.

    Args:
        lge: grey values of a patient's slices (S, H, W), any unit.
        labels: their class codes (S, H, W).
    """
    try:
        return find_scar(lge.astype(np.float32), labels, SPACING_MM, SETTINGS)
    except DataFaultError:
        return np.zeros(labels.shape, bool)


def share(found: np.ndarray, labels: np.ndarray) -> float:
    """Give the part of the myocardium that is scar, from 0 to 1; NaN where there is no myocardium."""
    muscle = int((labels == CODE["myo"]).sum())
    return float((found & (labels == CODE["myo"])).sum()) / muscle if muscle else math.nan

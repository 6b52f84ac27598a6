"""Where LGE is bright inside the myocardium: a simple threshold, to show scars on pictures, measured on nobody."""

import math

import numpy as np

from jointnet.structures import CODE

SD_ABOVE = 5.0
FEWEST_PIXELS = 50
RULE = (
    f"Scar is drawn where LGE is brighter than the mean plus {SD_ABOVE:g} SD of the darker half of the same patient's "
    "myocardium, inside the manual myocardium label. The rule is illustrative: no reader marked these scars."
)


def threshold(lge: np.ndarray, labels: np.ndarray) -> float:
    """Give the grey value above which a patient's myocardium counts as scar.

    The darker half of all myocardial pixels stands for the remote, healthy muscle: mean + 5 of its SDs. Of normally
    distributed grey values without any scar 1.4 % lie above it.

    Args:
        lge: grey values of all slices (S, H, W), any unit.
        labels: their class codes (S, H, W).

    Returns:
        The grey value; infinity where there are fewer than `FEWEST_PIXELS` pixels of myocardium to judge by.
    """
    muscle = np.sort(lge[labels == CODE["myo"]].astype(float))
    if len(muscle) < FEWEST_PIXELS:
        return math.inf
    remote = muscle[: len(muscle) // 2]
    return float(remote.mean() + SD_ABOVE * remote.std(ddof=1))


def scar(lge: np.ndarray, labels: np.ndarray, above: float) -> np.ndarray:
    """Give the pixels (S, H, W) of myocardium that are brighter than `above`."""
    return (labels == CODE["myo"]) & (lge > above)


def share(lge: np.ndarray, labels: np.ndarray, above: float) -> float:
    """Give the part of the myocardium that is scar, from 0 to 1; NaN where there is no myocardium."""
    muscle = int((labels == CODE["myo"]).sum())
    return float(scar(lge, labels, above).sum()) / muscle if muscle else math.nan

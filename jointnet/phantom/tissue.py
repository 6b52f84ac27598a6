"""The tissues of the phantom and their label values in files."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import LABEL_VALUE

Codes = NDArray[np.uint8]
"""One `Tissue` value per point."""
Mask = NDArray[np.bool_]


class Tissue(IntEnum):
    """The tissues of a scene."""

    AIR = 0
    LUNG = 1
    FAT = 2
    CHEST_MUSCLE = 3
    BONE = 4
    LIVER = 5
    STOMACH = 6
    VESSEL = 7
    """Unlabelled blood: lung vessels, the aorta, the atria and the outflow tract."""
    HEART_WALL = 8
    """Unlabelled muscle of the heart: the walls of the RV and the atria."""
    MYO = 9
    SCAR = 10
    OBSTRUCTION = 11
    """Microvascular obstruction: the dark core of a scar."""
    LV = 12
    PAPILLARY = 13
    """Papillary muscles and trabeculae. They are dark, but labelled as LV pool."""
    RV = 14


INFARCT: tuple[Tissue, ...] = (Tissue.SCAR, Tissue.OBSTRUCTION)
MYOCARDIUM: tuple[Tissue, ...] = (Tissue.MYO, *INFARCT)
LV_POOL: tuple[Tissue, ...] = (Tissue.LV, Tissue.PAPILLARY)


def _label_table() -> NDArray[np.int16]:
    table = np.zeros(len(Tissue), np.int16)
    table[list(MYOCARDIUM)] = LABEL_VALUE["myo"]
    table[list(LV_POOL)] = LABEL_VALUE["lv"]
    table[Tissue.RV] = LABEL_VALUE["rv"]
    return table


_LABEL = _label_table()


def labels_of(codes: Codes) -> NDArray[np.int16]:
    """Return the challenge's label values for `Tissue` values, with the same shape."""
    return _LABEL[codes]

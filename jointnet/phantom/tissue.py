"""The tissues of the phantom and the label that each of them carries in a file."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import FILE_VALUE

Codes = NDArray[np.uint8]
"""One `Tissue` value per point."""
Mask = NDArray[np.bool_]


class Tissue(IntEnum):
    """What a point of the scene is made of."""

    AIR = 0
    LUNG = 1
    FAT = 2
    CHEST_MUSCLE = 3
    BONE = 4
    LIVER = 5
    STOMACH = 6
    VESSEL = 7
    """Blood outside the labelled chambers: lung vessels, the aorta, the atria and the outflow tract."""
    HEART_WALL = 8
    """Muscle of the heart that nobody labels: the wall of the RV and of the atria."""
    MYO = 9
    SCAR = 10
    OBSTRUCTION = 11
    """Microvascular obstruction: the dark core of a scar."""
    LV = 12
    PAPILLARY = 13
    """Papillary muscles and trabeculae: dark, but labels count them with the pool."""
    RV = 14


INFARCT: tuple[Tissue, ...] = (Tissue.SCAR, Tissue.OBSTRUCTION)
MYOCARDIUM: tuple[Tissue, ...] = (Tissue.MYO, *INFARCT)
LV_POOL: tuple[Tissue, ...] = (Tissue.LV, Tissue.PAPILLARY)


def _label_table() -> NDArray[np.int16]:
    table = np.zeros(len(Tissue), np.int16)
    table[list(MYOCARDIUM)] = FILE_VALUE["myo"]
    table[list(LV_POOL)] = FILE_VALUE["lv"]
    table[Tissue.RV] = FILE_VALUE["rv"]
    return table


_LABEL = _label_table()


def labels_of(codes: Codes) -> NDArray[np.int16]:
    """Turn tissue codes of any shape into the challenge's label values of the same shape."""
    return _LABEL[codes]

"""The tissues of the phantom, their label values in files, and the smooth random fields that give them texture."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import LABEL_VALUE

Array = NDArray[np.float32]
"""Arrays of the simulation. Single precision is accurate enough and needs half the memory bandwidth."""
TissueMap = NDArray[np.uint8]
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


def labels_of(tissues: TissueMap) -> NDArray[np.int16]:
    """Return the challenge's label values for `Tissue` values, with the same shape."""
    return _LABEL[tissues]


@dataclass(frozen=True)
class Field:
    """A sum of plane waves with random directions and phases: mean 0, variance about 1.

    Attributes:
        wave_per_mm: Wave vectors, radians per mm, shape (n, 3).
        phase_rad: Phases, shape (n,).
    """

    wave_per_mm: Array
    phase_rad: Array

    def at(self, points_mm: Array) -> Array:
        """Return the field's values, shape (...), at points of shape (3, ...)."""
        total = np.zeros(points_mm.shape[1:], np.float32)
        for (x, y, z), phase in zip(self.wave_per_mm, self.phase_rad, strict=True):
            total += np.cos(x * points_mm[0] + y * points_mm[1] + (z * points_mm[2] + phase))
        return total * np.float32(np.sqrt(2.0 / len(self.phase_rad)))


def sample_field(rng: np.random.Generator, shortest_mm: float, longest_mm: float, waves: int = 8) -> Field:
    """Draw a field with random directions and with wavelengths between two bounds in mm."""
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length_mm = np.exp(rng.uniform(np.log(shortest_mm), np.log(longest_mm), size=(waves, 1)))
    return Field(
        wave_per_mm=(2 * np.pi * direction / length_mm).astype(np.float32),
        phase_rad=rng.uniform(0, 2 * np.pi, size=waves).astype(np.float32),
    )

"""Smooth random fields in space, defined by a formula, so that they can be sampled on any grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Arrays of the simulation. Single precision is accurate enough and needs half the memory bandwidth."""


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

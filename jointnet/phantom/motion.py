"""The true misalignment between the cine and the LGE scan of the phantom.

It has two parts. Between the two scans the whole heart is transformed by one affine in world mm. Within each scan every
slice has its own breath-hold, which shifts the heart within that slice's plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]

ROTATION_DEG = (1.5, 1.5, 2.0)
"""Typical standard deviation of the rotation around u, v and w; it varies between patients."""
SCALE_SD = 0.015
SHEAR_SD = 0.015
TRANSLATION_MM = (2.1, 2.1, 1.5)
"""Typical standard deviation of the translation along u, v and w; it varies between patients."""
UNREST_SD = 0.3
"""Standard deviation of the logarithm of a patient's factor on rotation and translation."""
SLICE_SHIFT_MM = 0.7
"""Typical standard deviation of a breath-hold's shift along each in-plane axis; it varies between patients."""
LIMIT_SD = 2.5
"""Limit, in standard deviations, to which normal draws are clipped."""


def limited_normal(rng: np.random.Generator, sd: float | tuple[float, ...], size: tuple[int, ...]) -> Matrix:
    """Draw normal random numbers of mean 0, clipped at `LIMIT_SD` standard deviations."""
    return np.clip(rng.normal(size=size), -LIMIT_SD, LIMIT_SD) * np.asarray(sd)


def rotation(vector_rad: Matrix) -> Matrix:
    """Return the 3x3 rotation around a vector by its length in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector_rad))
    if angle == 0:
        return np.eye(3)
    x, y, z = vector_rad / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@dataclass(frozen=True)
class HeartMotion:
    """The affine between the two scans in heart coordinates.

    Attributes:
        linear: Rotation, scale and shear in heart coordinates, shape (3, 3).
        translation_mm: Translation along u, v, w, shape (3,).
    """

    linear: Matrix
    translation_mm: Matrix

    def in_world(self, heart_to_world: Matrix) -> Matrix:
        """Return the 4x4 affine from the heart's position in the cine scan to that in the LGE scan, in world mm."""
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = self.linear, self.translation_mm
        return heart_to_world @ own @ np.linalg.inv(heart_to_world)


def sample_heart_motion(rng: np.random.Generator) -> HeartMotion:
    """Draw the affine between the two scans."""
    unrest = float(np.exp(limited_normal(rng, UNREST_SD, ())))
    turn = rotation(np.deg2rad(unrest * limited_normal(rng, ROTATION_DEG, (3,))))
    shear = np.triu(limited_normal(rng, SHEAR_SD, (3, 3)), 1)
    scale = np.diag(1 + limited_normal(rng, SCALE_SD, (3,)))
    return HeartMotion(linear=turn @ (scale + shear), translation_mm=unrest * limited_normal(rng, TRANSLATION_MM, (3,)))


def sample_slice_shifts(rng: np.random.Generator, in_plane_axes: Matrix, slices: int) -> Matrix:
    """Draw one shift per slice in world mm, shape (slices, 3), in the plane of the two axes (columns of (3, 2))."""
    patient_sd_mm = SLICE_SHIFT_MM * rng.uniform(0.5, 1.5)
    return limited_normal(rng, patient_sd_mm, (slices, 2)) @ in_plane_axes.T

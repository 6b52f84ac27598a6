"""Simulation of image intensities from tissues: contrast, texture, coil sensitivity, blur and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from jointnet.phantom.tissue import Array, Field, Tissue, TissueMap, sample_field

INT16_MAX = 32767


@dataclass(frozen=True)
class Appearance:
    """Intensity parameters of one sequence in one patient. A signal of 1 is about the brightest blood.

    Attributes:
        signal: Mean signal of each tissue, shape (tissues,).
        mottle: Standard deviation of the signal within each tissue, shape (tissues,).
        texture: The random field that is scaled by `mottle`.
        sensitivity: Coefficients of x, y, x^2, xy, y^2 in the logarithm of the coil sensitivity, shape (5,).
        ghost: Typical strength of the motion ghost, a displaced copy of the image, relative to the image.
        slice_gain_sd: Relative standard deviation of the slices' brightness.
        blur_px: Standard deviation of the point spread function.
        noise: Standard deviation of the noise in the image.
        units: Scanner units per unit of signal.
    """

    signal: Array
    mottle: Array
    texture: Field
    sensitivity: Array
    ghost: float
    slice_gain_sd: float
    blur_px: float
    noise: float
    units: float


def _table(values: dict[Tissue, float]) -> Array:
    return np.array([values[tissue] for tissue in Tissue], np.float32)


def sample_cine_appearance(rng: np.random.Generator) -> Appearance:
    """Draw the intensity parameters of a cine scan: bright blood, grey muscle, nearly invisible scar."""
    blood, muscle = rng.uniform(0.8, 1.0), rng.uniform(0.3, 0.42)
    signal = {
        Tissue.AIR: 0.01,
        Tissue.LUNG: rng.uniform(0.03, 0.08),
        Tissue.FAT: rng.uniform(0.55, 0.95),
        Tissue.CHEST_MUSCLE: rng.uniform(0.18, 0.3),
        Tissue.BONE: rng.uniform(0.3, 0.5),
        Tissue.LIVER: rng.uniform(0.2, 0.36),
        Tissue.STOMACH: rng.uniform(0.3, 0.55),
        Tissue.VESSEL: blood * rng.uniform(0.7, 0.95),
        Tissue.HEART_WALL: muscle * rng.uniform(0.9, 1.15),
        Tissue.MYO: muscle,
        Tissue.SCAR: muscle * rng.uniform(0.98, 1.08),
        Tissue.OBSTRUCTION: muscle,
        Tissue.LV: blood,
        Tissue.PAPILLARY: muscle * rng.uniform(1.0, 1.3),
        Tissue.RV: blood * rng.uniform(0.8, 0.98),
    }
    return Appearance(
        signal=_table(signal),
        mottle=0.07 * _table(signal),
        texture=sample_field(rng, 11, 60),
        sensitivity=rng.normal(0, [0.2, 0.12, 0.12, 0.08, 0.1]).astype(np.float32),
        ghost=rng.uniform(0.0, 0.04),
        slice_gain_sd=0.03,
        blur_px=rng.uniform(0.6, 0.8),
        noise=rng.uniform(0.015, 0.035),
        units=float(np.exp(rng.uniform(np.log(120), np.log(1500)))),
    )


def sample_lge_appearance(rng: np.random.Generator) -> Appearance:
    """Draw the intensity parameters of an LGE scan: dark muscle, medium blood, scar about as bright as blood."""
    blood, muscle = rng.uniform(0.4, 0.85), rng.uniform(0.08, 0.22)
    scar = blood * rng.uniform(0.8, 1.35)
    signal = {
        Tissue.AIR: 0.01,
        Tissue.LUNG: rng.uniform(0.04, 0.1),
        Tissue.FAT: rng.uniform(0.25, 0.6),
        Tissue.CHEST_MUSCLE: rng.uniform(0.12, 0.25),
        Tissue.BONE: rng.uniform(0.15, 0.35),
        Tissue.LIVER: rng.uniform(0.15, 0.35),
        Tissue.STOMACH: rng.uniform(0.2, 0.55),
        Tissue.VESSEL: blood * rng.uniform(0.6, 1.0),
        Tissue.HEART_WALL: muscle * rng.uniform(1.0, 1.7),
        Tissue.MYO: muscle,
        Tissue.SCAR: scar,
        Tissue.OBSTRUCTION: muscle * rng.uniform(0.8, 1.3),
        Tissue.LV: blood,
        Tissue.PAPILLARY: muscle * rng.uniform(1.0, 2.2),
        Tissue.RV: blood * rng.uniform(0.65, 1.0),
    }
    mottle = 0.12 * _table(signal)
    mottle[Tissue.MYO] += 0.03
    return Appearance(
        signal=_table(signal),
        mottle=mottle,
        texture=sample_field(rng, 9, 45),
        sensitivity=rng.normal(0, [0.4, 0.2, 0.2, 0.12, 0.15]).astype(np.float32),
        ghost=rng.uniform(0.02, 0.14),
        slice_gain_sd=0.1,
        blur_px=rng.uniform(0.9, 1.3),
        noise=rng.uniform(0.045, 0.09),
        units=float(np.exp(rng.uniform(np.log(60), np.log(900)))),
    )


def _coil(appearance: Appearance, shape: tuple[int, int]) -> Array:
    """Return the coil sensitivity over one slice; x and y run from -1 to 1 across the image."""
    x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    y = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    a, b, c, d, e = appearance.sensitivity
    field: Array = np.exp(a * x + b * y + c * x * x + d * x * y + e * y * y)
    return field


def render_slice(
    appearance: Appearance, tissues: TissueMap, points_mm: Array, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return one simulated slice.

    The image is the magnitude of a complex signal with noise in both channels, so dark regions have Rician noise.
    Scanners interpolate, so the noise is correlated between neighbours: each noise value is the mean of 2 x 2 white
    noise values, times 2 to keep the standard deviation.

    Args:
        appearance: The intensity parameters of the sequence.
        tissues: `Tissue` values, shape (nx, ny).
        points_mm: Heart coordinates of the pixels, shape (3, nx, ny).
        rng: Random number generator of the noise.

    Returns:
        Scanner units, shape (nx, ny).
    """
    signal = appearance.signal[tissues] + appearance.mottle[tissues] * appearance.texture.at(points_mm)
    signal *= _coil(appearance, (tissues.shape[0], tissues.shape[1])) * np.float32(
        1 + rng.normal(0, appearance.slice_gain_sd)
    )
    signal += abs(rng.normal(0, appearance.ghost)) * np.roll(signal, int(rng.integers(tissues.shape[1])), axis=1)
    white = rng.standard_normal((2, tissues.shape[0] + 1, tissues.shape[1] + 1), dtype=np.float32)
    rows = white[:, 1:] + white[:, :-1]
    real, imaginary = (rows[:, :, 1:] + rows[:, :, :-1]) * np.float32(0.5 * appearance.noise)
    magnitude = np.hypot(gaussian_filter(signal, appearance.blur_px, truncate=3.0) + real, imaginary)
    return np.clip(np.rint(magnitude * appearance.units), 0, INT16_MAX).astype(np.int16)

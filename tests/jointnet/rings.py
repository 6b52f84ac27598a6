"""Analytic ventricles: concentric circles in every slice, an RV beside them, and LGE with two intensities."""

import numpy as np

from jointnet.structures import CLASS_INDEX

SPACING_MM = (5.0, 0.5, 0.5)
SIZE_PX = 200
POOL_MM, OUTER_MM = 20.0, 30.0
DARK, BRIGHT = 10.0, 100.0


def polar(size_px=SIZE_PX, spacing_mm=SPACING_MM):
    """Return radius in mm and angle in degrees of the pixels of a slice, counter-clockwise as displayed."""
    down, right = np.meshgrid(
        *(((np.arange(size_px) - (size_px - 1) / 2) * each) for each in spacing_mm[1:]), indexing="ij"
    )
    return np.hypot(down, right), np.degrees(np.arctan2(-down, right)) % 360


def turned(angle_deg, from_deg):
    """Return the counter-clockwise angle from `from_deg`, 0 to 360."""
    return (angle_deg - from_deg) % 360


def ventricle(slices=6, rv_deg=180.0, rv=True):
    """Return class labels (slices, rows, columns). The RV is a sector of 90 degrees that touches the wall."""
    radius, angle = polar()
    plane = np.zeros(radius.shape, np.uint8)
    if rv:
        plane[(radius < 42) & (turned(angle, rv_deg - 45) < 90)] = CLASS_INDEX["rv"]
    plane[radius < OUTER_MM] = CLASS_INDEX["myo"]
    plane[radius < POOL_MM] = CLASS_INDEX["lv"]
    return np.repeat(plane[None], slices, 0)


def sector(start_deg, width_deg, inner_mm=POOL_MM, outer_mm=OUTER_MM, slices=6):
    """Return a mask (slices, rows, columns) of a sector of a ring."""
    radius, angle = polar()
    plane = (radius >= inner_mm) & (radius < outer_mm) & (turned(angle, start_deg) < width_deg)
    return np.repeat(plane[None], slices, 0)


def lge_of(labels, scar, noise=1.0, seed=0):
    """Return LGE with a dark wall, a bright scar, bright pools and normal noise."""
    image = np.random.default_rng(seed).normal(DARK, noise, labels.shape)
    image[scar | np.isin(labels, (CLASS_INDEX["lv"], CLASS_INDEX["rv"]))] += BRIGHT - DARK
    return image.astype(np.float32)

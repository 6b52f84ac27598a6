"""The heart's surroundings: chest wall, lungs, liver, stomach, aorta and the fat around the heart.

The chest wall does not move with breathing. The diaphragm, the fat and the vessels move with the heart. Both use the
axes and mm of the heart's coordinates (see `anatomy`).
"""

from dataclasses import dataclass

import numpy as np

from jointnet.phantom.anatomy import OUTSIDE, Heart
from jointnet.phantom.tissue import Array, Field, Tissue, TissueMap, sample_field


@dataclass(frozen=True)
class Thorax:
    """Parameters of the surroundings; lengths in mm in the heart's axes.

    The inner chest wall is an ellipse in every plane perpendicular to the long axis. It comes nearer to the heart by
    `wall_approach` per mm towards the apex. The layers of the chest wall follow from inside to outside.
    """

    centre_u_mm: float
    centre_v_mm: float
    radius_u_mm: float
    radius_v_mm: float
    wall_approach: float
    muscle_mm: float
    skin_fat_mm: float
    rib_spacing_mm: float
    diaphragm_mm: float
    diaphragm_slope: float
    diaphragm_curve_per_mm: float
    liver_end_mm: float
    aorta_u_mm: float
    aorta_v_mm: float
    aorta_radius_mm: float
    coarse: Field
    fine: Field


def sample_thorax(rng: np.random.Generator, heart: Heart) -> Thorax:
    """Draw random surroundings with enough space for the heart."""
    radius_u_mm = rng.uniform(105, 125)
    front_mm = heart.radius_u_mm + heart.wall_mm + heart.rv_width_mm + rng.uniform(8, 20)
    return Thorax(
        centre_u_mm=radius_u_mm - front_mm,
        centre_v_mm=rng.uniform(-10, 20),
        radius_u_mm=radius_u_mm,
        radius_v_mm=rng.uniform(95, 120),
        wall_approach=rng.uniform(0.0, 0.25),
        muscle_mm=rng.uniform(12, 20),
        skin_fat_mm=rng.uniform(8, 25),
        rib_spacing_mm=rng.uniform(26, 34),
        diaphragm_mm=heart.radius_v_mm + heart.wall_mm + rng.uniform(1, 7),
        diaphragm_slope=rng.uniform(-0.05, 0.25),
        diaphragm_curve_per_mm=rng.uniform(0.0, 0.002),
        liver_end_mm=rng.uniform(5, 40),
        aorta_u_mm=rng.uniform(62, 82),
        aorta_v_mm=rng.uniform(-20, 15),
        aorta_radius_mm=rng.uniform(9, 13),
        coarse=sample_field(rng, 30, 80),
        fine=sample_field(rng, 8, 18),
    )


def fill_surroundings(
    thorax: Thorax, heart: Heart, tissues: TissueMap, distance_mm: Array, moving_mm: Array, still_mm: Array
) -> TissueMap:
    """Return the tissues with all points outside the heart filled in.

    Args:
        thorax: The surroundings.
        heart: The heart, for the thickness of the fat around it.
        tissues: `Tissue` values, `OUTSIDE` where they are to be filled in, shape (...).
        distance_mm: Distance to the heart's outer surface, shape (...).
        moving_mm: Coordinates of each point for tissues that move with the heart, shape (3, ...).
        still_mm: Coordinates of each point for the chest wall, shape (3, ...).

    Returns:
        `Tissue` values of shape (...) without `OUTSIDE`.
    """
    u, v, _ = moving_mm
    coarse, fine = thorax.coarse.at(moving_mm), thorax.fine.at(moving_mm)
    filled = np.full(tissues.shape, Tissue.LUNG, np.uint8)
    filled[fine > 2.0] = Tissue.VESSEL

    to_wall = _distance_to_chest_wall(thorax, still_mm)
    filled[to_wall > -6 - 7 * np.clip(coarse, -0.8, 2)] = Tissue.FAT
    floor = -thorax.diaphragm_mm + thorax.diaphragm_slope * u - thorax.diaphragm_curve_per_mm * (u + 10) ** 2
    below = floor - v
    filled[below > -1.2] = Tissue.FAT
    filled[below > 0] = np.where(u < thorax.liver_end_mm + 8 * coarse, Tissue.LIVER, Tissue.STOMACH)[below > 0]
    filled[(below > 6) & (fine > 2.1)] = Tissue.VESSEL
    filled[np.hypot(u - thorax.aorta_u_mm, v - thorax.aorta_v_mm) < thorax.aorta_radius_mm] = Tissue.VESSEL

    filled[distance_mm < heart.fat_mm * np.clip(0.4 + 0.8 * heart.coarse.at(moving_mm), 0, 2)] = Tissue.FAT
    _add_chest_wall(thorax, filled, to_wall, still_mm)
    return np.where(tissues == OUTSIDE, filled, tissues)


def _distance_to_chest_wall(thorax: Thorax, still_mm: Array) -> Array:
    """Return the approximate distance in mm to the inner chest wall, negative inside."""
    u, v, w = still_mm
    across = (u - thorax.centre_u_mm + thorax.wall_approach * np.minimum(w, 0)) / thorax.radius_u_mm
    level = np.hypot(across, (v - thorax.centre_v_mm) / thorax.radius_v_mm)
    return ((level - 1) * thorax.radius_u_mm).astype(np.float32)


def _add_chest_wall(thorax: Thorax, filled: TissueMap, to_wall: Array, still_mm: Array) -> None:
    """Add muscle, ribs, the fat under the skin and the air outside to `filled` in place."""
    muscle = to_wall > 0
    ribs = (to_wall > 2.5) & (to_wall < 9.5) & (np.cos(2 * np.pi / thorax.rib_spacing_mm * still_mm[1]) > 0.35)
    skin_fat = to_wall > thorax.muscle_mm + 3 * np.sin(still_mm[1] / 17)
    filled[muscle] = Tissue.CHEST_MUSCLE
    filled[ribs] = Tissue.BONE
    filled[skin_fat] = Tissue.FAT
    filled[to_wall > thorax.muscle_mm + thorax.skin_fat_mm] = Tissue.AIR

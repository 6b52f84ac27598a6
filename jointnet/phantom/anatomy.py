"""The heart of the phantom: its random shape, and a function from points in heart coordinates to tissues.

Heart coordinates are mm from the centre of the left ventricle: `u` from the septum to the lateral wall, `v`
upwards, `w` along the long axis from the apex (negative) to the base (positive). Angles are `atan2(v, u)`.
"""

from dataclasses import dataclass, replace

import numpy as np

from jointnet.phantom.tissue import INFARCT, Array, Field, Mask, Tissue, TissueMap, sample_field

BASAL_STRETCH = 1.7
"""Ratio of the LV's length scale towards the base to that towards the apex: it narrows more slowly to the base."""
RV_WALL_MM = 3.0
ATRIAL_WALL_MM = 2.5
OUTSIDE = 255
"""Value of points outside the heart. `thorax.fill_surroundings` replaces it."""


@dataclass(frozen=True)
class Scar:
    """One infarct, which extends from the endocardium outwards.

    Attributes:
        angle_rad: Angle of its centre around the long axis.
        half_angle_rad: Half of its angular width.
        level_mm: Position of its centre along the long axis.
        half_length_mm: Half of its length along the long axis.
        transmurality: Depth at its centre as a share of the wall; 1 or more is transmural.
        obstruction: Whether it has a dark core (microvascular obstruction).
    """

    angle_rad: float
    half_angle_rad: float
    level_mm: float
    half_length_mm: float
    transmurality: float
    obstruction: bool


@dataclass(frozen=True)
class Heart:
    """The shape parameters of one heart at one time; lengths in mm, angles in rad.

    `ripple` is the relative amplitude of the three-fold deviation of the LV's outline from an ellipse. The wall is
    `wall_mm` thick at mid level and varies around the LV by the share `wall_swing`, with its maximum at
    `wall_angle_rad`.
    """

    radius_u_mm: float
    radius_v_mm: float
    half_length_mm: float
    base_mm: float
    ripple: float
    ripple_angle_rad: float
    wall_mm: float
    wall_swing: float
    wall_angle_rad: float
    apex_wall_mm: float
    rv_angle_rad: float
    rv_width_mm: float
    rv_half_height_mm: float
    rv_skew: float
    rv_apex_mm: float
    rv_full_mm: float
    rv_base_mm: float
    papillary_angles_rad: tuple[float, float]
    papillary_radius_mm: float
    papillary_tip_mm: float
    trabeculation: float
    fat_mm: float
    scars: tuple[Scar, ...]
    coarse: Field
    fine: Field

    @property
    def apex_mm(self) -> float:
        """Level of the outermost point of the apex."""
        return -(self.half_length_mm + self.apex_wall_mm)

    @property
    def middle_u_mm(self) -> float:
        """Centre, along u, of both ventricles at mid level."""
        return -0.5 * self.rv_width_mm


def _sample_scars(rng: np.random.Generator, half_length_mm: float) -> tuple[Scar, ...]:
    count = int(rng.choice([0, 1, 2], p=[0.2, 0.55, 0.25]))
    return tuple(
        Scar(
            angle_rad=float(rng.uniform(-np.pi, np.pi)),
            half_angle_rad=float(np.deg2rad(rng.uniform(22, 75))),
            level_mm=float(rng.uniform(-0.6, 0.3) * half_length_mm),
            half_length_mm=float(rng.uniform(12, 38)),
            transmurality=float(rng.uniform(0.35, 1.25)),
            obstruction=bool(rng.random() < 0.25),
        )
        for _ in range(count)
    )


def sample_heart(rng: np.random.Generator) -> Heart:
    """Draw a random heart at the time of the cine scan, near end-diastole."""
    radius_mm = rng.uniform(22, 28)
    flattening = rng.uniform(-0.06, 0.06)
    half_length_mm = rng.uniform(55, 63)
    base_mm = rng.uniform(24, 31)
    return Heart(
        radius_u_mm=radius_mm * (1 + flattening),
        radius_v_mm=radius_mm * (1 - flattening),
        half_length_mm=half_length_mm,
        base_mm=base_mm,
        ripple=rng.uniform(0.0, 0.03),
        ripple_angle_rad=rng.uniform(-np.pi, np.pi),
        wall_mm=rng.uniform(8.0, 11.0),
        wall_swing=rng.uniform(0.0, 0.18),
        wall_angle_rad=rng.uniform(-np.pi, np.pi),
        apex_wall_mm=rng.uniform(5.0, 8.0),
        rv_angle_rad=np.deg2rad(rng.uniform(178, 208)),
        rv_width_mm=rng.uniform(24, 38),
        rv_half_height_mm=rng.uniform(34, 43),
        rv_skew=rng.uniform(-0.1, 0.35),
        rv_apex_mm=-half_length_mm * rng.uniform(0.7, 0.9),
        rv_full_mm=rng.uniform(-12, 12),
        rv_base_mm=base_mm + rng.uniform(-3, 4),
        papillary_angles_rad=(np.deg2rad(rng.uniform(20, 70)), np.deg2rad(rng.uniform(-100, -50))),
        papillary_radius_mm=rng.uniform(3.5, 5.5),
        papillary_tip_mm=rng.uniform(0, 14),
        trabeculation=rng.uniform(0.3, 1.1),
        fat_mm=rng.uniform(2.0, 6.5),
        scars=_sample_scars(rng, half_length_mm),
        coarse=sample_field(rng, 25, 60),
        fine=sample_field(rng, 7, 14),
    )


def at_lge_time(heart: Heart, rng: np.random.Generator) -> Heart:
    """Return the heart with a small random non-affine change of shape, as at the time of the LGE scan.

    The LGE scan is gated to another cardiac phase than end-diastole. The pool shrinks and the wall thickens, so that
    the outer surface moves less than the inner. The RV changes independently, and strongly in some patients.
    """
    squeeze = rng.uniform(0.0, 0.07)
    rv_change = float(np.exp(rng.normal(-0.1, 0.6)))
    return replace(
        heart,
        radius_u_mm=heart.radius_u_mm * (1 - squeeze + rng.normal(0, 0.01)),
        radius_v_mm=heart.radius_v_mm * (1 - squeeze + rng.normal(0, 0.01)),
        base_mm=heart.base_mm - rng.uniform(0, 4),
        ripple=heart.ripple + rng.normal(0, 0.01),
        ripple_angle_rad=heart.ripple_angle_rad + rng.normal(0, 0.2),
        wall_mm=heart.wall_mm * (1 + 1.5 * squeeze + rng.normal(0, 0.02)),
        rv_angle_rad=heart.rv_angle_rad + np.deg2rad(rng.normal(0, 2.0)) * rv_change,
        rv_width_mm=heart.rv_width_mm * (1 - squeeze + np.clip(rng.normal(0, 0.05) * rv_change, -0.25, 0.25)),
        rv_half_height_mm=heart.rv_half_height_mm
        * (1 - 0.7 * squeeze + np.clip(rng.normal(0, 0.02) * rv_change, -0.1, 0.1)),
        rv_skew=heart.rv_skew + rng.normal(0, 0.04),
        rv_base_mm=heart.rv_base_mm - rng.uniform(0, 4),
    )


def _narrowing(level_mm: Array, half_length_mm: float) -> Array:
    """Return the radius at a level as a share of the mid-level radius: 1 at mid level, 0 beyond the apex."""
    relative = level_mm / np.where(level_mm < 0, half_length_mm, BASAL_STRETCH * half_length_mm).astype(np.float32)
    return np.sqrt(np.clip(1 - relative**2, 0, None)).astype(np.float32)


def heart_tissues(heart: Heart, points_mm: Array, axis_level_mm: Array | float) -> tuple[TissueMap, Array]:
    """Return the tissue at each point and the distance to the heart's surface.

    Args:
        heart: The shape.
        points_mm: Heart coordinates u, v, w in mm, shape (3, ...).
        axis_level_mm: The level that determines whether a point is above the base. For a slice it is one number, the
            level at which the slice intersects the long axis, because observers label the whole ring of a slice or
            none of it.

    Returns:
        `Tissue` values of shape (...), `OUTSIDE` for points outside the heart, and the approximate distance in mm to
        the heart's outer surface (positive outside) of the same shape.
    """
    u, v, w = points_mm
    radius = np.hypot(u, v)
    angle = np.arctan2(v, u)
    fine = heart.fine.at(points_mm)

    outline = (
        heart.radius_u_mm
        * heart.radius_v_mm
        / np.hypot(heart.radius_v_mm * np.cos(angle), heart.radius_u_mm * np.sin(angle))
    )
    outline *= 1 + heart.ripple * np.cos(3 * (angle - heart.ripple_angle_rad))
    wall = heart.wall_mm * (1 + heart.wall_swing * np.cos(angle - heart.wall_angle_rad))
    endo = _narrowing(w, heart.half_length_mm) * outline
    epi = _narrowing(w, heart.half_length_mm + heart.apex_wall_mm) * (outline + wall)
    above_base = np.broadcast_to(np.asarray(axis_level_mm > heart.base_mm), w.shape)

    rv_distance = _rv_distance(heart, points_mm)
    tissues = np.full(radius.shape, OUTSIDE, np.uint8)
    tissues[rv_distance < RV_WALL_MM] = Tissue.HEART_WALL
    tissues[rv_distance < 0] = Tissue.VESSEL
    tissues[(rv_distance < 0) & (axis_level_mm <= heart.rv_base_mm)] = Tissue.RV

    atrium = np.where(above_base, endo + ATRIAL_WALL_MM, epi)
    tissues[radius < atrium] = Tissue.HEART_WALL
    tissues[(radius < epi) & ~above_base] = Tissue.MYO
    _add_scars(heart, tissues, angle, w, (radius - endo) / np.maximum(epi - endo, 1e-3), fine)
    tissues[radius < endo] = Tissue.LV
    tissues[(radius < endo) & _is_papillary(heart, points_mm, endo, radius, fine)] = Tissue.PAPILLARY
    tissues[(radius < endo) & above_base] = Tissue.VESSEL
    closest = np.minimum(radius - atrium, rv_distance - RV_WALL_MM)
    beyond_apex = heart.apex_mm - w
    return tissues, np.maximum(closest, beyond_apex).astype(np.float32)


def _rv_distance(heart: Heart, points_mm: Array) -> Array:
    """Return the approximate distance in mm to the RV's outline, negative inside.

    The outline includes the part that the LV covers. In plane the RV is a skewed ellipse whose centre lies inside the
    LV's wall, so that the visible part is a crescent. It shrinks towards the apex.
    """
    u, v, w = points_mm
    outward = u * np.float32(np.cos(heart.rv_angle_rad)) + v * np.float32(np.sin(heart.rv_angle_rad))
    along = v * np.float32(np.cos(heart.rv_angle_rad)) - u * np.float32(np.sin(heart.rv_angle_rad))
    growth = np.clip((w - heart.rv_apex_mm) / (heart.rv_full_mm - heart.rv_apex_mm), 0, 1)
    septum = _narrowing(w, heart.half_length_mm + heart.apex_wall_mm) * (heart.radius_u_mm + heart.wall_mm)
    half_width = 0.35 * septum + heart.rv_width_mm * growth**0.7
    half_height = heart.rv_half_height_mm * np.sqrt(np.maximum(growth, 1e-3))
    across = (outward - 0.65 * septum) / np.maximum(half_width, 1)
    height = along / half_height
    level = np.sqrt(across**2 + height**2 * np.clip(1 - heart.rv_skew * height, 0.3, 2))
    distance = (level - 1) * np.minimum(half_width, half_height)
    return np.where(growth > 0, distance, np.maximum(distance, 2 * RV_WALL_MM)).astype(np.float32)


def _is_papillary(heart: Heart, points_mm: Array, endo: Array, radius: Array, fine: Array) -> Mask:
    """Return the mask of the two papillary muscles and the trabeculae in the pool."""
    u, v, w = points_mm
    lowest_mm = -0.6 * heart.half_length_mm
    middle, half = 0.5 * (heart.papillary_tip_mm + lowest_mm), 0.5 * (heart.papillary_tip_mm - lowest_mm)
    thickness = heart.papillary_radius_mm * np.sqrt(np.clip(1 - ((w - middle) / half) ** 2, 0, None))
    dark = (fine * heart.trabeculation > 1.0) & (radius > 0.75 * endo)
    for angle_rad in heart.papillary_angles_rad:
        reach = 0.66 * endo
        dark |= (
            np.hypot(u - reach * np.float32(np.cos(angle_rad)), v - reach * np.float32(np.sin(angle_rad))) < thickness
        )
    return dark


def _add_scars(heart: Heart, tissues: TissueMap, angle: Array, w: Array, depth: Array, fine: Array) -> None:
    """Add scars to `tissues` in place; `depth` is 0 at the endocardium and 1 at the epicardium."""
    muscle = tissues == Tissue.MYO
    for scar in heart.scars:
        turned = np.remainder(angle - scar.angle_rad + np.pi, 2 * np.pi) - np.pi
        strength = 1 - (turned / scar.half_angle_rad) ** 2 - ((w - scar.level_mm) / scar.half_length_mm) ** 2
        reach = scar.transmurality * np.sqrt(np.clip(strength, 0, None)) * (1 + 0.15 * fine)
        tissues[muscle & (depth < reach)] = Tissue.SCAR
        if scar.obstruction:
            tissues[muscle & (strength > 0.45) & (depth > 0.15) & (depth < 0.6 * reach)] = Tissue.OBSTRUCTION


def scar_burden(heart: Heart, step_mm: float = 1.5) -> tuple[float, float]:
    """Return the scar's volume in ml and its share of the myocardium, summed over a regular grid of points."""
    reach_mm = max(heart.radius_u_mm, heart.radius_v_mm) * (1 + abs(heart.ripple)) + heart.wall_mm * 1.5
    plane = np.arange(-reach_mm, reach_mm, step_mm, dtype=np.float32)
    levels = np.arange(heart.apex_mm, heart.base_mm, step_mm, dtype=np.float32)
    points_mm = np.stack(np.meshgrid(plane, plane, levels, indexing="ij"))
    tissues, _ = heart_tissues(heart, points_mm, points_mm[2])
    scar = int(np.isin(tissues, INFARCT).sum())
    muscle = scar + int((tissues == Tissue.MYO).sum())
    return scar * step_mm**3 / 1000.0, scar / muscle

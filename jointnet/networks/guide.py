"""The affine that brings two soft segmentations together: Gauss-Newton on their difference.

For probability maps P (cine) and Q (LGE) of the structures, the motion p minimises

    E(p) = sum_x sum_k (P_k(x) - Q_k(theta_p x))^2 / n  +  r / m  sum_j (p_j / sigma_j)^2,

theta_p acting about the cine heart's centre, n the number of heart pixels. Once that is found, it is refined: further
maps join P and Q, descriptors of the images, which count within and just around the cine heart; they need to be nearly
aligned, and then see what segmentations miss.

The second term is a normal prior on the motion about the identity or, where the slices of a patient are aligned
together, about the patient's own motion: that one is the mean over slices, weighed by how precisely each is known and
by how far it lies off the others, and slices depart from it by a breath-hold only. The prior weighs by r, what remains
of the segmentations' term (held fixed within a step), over m, how many independent observations a slice is worth: two
clear segmentations that fit each other are followed, two that do not fit are followed less far, and an empty one gives
the prior's own motion. Each structure weighs by how well its two areas agree, smaller over larger, so that one that
only one image shows does not pull.

Registration trains the segmentations too, through the last step only: at the minimum the derivative of one Gauss-Newton
step is the implicit derivative of the minimum, so the steps before need none.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.extent import extent
from jointnet.geometry import HALF_EXTENT_MM, about, moved_centres, pixel_centres, theta_from_motion, values_at
from jointnet.networks.normal_equations import directions, monomials, normal_equations
from jointnet.pooling import box_maxima
from jointnet.precision import computing_in

PATIENT_SD = (math.radians(5), 0.06, 0.06, 0.03, 8 / HALF_EXTENT_MM, 8 / HALF_EXTENT_MM)
"""Spread of a motion over patients: rotation (radians), log-scales, shear, translations (normalised)."""
SLICE_SD = (math.radians(2), 0.045, 0.045, 0.015, 2 / HALF_EXTENT_MM, 2 / HALF_EXTENT_MM)
"""Spread of a slice's motion about its patient's, in the same units. Manual labels of the phantom and of real training
patients, aligned, gave 1.2 to 1.7 degrees, 0.04, 0.01 and 1.1 to 2.1 mm."""
OBSERVATIONS = 30.0
"""Independent observations that a slice is worth: a segmentation errs in patches, not in pixels."""
LEAST_PIXELS = 8.0
"""A segmentation of fewer pixels counts as this many, so that a few stray pixels move nothing far."""
DAMPING = 1e-4
ROBUST_ROUNDS = 3
REFINEMENT = 2
"""How many times the steps a refinement by descriptors takes: they see less far than areas do."""
MARGIN_PX = 7
"""Side of the square by which the heart is widened to where descriptors count: 3 pixels, 9 mm, on either side."""


class Evidence(NamedTuple):
    """Maps beside the segmentations.

    Attributes:
        box: rows and columns of the images outside of which nothing counts.
        cine: in the box (B, D, h, w).
        lge: LGE's, and their derivatives along columns and rows behind them, (B, 3 D, H, W).
        counts: how much each pixel of the box counts (B, h, w).
    """

    box: tuple[slice, slice]
    cine: Tensor
    lge: Tensor
    counts: Tensor


class Pair(NamedTuple):
    """The maps of B slices, ready to be fitted.

    Attributes:
        cine: (B, K, H, W), each structure weighed by the agreement of its areas.
        lge: LGE's, and their derivatives along columns and rows behind them, (B, 3 K, H, W).
        centre: the cine heart's centre (B, 2).
        mass: pixels that both show (B,).
        start: translation (B, 2) between the structures' centroids.
    """

    cine: Tensor
    lge: Tensor
    centre: Tensor
    mass: Tensor
    start: Tensor


class Prior(NamedTuple):
    """Normal prior on motions: mean (B, 6) and standard deviations (6,)."""

    mean: Tensor
    sd: Tensor


def align(
    cine: Tensor,
    lge: Tensor,
    limits: Tensor,
    steps: int,
    same_patient: bool = False,
    descriptors: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Give theta (B, 2, 3) that moves `lge` onto `cine`.

    Args:
        cine: probabilities of the structures without background, (B, K, H, W), square.
        lge: the same of LGE.
        limits: the largest absolute value (6,) of each column of the motion.
        steps: Gauss-Newton steps after the start from the structures' centroids.
        same_patient: the slices are those of one patient and are aligned together.
        descriptors: further maps of cine and LGE (B, D, H, W), by which the motion is refined.
    """
    with computing_in(torch.float32, cine.device):
        return _align(cine.float(), lge.float(), limits.to(cine.device), steps, same_patient, descriptors)


def patient_motion(motion: Tensor, precision: Tensor) -> Tensor:
    """Give the motion (6,) that the slices of a patient have in common.

    A weighted mean with a normal prior about the identity; slices far off the others lose weight as under a Cauchy
    error.

    Args:
        motion: of each slice (S, 6).
        precision: inverse variance with which each is known, (S, 6); 0 where a slice shows nothing.
    """
    variance = 1 / precision.clamp(min=1e-6) + torch.tensor(SLICE_SD, device=motion.device) ** 2
    prior = 1 / torch.tensor(PATIENT_SD, device=motion.device) ** 2
    weight = 1 / variance
    mean = (weight * motion).sum(0) / (weight.sum(0) + prior)
    for _ in range(ROBUST_ROUNDS):
        robust = weight / (1 + (motion - mean) ** 2 / variance)
        mean = (robust * motion).sum(0) / (robust.sum(0) + prior)
    return mean


def _align(
    cine: Tensor,
    lge: Tensor,
    limits: Tensor,
    steps: int,
    same_patient: bool,
    descriptors: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Do what `align` says, all in 32 bits: in 16, a grid is off by half a millimetre."""
    pair = _pair(cine, lge)
    start = torch.cat([torch.zeros_like(pair.start).repeat(1, 2), pair.start.clamp(-limits[4:], limits[4:])], 1)
    prior = Prior(torch.zeros_like(start), torch.tensor(PATIENT_SD, device=cine.device))
    motion, precision = _fit(pair, start, prior, limits, steps)
    if same_patient:
        motion = patient_motion(motion, precision).expand_as(motion)
        prior = Prior(motion, torch.tensor(SLICE_SD, device=cine.device))
    if same_patient or descriptors is not None:
        evidence = None if descriptors is None else _evidence(pair, cine, *descriptors)
        times = 1 if descriptors is None else REFINEMENT
        motion, _ = _fit(pair, motion.detach(), prior, limits, times * steps, evidence)
    return about(theta_from_motion(motion), pair.centre)


def _pair(cine: Tensor, lge: Tensor) -> Pair:
    """Weigh the structures by the agreement of their areas, and find the start."""
    cine_mass, cine_centres = _moments(cine)
    lge_mass, lge_centres = _moments(lge)
    seen = torch.minimum(cine_mass, lge_mass)
    agreement = (seen / (torch.maximum(cine_mass, lge_mass) + LEAST_PIXELS)).detach()[:, :, None, None]
    total = seen.sum(1, keepdim=True) + LEAST_PIXELS
    start = ((lge_centres - cine_centres) * seen.unsqueeze(-1)).sum(1) / total
    centre = (cine_centres * seen.unsqueeze(-1)).sum(1) / total
    lge = lge * agreement
    return Pair(cine * agreement, torch.cat([lge, *_gradients(lge)], 1), centre, seen.sum(1), start)


def _evidence(pair: Pair, heart: Tensor, cine: Tensor, lge: Tensor) -> Evidence | None:
    """Let descriptors count around the heart that cine's maps (B, K, H, W) show, and as far as LGE shows it too."""
    heart = heart.detach().sum(1, keepdim=True)
    both = pair.mass / (heart.sum((1, 2, 3)) + LEAST_PIXELS)
    counts = (box_maxima(heart, MARGIN_PX) * both.detach()[:, None, None, None]).squeeze(1)
    box = extent(counts > 0)
    if box is None:
        return None
    rows, columns = box
    return Evidence(box, cine[:, :, rows, columns], torch.cat([lge, *_gradients(lge)], 1), counts[:, rows, columns])


def _fit(
    pair: Pair, motion: Tensor, prior: Prior, limits: Tensor, steps: int, evidence: Evidence | None = None
) -> tuple[Tensor, Tensor]:
    """Give the motion (B, 6) after some steps, and the precision (B, 6) with which the segmentations tell it."""
    precision = torch.zeros_like(motion)
    with torch.no_grad():
        for _ in range(steps - 1):
            motion = _step(pair, motion, prior, evidence)[0].clamp(-limits, limits)
    if steps > 0:
        motion, precision = _step(pair, motion, prior, evidence)
        motion = motion.clamp(-limits, limits)
    return motion, precision.detach()


def _step(pair: Pair, motion: Tensor, prior: Prior, evidence: Evidence | None) -> tuple[Tensor, Tensor]:
    """Give the motion (B, 6) after one Gauss-Newton step, and the precision of the segmentations' part (B, 6)."""
    weight = 1 / (pair.mass + LEAST_PIXELS)
    theta, turned = about(theta_from_motion(motion), pair.centre), directions(motion, pair.centre)
    places = moved_centres(theta, pair.cine.shape[-1])
    powers = monomials(pair.cine.shape[-1], places.device)
    residual, along_columns, along_rows = _compare(pair.cine, pair.lge, places)
    variance = (weight * residual.detach().square().sum((1, 2, 3)) / OBSERVATIONS).unsqueeze(1)
    seen, slope = normal_equations(residual, along_columns, along_rows, powers)
    known = turned @ seen @ turned.mT
    precision = weight[:, None] * known.diagonal(dim1=1, dim2=2).detach() / (variance + DAMPING)
    if evidence is not None:
        rows, columns = evidence.box
        compared = _compare(evidence.cine, evidence.lge, places[:, rows, columns])
        further = normal_equations(*compared, powers[:, rows, columns], evidence.counts.square())
        known, slope = known + turned @ further[0] @ turned.mT, slope + further[1]
    pull = variance / prior.sd**2 + DAMPING
    curvature = weight[:, None, None] * known + torch.diag_embed(pull)
    downhill = weight[:, None] * (turned @ slope.unsqueeze(-1)).squeeze(-1) - pull * (motion - prior.mean)
    return motion + torch.linalg.solve_ex(curvature, downhill)[0], precision


def _compare(cine: Tensor, lge: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give what cine's maps have over LGE's moved ones, and the moved ones' gradient by columns and by rows.

    Args:
        cine: maps (B, K, h, w), as all that is given back.
        lge: LGE's, and their derivatives behind them, (B, 3 K, H, W).
        places: where each pixel of cine's maps moves to (B, h, w, 2).
    """
    moved, along_columns, along_rows = values_at(lge, places).split(cine.shape[1], 1)
    return cine - moved, along_columns, along_rows


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Give mass in pixels (B, K) and centroid (B, K, 2), column then row, of each map; the image's centre if empty."""
    coordinates = pixel_centres(maps.shape[-1], maps.device)
    mass = maps.sum((2, 3))
    column = (maps.sum(2) * coordinates).sum(2)
    row = (maps.sum(3) * coordinates).sum(2)
    return mass, torch.stack([column, row], 2) / (mass + 1e-3).unsqueeze(-1)


def _gradients(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Give the derivatives of maps (B, K, H, W) along columns and rows per unit of normalised coordinates."""
    padded = F.pad(maps, (1, 1, 1, 1)) * (maps.shape[-1] / 4)
    columns = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    rows = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return columns, rows

"""The affine that brings two soft segmentations together: Gauss-Newton on their difference.

For probability maps P (cine) and Q (LGE) of the structures, the motion p minimises

    E(p) = sum_x sum_k (P_k(x) - Q_k(theta_p x))^2 / n  +  r / m  sum_j (p_j / sigma_j)^2,

theta_p acting about the cine heart's centre, n the number of heart pixels. The second term is a normal prior on the
motion. It weighs by r, what remains of the first term (held fixed within a step), over m, how many independent
observations a slice is worth: two clear segmentations that fit each other are followed, two that do not fit are
followed less far, and an empty one gives the identity. Each structure weighs by how well its two areas agree, smaller
over larger, so that one that only one image shows does not pull.

Registration trains the segmentations too, through the last step only: at the minimum the derivative of one Gauss-Newton
step is the implicit derivative of the minimum, so the steps before need none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.geometry import HALF_EXTENT_MM, about, pixel_centres, theta_from_motion, warp

PRIOR_SD = (math.radians(6), 0.08, 0.08, 0.06, 8 / HALF_EXTENT_MM, 8 / HALF_EXTENT_MM)
"""Spread of a plausible motion: rotation (radians), log-scales, shear, translations (normalised)."""
OBSERVATIONS = 10.0
"""Independent observations that a slice is worth: a segmentation errs in patches, not in pixels."""
LEAST_PIXELS = 8.0
"""A segmentation of fewer pixels counts as this many, so that a few stray pixels move nothing far."""
DAMPING = 1e-4


def align(cine: Tensor, lge: Tensor, limits: Tensor, steps: int, correction: Tensor | None = None) -> Tensor:
    """Give theta (B, 2, 3) that moves `lge` onto `cine`.

    Args:
        cine: probabilities of the structures without background, (B, K, H, W), square.
        lge: the same of LGE.
        limits: the largest absolute value (6,) of each column of the motion, corrected or not.
        steps: Gauss-Newton steps after the start from the structures' centroids.
        correction: a motion (B, 6) that is added to the one found.
    """
    cine, lge, limits = cine.float(), lge.float(), limits.to(cine.device)
    cine_mass, cine_centres = _moments(cine)
    lge_mass, lge_centres = _moments(lge)
    seen = torch.minimum(cine_mass, lge_mass)
    agreement = (seen / (torch.maximum(cine_mass, lge_mass) + LEAST_PIXELS)).detach()
    cine, lge = (maps * agreement[:, :, None, None] for maps in (cine, lge))
    total = seen.sum(1, keepdim=True) + LEAST_PIXELS
    start = ((lge_centres - cine_centres) * seen.unsqueeze(-1)).sum(1) / total
    centre = (cine_centres * seen.unsqueeze(-1)).sum(1) / total
    seen = seen.sum(1)
    stack = torch.cat([lge, *_gradients(lge)], 1)
    motion = torch.cat([torch.zeros_like(start).repeat(1, 2), start.clamp(-limits[4:], limits[4:])], 1)
    with torch.no_grad():
        for _ in range(steps - 1):
            motion = _step(motion, cine, stack, centre, seen).clamp(-limits, limits)
    if steps > 0:
        motion = _step(motion, cine, stack, centre, seen).clamp(-limits, limits)
    if correction is not None:
        motion = (motion + correction).clamp(-limits, limits)
    return about(theta_from_motion(motion), centre)


def _step(motion: Tensor, cine: Tensor, lge_and_slopes: Tensor, centre: Tensor, mass: Tensor) -> Tensor:
    """Give the motion (B, 6) after one Gauss-Newton step."""
    coordinates = pixel_centres(cine.shape[-1], cine.device)
    x, y = torch.meshgrid(coordinates, coordinates, indexing="xy")
    weight = 1 / (mass + LEAST_PIXELS)
    moved, slope_x, slope_y = warp(lge_and_slopes, about(theta_from_motion(motion), centre)).split(cine.shape[1], 1)
    jacobian = _jacobian(motion, centre, slope_x, slope_y, x, y).flatten(2)
    residual = (cine - moved).flatten(1)
    remaining = weight * residual.detach().square().sum(1)
    prior = remaining[:, None] / OBSERVATIONS / torch.tensor(PRIOR_SD, device=cine.device) ** 2 + DAMPING
    hessian = weight[:, None, None] * (jacobian @ jacobian.transpose(1, 2)) + torch.diag_embed(prior)
    slope = weight[:, None] * (jacobian @ residual.unsqueeze(-1)).squeeze(-1) - prior * motion
    return motion + torch.linalg.solve(hessian, slope)


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


def _jacobian(motion: Tensor, centre: Tensor, slope_x: Tensor, slope_y: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Give the derivative (B, 6, K, H, W) of the moved maps by each column of the motion."""
    angle, log_x, log_y, shear, _, _ = (column.reshape(-1, 1, 1) for column in motion.unbind(1))
    cosine, sine, scale_x, scale_y = angle.cos(), angle.sin(), log_x.exp(), log_y.exp()
    u = x - centre[:, 0, None, None]
    v = y - centre[:, 1, None, None]
    moved_x = cosine * scale_x * u + (cosine * shear - sine) * scale_y * v
    moved_y = sine * scale_x * u + (sine * shear + cosine) * scale_y * v
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    along_x = (-moved_y, cosine * scale_x * u, (cosine * shear - sine) * scale_y * v, cosine * scale_y * v, one, zero)
    along_y = (moved_x, sine * scale_x * u, (sine * shear + cosine) * scale_y * v, sine * scale_y * v, zero, one)
    pairs = zip(along_x, along_y, strict=True)
    return torch.stack([slope_x * by_x.unsqueeze(1) + slope_y * by_y.unsqueeze(1) for by_x, by_y in pairs], 1)

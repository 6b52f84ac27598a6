"""Random motion and intensities of a batch, on the device that trains: parameters are drawn first, then applied.

A slice pair moves as one (`common`), so that anatomy is seen in other poses, and LGE moves against cine as well
(`relative`), so that other misalignments are seen. Labels move with their images, so the truth stays the truth.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from jointnet.geometry import HALF_EXTENT_MM, compose, theta_from_motion, warp
from jointnet.settings import AugmentationSettings


class Augmentation(NamedTuple):
    """Drawn parameters of B slice pairs: an affine (B, 2, 3) and a gamma (B,) for either image."""

    cine_theta: Tensor
    lge_theta: Tensor
    cine_gamma: Tensor
    lge_gamma: Tensor


class Batch(NamedTuple):
    """Images (B, 1, H, W) and class probabilities (B, C, H, W) of B slice pairs."""

    cine: Tensor
    lge: Tensor
    cine_labels: Tensor
    lge_labels: Tensor


def draw(settings: AugmentationSettings, batch: int, generator: torch.Generator) -> Augmentation:
    """Draw the parameters of one batch on the generator's device."""
    deviations = (
        (settings.common_rotation_deg, settings.common_log_scale, settings.common_translation_mm),
        (settings.relative_rotation_deg, settings.relative_log_scale, settings.relative_translation_mm),
    )
    thetas = []
    for rotation_deg, log_scale, translation_mm in deviations:
        shift = translation_mm / HALF_EXTENT_MM
        spread = [math.radians(rotation_deg), log_scale, log_scale, log_scale, shift, shift]
        normal = torch.randn(batch, len(spread), generator=generator, device=generator.device)
        thetas.append(theta_from_motion(normal * torch.tensor(spread, device=generator.device)))
    gammas = (torch.randn(2, batch, generator=generator, device=generator.device) * settings.log_gamma).exp()
    return Augmentation(thetas[0], compose(thetas[0], thetas[1]), gammas[0], gammas[1])


def apply(augmentation: Augmentation, batch: Batch) -> Batch:
    """Move and recolour a batch; what comes in from outside is 0 in images and background in labels."""
    moved = []
    for theta, gamma, image, labels in (
        (augmentation.cine_theta, augmentation.cine_gamma, batch.cine, batch.cine_labels),
        (augmentation.lge_theta, augmentation.lge_gamma, batch.lge, batch.lge_labels),
    ):
        stack = warp(torch.cat([image, labels[:, 1:]], 1), theta)
        structures = stack[:, 1:]
        background = 1 - structures.sum(1, keepdim=True)
        moved.append((stack[:, :1].clamp(min=0) ** gamma[:, None, None, None], torch.cat([background, structures], 1)))
    (cine, cine_labels), (lge, lge_labels) = moved
    return Batch(cine, lge, cine_labels, lge_labels)

"""Random motion and intensities of a batch, on the device that trains: parameters are drawn first, then applied.

A slice pair moves as one (`common`), so that anatomy is seen in other poses, and LGE moves against cine as well
(`relative`), so that other misalignments are seen. Labels move with their images, so the truth stays the truth.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.geometry import HALF_EXTENT_MM, compose, theta_from_motion, warp
from jointnet.preparation import CEILING
from jointnet.settings import AugmentationSettings

KNOTS = 6
"""Knots of the intensity curve, evenly from 0 to the ceiling of prepared intensities."""
FIELD_PX = 4
"""Side of the coarse map that a bias field is interpolated from."""


class ImageAugmentation(NamedTuple):
    """Drawn parameters of one image of B slice pairs.

    Attributes:
        theta: affine (B, 2, 3).
        gamma: exponent (B,).
        curve: displacement (B, KNOTS) of the knots of the intensity curve.
        log_bias: logarithm (B, 1, FIELD_PX, FIELD_PX) of the coarse bias field.
    """

    theta: Tensor
    gamma: Tensor
    curve: Tensor
    log_bias: Tensor


class Augmentation(NamedTuple):
    """Drawn parameters of both images."""

    cine: ImageAugmentation
    lge: ImageAugmentation


class Batch(NamedTuple):
    """Images (B, N, H, W), N neighbouring slices, and class probabilities (B, C, H, W) of B slice pairs."""

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

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device)

    thetas = []
    for rotation_deg, log_scale, translation_mm in deviations:
        shift = translation_mm / HALF_EXTENT_MM
        spread = [math.radians(rotation_deg), log_scale, log_scale, log_scale, shift, shift]
        thetas.append(theta_from_motion(normal(batch, len(spread)) * torch.tensor(spread, device=generator.device)))
    first, second = (
        ImageAugmentation(
            theta,
            (settings.log_gamma * normal(batch)).exp(),
            settings.curve * normal(batch, KNOTS),
            settings.log_bias * normal(batch, 1, FIELD_PX, FIELD_PX),
        )
        for theta in (thetas[0], compose(thetas[0], thetas[1]))
    )
    return Augmentation(first, second)


def apply(augmentation: Augmentation, batch: Batch) -> Batch:
    """Move and recolour a batch; what comes in from outside is 0 in images and background in labels."""
    cine, cine_labels = _apply(augmentation.cine, batch.cine, batch.cine_labels)
    lge, lge_labels = _apply(augmentation.lge, batch.lge, batch.lge_labels)
    return Batch(cine, lge, cine_labels, lge_labels)


def recolour(images: Tensor, drawn: ImageAugmentation) -> Tensor:
    """Give images (B, N, H, W) through gamma, intensity curve and bias field; 0 stays 0."""
    shown = images > 0
    recoloured = images.clamp(0, CEILING) ** drawn.gamma[:, None, None, None]
    position = recoloured.clamp(max=CEILING) * ((KNOTS - 1) / CEILING)
    below = position.long().clamp(0, KNOTS - 2)
    flat = below.flatten(1)
    low, high = (drawn.curve.gather(1, flat + step).view_as(position) for step in (0, 1))
    displaced = recoloured + torch.lerp(low, high, position - below)
    field = F.interpolate(drawn.log_bias, size=images.shape[-2:], mode="bilinear", align_corners=False).exp()
    return (displaced * field).clamp(min=0) * shown


def _apply(drawn: ImageAugmentation, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Move images (B, N, H, W) and class probabilities (B, C, H, W) together, and recolour the images."""
    stack = warp(torch.cat([images, labels[:, 1:]], 1), drawn.theta)
    moved, structures = stack.split([images.shape[1], labels.shape[1] - 1], 1)
    return recolour(moved, drawn), torch.cat([1 - structures.sum(1, keepdim=True), structures], 1)

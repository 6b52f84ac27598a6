"""Random motion and intensities of a batch, on the device that trains: parameters are drawn first, then applied.

A slice pair moves and bends as one (`common`, `elastic`), so that anatomy is seen in other poses and shapes, and LGE
moves against cine as well (`relative`), so that other misalignments are seen. Labels move with their images, so the
truth stays the truth. With E the elastic displacement and theta the affine of an image,
moved(x) = image(theta x + E(theta x)).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.enhancement import Enhancement, draw_enhancement, enhance
from jointnet.geometry import HALF_EXTENT_MM, centres, compose, moved_centres, theta_from_motion, values_at
from jointnet.scans.preparation import CEILING
from jointnet.settings import AugmentationSettings
from jointnet.smooth_maps import smooth_map

KNOTS = 6
"""Knots of the intensity curve, evenly from 0 to the ceiling of prepared intensities."""
DARKEST = 1e-30
"""Stands for 0 in logarithms, which take four times as long where they are infinite."""
FIELD_PX = 4
"""Side of the coarse map that a bias field is interpolated from."""
ELASTIC_PX = 6
"""Side of the coarse map that a displacement is interpolated from: a value every 28 mm."""
ELASTIC_SAMPLES_PX = 28
"""Side of the map of displacements at moved places: one every 6 mm."""


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
    """Drawn parameters of both images.

    Attributes:
        cine, lge: of either image alone.
        elastic: coarse displacement of both (B, 2, ELASTIC_PX, ELASTIC_PX), column then row, normalised.
        enhancement: of LGE's structures.
    """

    cine: ImageAugmentation
    lge: ImageAugmentation
    elastic: Tensor
    enhancement: Enhancement


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
    elastic = settings.elastic_mm / HALF_EXTENT_MM * normal(batch, 2, ELASTIC_PX, ELASTIC_PX)
    return Augmentation(first, second, elastic, draw_enhancement(settings, batch, generator))


def apply(augmentation: Augmentation, batch: Batch) -> Batch:
    """Move and recolour a batch; what comes in from outside is 0 in images and background in labels.

    Both images go through every step together: fewer and larger operations.
    """
    count, channels = len(batch.cine), batch.cine.shape[1]
    pairs = ((batch.cine, batch.cine_labels), (batch.lge, batch.lge_labels))
    stack = torch.cat([torch.cat([images, labels[:, 1:]], 1) for images, labels in pairs])
    drawn = ImageAugmentation(*(torch.cat(both) for both in zip(augmentation.cine, augmentation.lge, strict=True)))
    grid = _bent_grid(drawn.theta, augmentation.elastic.repeat(2, 1, 1, 1), stack.shape[-1])
    moved = values_at(stack, grid)
    images, structures = moved[:, :channels], moved[:, channels:]
    labels = torch.cat([1 - structures.sum(1, keepdim=True), structures], 1)
    images = recolour(images, drawn)
    lge = enhance(images[count:], labels[count:], augmentation.enhancement)
    return Batch(images[:count], lge, labels[:count], labels[count:])


def recolour(images: Tensor, drawn: ImageAugmentation) -> Tensor:
    """Give images (B, N, H, H) through gamma, intensity curve and bias field; 0 stays 0.

    A curve that falls below 0 is lifted, so that nothing which differed is cut to black.
    """
    shown = images > 0
    powers = images.clamp(DARKEST, CEILING).log2_().mul_(drawn.gamma[:, None, None, None])
    recoloured = powers.exp2_()  # x^gamma, faster
    position = recoloured.clamp(max=CEILING) * ((KNOTS - 1) / CEILING)
    below = position.long().clamp_(max=KNOTS - 2)
    knots = torch.linspace(0, CEILING, KNOTS, device=images.device) + drawn.curve
    lifted = drawn.curve - knots.amin(1, keepdim=True).clamp(max=0)
    flat = below.flatten(1)
    low, step = (values.gather(1, flat).view_as(position) for values in (lifted[:, :-1], lifted.diff()))
    displaced = torch.addcmul(low, step, position.sub_(below)).add_(recoloured)
    field = smooth_map(drawn.log_bias, images.shape[-1]).exp_()
    return displaced.mul_(field).clamp_(min=0).mul_(shown)


def _bent_grid(theta: Tensor, elastic: Tensor, size_px: int) -> Tensor:
    """Give theta x + E(theta x) of all pixels' centres x, (B, size_px, size_px, 2).

    How far a pixel moves is found every 6 mm and interpolated linearly in between: exactly for theta x - x, and for E,
    which is smooth, to less than 0.1 mm.
    """
    places = moved_centres(theta, ELASTIC_SAMPLES_PX)
    bent = F.grid_sample(elastic, places, mode="bicubic", padding_mode="border", align_corners=False)
    moved = (places - centres(ELASTIC_SAMPLES_PX, theta.device)).permute(0, 3, 1, 2) + bent
    return smooth_map(moved, size_px, "extended").permute(0, 2, 3, 1) + centres(size_px, theta.device)

"""Random spatial and intensity augmentation of a batch on the training device.

The parameters are drawn first and then applied. Both images of a slice pair share one affine transform and one elastic
deformation (`common`, `elastic`), which vary pose and shape. LGE gets a further affine transform relative to cine
(`relative`), which varies the misalignment. Labels are transformed with their images. With E the elastic displacement
and theta the affine of an image, moved(x) = image(theta x + E(theta x)).

The brightness of blood, muscle and scar in LGE depends on the inversion time and on the infarct. A small data set shows
only a few of the combinations, and a network trained on them mistakes a bright infarct for blood. So LGE also gets
random offsets of the structures' intensities and synthetic scars in the myocardium.

Fields of view are cut at random, each side of each image by itself, and move with their image. Both images are then set
to 0 outside the field that they have in common, as in prepared scans. Edges of two different fields would reveal the
transform that is to be learned.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.compute.device import constant
from jointnet.compute.maps import box_means, smooth_map
from jointnet.geometry import centres, compose, moved_centres, theta_from_parameters, values_at
from jointnet.preparation.prepared_patient import CEILING
from jointnet.settings import AugmentationSettings
from jointnet.structures import CLASS_INDEX, STRUCTURES

KNOTS = 6
"""Number of knots of the intensity curve, evenly spaced from 0 to `CEILING`, the largest prepared intensity."""
DARKEST = 1e-30
"""Lower bound of intensities before a logarithm. The logarithm of 0 is infinite, which takes four times as long."""
FIELD_PX = 4
"""Side of the coarse map from which the bias field is interpolated."""
ELASTIC_PX = 6
"""Side of the coarse map from which the elastic displacement is interpolated: one value every 28 mm."""
ELASTIC_SAMPLES_PX = 28
"""Side of the map on which the total displacement is sampled before interpolation: one value every 6 mm."""
OFFSET_EDGE_PX = 3
"""Side of the box filter that smooths the edges of a structure's offset."""
SCAR_PX = 9
"""Side of the coarse map from which a scar's shape is interpolated: patches of about 20 mm."""
SCAR_EDGE = 6.0
"""Steepness of a scar's edge: the slope of the logistic function per standard deviation of the map."""
SCAR_EXTENT = (-0.4, 0.5)
"""Mean and SD of the offset added to the map. With an offset of -0.4, a third of the myocardium is scar."""
SCAR_BRIGHTNESS = (1.3, 0.35)
"""Mean and SD of the ratio of the scar's brightness to the LV pool's."""
BRIGHTNESS_LIMITS = (0.6, 2.2)
TEXTURE = 0.15
"""Share of the original intensity in a scar's pixel."""
CUT_MARGIN_MM = 4.5
"""Smallest distance from a cut to the labelled pixels of the image that is cut, or of the other image if this one has
no labels. A scan shows the whole heart."""
WHOLLY_INSIDE = 0.999
"""Value of the interpolated field from which a pixel counts as inside: all pixels that it comes from are inside."""


class ImageAugmentation(NamedTuple):
    """Augmentation parameters of one image (cine or LGE) of B slice pairs.

    Attributes:
        theta: affine (B, 2, 3).
        gamma: exponent (B,).
        curve: displacement (B, KNOTS) of the knots of the intensity curve.
        log_bias: logarithm of the coarse bias field (B, 1, FIELD_PX, FIELD_PX).
    """

    theta: Tensor
    gamma: Tensor
    curve: Tensor
    log_bias: Tensor


class LgeIntensityAugmentation(NamedTuple):
    """Parameters of the intensity augmentation of B LGE slices.

    Attributes:
        offset: offset of the intensities of each structure (B, structures).
        scar: coarse map (B, 1, SCAR_PX, SCAR_PX), positive in scar.
        brightness: ratio of the scar's brightness to the LV pool's (B,).
        scarred: 1 if the slice gets a scar, else 0 (B,).
    """

    offset: Tensor
    scar: Tensor
    brightness: Tensor
    scarred: Tensor


class Augmentation(NamedTuple):
    """Augmentation parameters of both images.

    Attributes:
        cine, lge: parameters of each image.
        elastic: coarse displacement of both images (B, 2, ELASTIC_PX, ELASTIC_PX), column then row, normalised.
        field_cut: widths in mm cut from the fields of all cine, then all LGE slices (2 B, 4): from the left, top, right
            and bottom; None if fields are not cut.
        lge_intensity: parameters of the intensity augmentation of LGE's structures.
    """

    cine: ImageAugmentation
    lge: ImageAugmentation
    elastic: Tensor
    field_cut: Tensor | None
    lge_intensity: LgeIntensityAugmentation


class Batch(NamedTuple):
    """B slice pairs.

    Attributes:
        cine, lge: images (B, N, H, W) with N neighbouring slices as channels.
        cine_labels, lge_labels: class probabilities (B, C, H, W), also outside the common field.
        field: the common field (B, 1, H, W), 1 inside and 0 outside.
        labelled: 1 for the structures that are labelled in each image, else 0, (B, 2, structures) by class, cine first.
    """

    cine: Tensor
    lge: Tensor
    cine_labels: Tensor
    lge_labels: Tensor
    field: Tensor
    labelled: Tensor


def draw_augmentation(settings: AugmentationSettings, batch: int, generator: torch.Generator) -> Augmentation:
    """Draw the augmentation parameters of one batch on the generator's device."""
    deviations = (
        (settings.common_rotation_deg, settings.common_log_scale, settings.common_translation_mm),
        (settings.relative_rotation_deg, settings.relative_log_scale, settings.relative_translation_mm),
    )

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device)

    thetas = []
    for rotation_deg, log_scale, translation_mm in deviations:
        shift = translation_mm / HALF_EXTENT_MM
        spread = (math.radians(rotation_deg), log_scale, log_scale, log_scale, shift, shift)
        thetas.append(theta_from_parameters(normal(batch, len(spread)) * constant(spread, generator.device)))
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
    cut = draw_field_cut(settings, 2 * batch, generator)
    return Augmentation(first, second, elastic, cut, draw_lge_intensity(settings, batch, generator))


def draw_field_cut(settings: AugmentationSettings, images: int, generator: torch.Generator) -> Tensor | None:
    """Draw the widths in mm (images, 4) that are cut from each side of each field; None if fields are not cut."""
    if settings.field_cut_mm == 0 or settings.field_cut_probability == 0:
        return None
    widths_mm, chosen = torch.rand(images, 5, generator=generator, device=generator.device).split([4, 1], 1)
    return settings.field_cut_mm * widths_mm * (chosen < settings.field_cut_probability)


def apply_augmentation(augmentation: Augmentation, batch: Batch) -> Batch:
    """Apply spatial and intensity augmentation to a batch.

    Outside the field of view labels are background. Outside the common field both images are 0. Cine and LGE are
    processed as one stack, which takes fewer and larger operations.
    """
    count, channels = len(batch.cine), batch.cine.shape[1]
    pairs = ((batch.cine, batch.cine_labels), (batch.lge, batch.lge_labels))
    stack = torch.cat([torch.cat([images, labels[:, 1:], batch.field], 1) for images, labels in pairs])
    if augmentation.field_cut is not None:
        has_labels = batch.labelled.transpose(0, 1).flatten(0, 1).amax(1)[:, None, None, None] > 0
        structures = stack[:, channels:-1]
        hearts = torch.where(has_labels, structures, structures.roll(count, 0))
        stack[:, -1:] *= kept_field(stack[:, -1:], hearts, augmentation.field_cut)
    drawn = ImageAugmentation(*(torch.cat(both) for both in zip(augmentation.cine, augmentation.lge, strict=True)))
    grid = _bent_grid(drawn.theta, augmentation.elastic.repeat(2, 1, 1, 1), stack.shape[-1])
    moved = values_at(stack, grid)
    images, structures, inside = moved[:, :channels], moved[:, channels:-1], moved[:, -1:] > WHOLLY_INSIDE
    field = (inside[:count] & inside[count:]).float()
    labels = torch.cat([1 - structures.sum(1, keepdim=True), structures], 1)
    images = augment_intensity(images, drawn)
    with_pool = batch.labelled[:, 1, CLASS_INDEX["lv"] - 1]  # a scar's brightness is relative to the pool's
    drawn_lge = augmentation.lge_intensity._replace(scarred=augmentation.lge_intensity.scarred * with_pool)
    lge = augment_lge_intensity(images[count:], labels[count:], drawn_lge)
    return Batch(images[:count] * field, lge * field, labels[:count], labels[count:], field, batch.labelled)


def kept_field(field: Tensor, structures: Tensor, cut_mm: Tensor) -> Tensor:
    """Return 1 where a field is kept and 0 where it is cut, (B, 1, H, W).

    A cut ends at least CUT_MARGIN_MM from the labelled pixels.

    Args:
        field: the fields (B, 1, H, W), 1 inside and 0 outside.
        structures: probabilities of the structures (B, structures, H, W).
        cut_mm: widths to cut from the left, top, right and bottom of the field (B, 4).
    """
    size_px = field.shape[-1]
    pixel_mm = 2 * HALF_EXTENT_MM / size_px
    margin_px, cut_px = CUT_MARGIN_MM / pixel_mm, cut_mm / pixel_mm
    labelled = structures.sum(1, keepdim=True)
    place = torch.arange(size_px, device=field.device, dtype=field.dtype)
    kept = []
    for axis, other in ((0, 2), (1, 3)):  # columns, from the left; rows, from the top
        ends = []
        for maps in (field, labelled):
            shown = maps.amax((1, other)) > 0
            ends += [torch.where(shown, place, size_px).amin(1), torch.where(shown, place, -1).amax(1)]
        first, last, first_labelled, last_labelled = ends
        low = torch.minimum(first + cut_px[:, axis], first_labelled - margin_px)
        high = torch.maximum(last - cut_px[:, axis + 2], last_labelled + margin_px)
        kept.append(((place >= low[:, None]) & (place <= high[:, None])).to(field.dtype))
    columns, rows = kept
    return (rows[:, :, None] * columns[:, None, :])[:, None]


def augment_intensity(images: Tensor, drawn: ImageAugmentation) -> Tensor:
    """Apply intensity augmentation (gamma, intensity curve, bias field) to images (B, N, H, H); 0 stays 0.

    A curve with negative values is raised to a minimum of 0, so that different intensities are not all clipped to 0.
    """
    inside = images > 0
    powers = images.clamp(DARKEST, CEILING).log2_().mul_(drawn.gamma[:, None, None, None])
    augmented = powers.exp2_()  # x^gamma, faster than torch.pow
    position = augmented.clamp(max=CEILING) * ((KNOTS - 1) / CEILING)
    below = position.long().clamp_(max=KNOTS - 2)
    knots = torch.linspace(0, CEILING, KNOTS, device=images.device) + drawn.curve
    lifted = drawn.curve - knots.amin(1, keepdim=True).clamp(max=0)
    flat = below.flatten(1)
    low, step = (values.gather(1, flat).view_as(position) for values in (lifted[:, :-1], lifted.diff()))
    displaced = torch.addcmul(low, step, position.sub_(below)).add_(augmented)
    field = smooth_map(drawn.log_bias, images.shape[-1]).exp_()
    return displaced.mul_(field).clamp_(min=0).mul_(inside)


def draw_lge_intensity(
    settings: AugmentationSettings, batch: int, generator: torch.Generator
) -> LgeIntensityAugmentation:
    """Draw the parameters of one batch on the generator's device."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device)

    mean, sd = SCAR_EXTENT
    scar = normal(batch, 1, SCAR_PX, SCAR_PX) + mean + sd * normal(batch, 1, 1, 1)
    mean, sd = SCAR_BRIGHTNESS
    scarred = torch.rand(batch, generator=generator, device=generator.device) < settings.scar_probability
    return LgeIntensityAugmentation(
        settings.structure_offset * normal(batch, len(STRUCTURES)),
        scar,
        (mean + sd * normal(batch)).clamp(*BRIGHTNESS_LIMITS),
        scarred.float(),
    )


def augment_lge_intensity(images: Tensor, labels: Tensor, drawn: LgeIntensityAugmentation) -> Tensor:
    """Apply the intensity offsets and synthetic scars to LGE images (B, N, H, W); 0 stays 0.

    Args:
        images: N neighbouring slices as channels. Only the middle slice is changed.
        labels: class probabilities (B, C, H, W) of the middle slice.
        drawn: the augmentation parameters.
    """
    middle = images.shape[1] // 2
    image = images[:, middle : middle + 1]
    inside = image > 0
    offset = (labels[:, 1:] * drawn.offset[:, :, None, None]).sum(1, keepdim=True)
    image = image + box_means(offset, OFFSET_EDGE_PX)
    pool = labels[:, CLASS_INDEX["lv"]].unsqueeze(1)
    blood = (image * pool).sum((2, 3), keepdim=True) / (pool.sum((2, 3), keepdim=True) + 1)
    shape = smooth_map(drawn.scar, images.shape[-1], "bicubic")
    scar = (
        torch.sigmoid(SCAR_EDGE * shape)
        * labels[:, CLASS_INDEX["myo"]].unsqueeze(1)
        * drawn.scarred[:, None, None, None]
    )
    image = torch.lerp(image, blood * drawn.brightness[:, None, None, None], (1 - TEXTURE) * scar)
    augmented = image.clamp(min=0) * inside
    return torch.cat([images[:, :middle], augmented, images[:, middle + 1 :]], 1)


def _bent_grid(theta: Tensor, elastic: Tensor, size_px: int) -> Tensor:
    """Return theta x + E(theta x) at all pixel centres x, shape (B, size_px, size_px, 2).

    The displacement is computed every 6 mm and interpolated linearly in between. This is exact for theta x - x. For E,
    which is smooth, the error is less than 0.1 mm.
    """
    places = moved_centres(theta, ELASTIC_SAMPLES_PX)
    bent = F.grid_sample(elastic, places, mode="bicubic", padding_mode="border", align_corners=False)
    moved = (places - centres(ELASTIC_SAMPLES_PX, theta.device)).permute(0, 3, 1, 2) + bent
    return smooth_map(moved, size_px, "extended").permute(0, 2, 3, 1) + centres(size_px, theta.device)

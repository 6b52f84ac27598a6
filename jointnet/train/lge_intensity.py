"""Intensity augmentation of LGE: random offsets of the structures and synthetic scars in the myocardium.

The brightness of blood, muscle and scar in LGE depends on the inversion time and on the infarct. A small data set shows
only few of the combinations, and a network trained on them mistakes a bright infarct for blood. The parameters are
drawn first and then applied, as in `jointnet.train.augmentation`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from jointnet.cpu_kernels.pooling import box_means
from jointnet.cpu_kernels.smooth_maps import smooth_map
from jointnet.settings import AugmentationSettings
from jointnet.structures import CLASS_INDEX, STRUCTURES

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
    shown = image > 0
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
    augmented = image.clamp(min=0) * shown
    return torch.cat([images[:, :middle], augmented, images[:, middle + 1 :]], 1)

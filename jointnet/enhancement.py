"""Random late enhancement of a batch of LGE: structures brighter or darker than they were, scars in the myocardium.

How bright blood, muscle and scar are in LGE depends on the inversion time and on the infarct, and a few patients show
few of the combinations. A network that has seen too few takes a bright infarct for blood. Parameters are drawn first,
then applied, as in `jointnet.augmentation`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from jointnet.pooling import box_means
from jointnet.settings import AugmentationSettings
from jointnet.smooth_maps import smooth_map
from jointnet.structures import CODE, STRUCTURES

OFFSET_EDGE_PX = 3
"""Side of the box that a structure's offset is smoothed over, so that it has no hard edge."""
SCAR_PX = 9
"""Side of the coarse map that a scar's shape is interpolated from: patches of about 20 mm."""
SCAR_EDGE = 6.0
"""Steepness of a scar's edge: the logistic slope over the map's standard deviation."""
SCAR_EXTENT = (-0.4, 0.5)
"""Mean and SD of what is added to the map: with -0.4 a third of the myocardium is scar."""
SCAR_BRIGHTNESS = (1.3, 0.35)
"""Mean and SD of a scar's brightness over that of the LV pool."""
BRIGHTNESS_LIMITS = (0.6, 2.2)
TEXTURE = 0.15
"""Share of a scar's pixel that stays what it was."""


class Enhancement(NamedTuple):
    """Drawn parameters of B LGE slices.

    Attributes:
        offset: what is added to the intensities of each structure (B, structures).
        scar: coarse map (B, 1, SCAR_PX, SCAR_PX); positive where there is scar.
        brightness: the scar's over the LV pool's (B,).
        scarred: 1 where the slice gets a scar, else 0 (B,).
    """

    offset: Tensor
    scar: Tensor
    brightness: Tensor
    scarred: Tensor


def draw_enhancement(settings: AugmentationSettings, batch: int, generator: torch.Generator) -> Enhancement:
    """Draw the parameters of one batch on the generator's device."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=generator.device)

    mean, sd = SCAR_EXTENT
    scar = normal(batch, 1, SCAR_PX, SCAR_PX) + mean + sd * normal(batch, 1, 1, 1)
    mean, sd = SCAR_BRIGHTNESS
    scarred = torch.rand(batch, generator=generator, device=generator.device) < settings.scar_probability
    return Enhancement(
        settings.structure_offset * normal(batch, len(STRUCTURES)),
        scar,
        (mean + sd * normal(batch)).clamp(*BRIGHTNESS_LIMITS),
        scarred.float(),
    )


def enhance(images: Tensor, labels: Tensor, drawn: Enhancement) -> Tensor:
    """Give LGE images (B, N, H, W) with other brightness of the structures and with scars; 0 stays 0.

    Args:
        images: a slice in the middle of its neighbours, which stay as they are.
        labels: class probabilities (B, C, H, W) of the slice.
        drawn: the parameters.
    """
    middle = images.shape[1] // 2
    image = images[:, middle : middle + 1]
    shown = image > 0
    offset = (labels[:, 1:] * drawn.offset[:, :, None, None]).sum(1, keepdim=True)
    image = image + box_means(offset, OFFSET_EDGE_PX)
    pool = labels[:, CODE["lv"]].unsqueeze(1)
    blood = (image * pool).sum((2, 3), keepdim=True) / (pool.sum((2, 3), keepdim=True) + 1)
    shape = smooth_map(drawn.scar, images.shape[-1], "bicubic")
    scar = torch.sigmoid(SCAR_EDGE * shape) * labels[:, CODE["myo"]].unsqueeze(1) * drawn.scarred[:, None, None, None]
    image = torch.lerp(image, blood * drawn.brightness[:, None, None, None], (1 - TEXTURE) * scar)
    enhanced = image.clamp(min=0) * shown
    return torch.cat([images[:, :middle], enhanced, images[:, middle + 1 :]], 1)

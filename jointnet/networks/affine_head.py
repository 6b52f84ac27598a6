"""From feature maps to a bounded affine: the localisation network's last layers (Jaderberg et al. 2015)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointnet.geometry import HALF_EXTENT_MM, MOTION_PARAMETERS
from jointnet.networks.instance_norm import InstanceNorm
from jointnet.settings import ModelSettings


def motion_limits(settings: ModelSettings) -> Tensor:
    """Give the largest absolute value (6,) of each column of a motion, in the units of `theta_from_motion`."""
    shift = settings.max_translation_mm / HALF_EXTENT_MM
    scale = math.log(settings.max_scale)
    return torch.tensor([math.radians(settings.max_rotation_deg), scale, scale, settings.max_shear, shift, shift])


def coarsest_px(settings: ModelSettings, image_px: int) -> int:
    """Give the side of an encoder's coarsest map for square images of `image_px` a side."""
    return int(image_px) // (settings.stem * 2 ** (len(settings.widths) - 1))


class AffineHead(nn.Module):
    """Fuses features of several scales and predicts a motion within limits; the identity before training.

    Every map is narrowed by a 1 x 1 convolution and averaged down to the coarsest map's size; a fully connected layer
    reads all positions of all maps, since where a feature lies is what registration needs to know.

    Args:
        channels: channels of each feature map, the coarsest last.
        size_px: side of the coarsest map.
        settings: the limits and the number of hidden units.
    """

    limits: Tensor

    def __init__(self, channels: Sequence[int], size_px: int, settings: ModelSettings) -> None:
        super().__init__()
        narrowed = 16
        self.size_px = size_px
        self.narrow = nn.ModuleList(nn.Conv2d(count, narrowed, 1) for count in channels)
        self.fuse = nn.Conv2d(narrowed * len(channels), 2 * narrowed, 3, padding=1, bias=False)
        self.norm = InstanceNorm(2 * narrowed)
        self.hidden = nn.Linear(2 * narrowed * size_px**2, settings.hidden)
        self.motion = nn.Linear(settings.hidden, MOTION_PARAMETERS)
        nn.init.zeros_(self.motion.weight)
        nn.init.zeros_(self.motion.bias)
        self.register_buffer("limits", motion_limits(settings), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Give motions (B, 6) from feature maps (B, channels, H, W)."""
        maps = [
            F.adaptive_avg_pool2d(narrow(feature), self.size_px)
            for feature, narrow in zip(features, self.narrow, strict=True)
        ]
        fused = F.relu(self.norm(self.fuse(torch.cat(maps, 1))))
        raw = self.motion(F.relu(self.hidden(fused.flatten(1)))).float()
        return self.limits * torch.tanh(raw)

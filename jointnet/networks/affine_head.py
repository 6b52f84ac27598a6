"""The last layers of the localisation network (Jaderberg et al. 2015): from feature maps to a bounded affine."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.compute.instance_norm import InstanceNorm
from jointnet.geometry import TRANSFORM_PARAMETERS
from jointnet.settings import ModelSettings


def transform_limits(settings: ModelSettings) -> Tensor:
    """Return the largest absolute value (6,) of each transform parameter, in the units of `theta_from_parameters`."""
    shift = settings.max_translation_mm / HALF_EXTENT_MM
    scale = math.log(settings.max_scale)
    return torch.tensor([math.radians(settings.max_rotation_deg), scale, scale, settings.max_shear, shift, shift])


def coarsest_px(settings: ModelSettings, image_px: int) -> int:
    """Return the side of an encoder's coarsest map for square images of side `image_px`."""
    return int(image_px) // (settings.stem * 2 ** (len(settings.widths) - 1))


class AffineHead(nn.Module):
    """Regression of bounded transform parameters from features of several scales.

    Each map is reduced to fewer channels by a 1 x 1 convolution and averaged to the coarsest map's size. A fully
    connected layer reads all positions, because registration depends on the position of features. Before training the
    prediction is the identity.

    Args:
        channels: channels of each feature map, the coarsest last.
        size_px: side of the coarsest map.
        settings: the limits, the number of hidden units and the slope of their leaky ReLU.
    """

    limits: Tensor

    def __init__(self, channels: Sequence[int], size_px: int, settings: ModelSettings) -> None:
        super().__init__()
        narrowed = 16
        self.size_px = size_px
        self.narrow = nn.ModuleList(nn.Conv2d(count, narrowed, 1) for count in channels)
        self.fuse = nn.Conv2d(narrowed * len(channels), 2 * narrowed, 3, padding=1, bias=False)
        self.norm = InstanceNorm(2 * narrowed)
        self.negative_slope = settings.negative_slope
        self.hidden = nn.Linear(2 * narrowed * size_px**2, settings.hidden)
        # "motion" is a key of existing model files
        self.motion = nn.Linear(settings.hidden, TRANSFORM_PARAMETERS)
        nn.init.zeros_(self.motion.weight)
        nn.init.zeros_(self.motion.bias)
        self.register_buffer("limits", transform_limits(settings), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return transform parameters (B, 6) from feature maps (B, channels, H, W)."""
        maps = [
            F.adaptive_avg_pool2d(narrow(feature), self.size_px)
            for feature, narrow in zip(features, self.narrow, strict=True)
        ]
        fused = F.relu(self.norm(self.fuse(torch.cat(maps, 1))))
        hidden = F.leaky_relu(self.hidden(fused.flatten(1)), self.negative_slope)
        raw = self.motion(hidden).float()
        return self.limits * torch.tanh(raw)

"""What a place looks like, whatever the contrast: the modality-independent neighbourhood descriptor (MIND).

After Heinrich et al. (Medical Image Analysis 16, 2012): for each of four neighbours at a distance r, how well the patch
around it agrees with the patch around the pixel,

    m_r(x) = exp(-D_r(x) / V(x)),    D_r(x) = mean over the patch of (I(x) - I(x + r))^2,    V = mean over r of D_r.

Edges look alike in cine and LGE, bright blood or dark, and need no label: descriptors tell what a segmentation cannot,
where both are nearly aligned already.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.geometry import HALF_EXTENT_MM
from jointnet.pooling import block_means, box_means

FINEST_PX = 112
"""Descriptors are taken of images of at most this many pixels a side: 1.5 mm each."""
DISTANCE_MM = 3.0
PATCH_PX = 3
LEAST_VARIANCE = 1e-4
"""Bound of V from below, in squared intensities: flat patches are all alike."""


def descriptors(image: Tensor, size_px: int) -> Tensor:
    """Give the descriptors (B, 4, h, h), from 0 to 1, of images (B, 1, H, H), averaged to at most `size_px` a side."""
    image = block_means(image.float(), max(1, image.shape[-1] // FINEST_PX))
    side = image.shape[-1]
    step = max(1, round(DISTANCE_MM / (2 * HALF_EXTENT_MM / side)))
    padded = F.pad(image, (step, step, step, step), mode="replicate")
    near, here, far = slice(0, side), slice(step, step + side), slice(2 * step, 2 * step + side)
    places = ((near, here), (far, here), (here, near), (here, far))
    neighbours = torch.cat([padded[:, :, rows, columns] for rows, columns in places], 1)
    distances = box_means((image - neighbours).square(), PATCH_PX)
    variance = distances.mean(1, keepdim=True).clamp(min=LEAST_VARIANCE)
    return block_means((-distances / variance).exp(), max(1, side // size_px))

"""Modality-independent neighbourhood descriptors (MIND) of images.

After Heinrich et al. (Medical Image Analysis 16, 2012). For each of four neighbours at an offset r, the descriptor is
the similarity of the patch around the neighbour to the patch around the pixel,

    m_r(x) = exp(-D_r(x) / V(x)),    D_r(x) = mean over the patch of (I(x) - I(x + r))^2,    V = mean over r of D_r.

Edges give similar descriptors in cine and LGE, whatever the contrast. MIND descriptors need no labels, and so they add
information to the segmentations once the images are nearly aligned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.cpu_kernels.maps import block_means, box_means

FINEST_PX = 112
"""Largest side, in pixels, of the images from which MIND descriptors are computed: pixels of 1.5 mm."""
DISTANCE_MM = 3.0
PATCH_PX = 3
LEAST_VARIANCE = 1e-4
"""Lower bound of V in squared intensities. It makes the descriptors of all flat patches alike."""


def mind_descriptors(image: Tensor, size_px: int) -> Tensor:
    """Return MIND descriptors (B, 4, h, h), from 0 to 1, of images (B, 1, H, H), averaged to a side near `size_px`."""
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

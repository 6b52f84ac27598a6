"""Modality-independent neighbourhood descriptors (MIND) of images.

After Heinrich et al. (Medical Image Analysis 16, 2012). For each of eight neighbours at an offset r, the descriptor is
the similarity of the patch around the neighbour to the patch around the pixel,

    m_r(x) = exp(-D_r(x) / V(x)),    D_r(x) = mean over the patch of (I(x) - I(x + r))^2,

where V is the mean of D_r over r. Edges give similar descriptors in cine and LGE, whatever the contrast. MIND
descriptors need no labels. They register images alone, and they add information to segmentations once the images are
nearly aligned.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.compute.maps import block_means, box_means

FINEST_PX = 112
"""Largest side, in pixels, of the images from which MIND descriptors are computed: pixels of 1.5 mm."""
DISTANCE_MM = 4.5
"""Distance of the neighbours, rounded to pixels."""
PATCH_PX = 5
NEIGHBOURS = ((1, 0), (0, 1), (1, 1), (1, -1))
"""Rows and columns of one neighbour of each of the four pairs of opposite neighbours, in units of their steps."""
LEAST_VARIANCE = 1e-4
"""Lower bound of V in squared intensities. It makes the descriptors of all flat patches alike."""


def mind_descriptors(image: Tensor, size_px: int) -> Tensor:
    """Return MIND descriptors (B, 8, h, h), from 0 to 1, of images (B, 1, H, H), averaged to a side near `size_px`.

    The descriptors of opposite neighbours follow each other. Their D are one map, read at x and at x - r.
    """
    image = block_means(image.float(), max(1, image.shape[-1] // FINEST_PX))
    side = image.shape[-1]
    distance_px = DISTANCE_MM / (2 * HALF_EXTENT_MM / side)
    reach = max(1, round(distance_px))
    padded = F.pad(image, (2 * reach,) * 4, mode="replicate")
    distances = []
    for row, column in NEIGHBOURS:
        step = max(1, round(distance_px / math.hypot(row, column)))
        moved = _part(padded, reach + row * step, reach + column * step, side + 2 * reach)
        squares = box_means((_part(padded, reach, reach, side + 2 * reach) - moved).square(), PATCH_PX)
        distances += [_part(squares, reach - sign * row * step, reach - sign * column * step, side) for sign in (0, 1)]
    distance = torch.cat(distances, 1)
    variance = distance.mean(1, keepdim=True).clamp(min=LEAST_VARIANCE)
    return block_means((-distance / variance).exp(), max(1, side // size_px))


def _part(maps: Tensor, row: int, column: int, side: int) -> Tensor:
    """Return the square part (B, C, side, side) of maps (B, C, H, W) that starts at the row and column."""
    return maps[:, :, row : row + side, column : column + side]

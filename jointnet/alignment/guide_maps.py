"""The maps that registration aligns: confident probabilities of the structures, and MIND descriptors of the images.

Both are averaged to pixels of at least 3 mm. Block means keep sub-pixel positions.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.compute.maps import block_means
from jointnet.geometry import bounding_box, pixel_centres

GUIDE_PX = 56
"""Largest side of the maps: pixels of 3 mm."""
LEAST_PIXELS = 8.0
"""Pixels added to the area in weights and means, so that a few stray pixels have little influence."""

DIRECTIONS = 4


class SegmentationMaps(NamedTuple):
    """The segmentation maps of B slices, prepared for the optimisation.

    Attributes:
        cine: maps of cine (B, K, H, W), each structure weighted by the agreement of its areas.
        lge: maps of LGE, followed by their derivatives along columns and rows, (B, 3 K, H, W).
        heart: all structures of cine (B, 1, H, W), not weighted.
        centre: centre of the cine heart (B, 2).
        area: sum over structures of the smaller of the two areas, in pixels (B,).
        start: initial translation (B, 2) between the structures' centroids.
    """

    cine: Tensor
    lge: Tensor
    heart: Tensor
    centre: Tensor
    area: Tensor
    start: Tensor


class DescriptorMaps(NamedTuple):
    """Maps of MIND descriptors of B slices, prepared for the optimisation.

    Attributes:
        box: bounding box (rows, columns) of the pixels with a weight.
        cine: maps of cine within the box (B, D, h, w).
        lge: maps of LGE, followed by their derivatives along columns and rows, (B, 3 D, H, W).
        counts: weight of each pixel of the box (B, h, w).
        shown: 1 for LGE's pixels (B, 1, H, W) whose descriptors count, else 0.
        weight: the weight of the descriptors, which is a factor of all maps.
    """

    box: tuple[slice, slice]
    cine: Tensor
    lge: Tensor
    counts: Tensor
    shown: Tensor
    weight: float


def guide_map(logits: Tensor) -> Tensor:
    """Return the maps (B, structures, h, w) that guide registration, averaged to a side of at most `GUIDE_PX`.

    The value of a pixel with probability p is max(2 p - 1, 0). So uncertain pixels have no influence, and before
    training no pixel has any.
    """
    confident = (2 * logits.float().softmax(1)[:, 1:] - 1).clamp(min=0)
    return block_means(confident, math.ceil(logits.shape[-1] / GUIDE_PX))


def segmentation_maps(cine: Tensor, lge: Tensor) -> SegmentationMaps:
    """Weight the structures by the agreement of their areas, and compute the initial translation.

    Args:
        cine: probabilities of the structures without background, (B, K, H, W), square.
        lge: the same for LGE.
    """
    cine, lge = cine.float(), lge.float()
    cine_area, cine_centres = _moments(cine)
    lge_area, lge_centres = _moments(lge)
    seen = torch.minimum(cine_area, lge_area)
    agreement = (seen / (torch.maximum(cine_area, lge_area) + LEAST_PIXELS)).detach()[:, :, None, None]
    total = seen.sum(1, keepdim=True) + LEAST_PIXELS
    start = ((lge_centres - cine_centres) * seen.unsqueeze(-1)).sum(1) / total
    centre = (cine_centres * seen.unsqueeze(-1)).sum(1) / total
    heart = cine.detach().sum(1, keepdim=True)
    return SegmentationMaps(cine * agreement, _with_derivatives(lge * agreement), heart, centre, seen.sum(1), start)


def descriptor_maps(cine: Tensor, lge: Tensor, counts: Tensor, shown: Tensor, weight: float) -> DescriptorMaps | None:
    """Return the descriptor maps with their weights, or None if no pixel has a weight.

    The maps together count as one map for each direction, because those of opposite neighbours are nearly equal.

    Args:
        cine: MIND descriptors of cine (B, D, H, W).
        lge: the same for LGE.
        counts: weight of each pixel of cine (B, H, W).
        shown: 1 for LGE's pixels (B, H, W) whose descriptors count, else 0.
        weight: weight of the descriptors.
    """
    box = bounding_box(counts > 0)
    if box is None:
        return None
    rows, columns = box
    factor = weight * math.sqrt(DIRECTIONS / cine.shape[1])
    return DescriptorMaps(
        box,
        factor * cine[:, :, rows, columns],
        _with_derivatives(factor * lge),
        counts[:, rows, columns],
        shown[:, None],
        weight,
    )


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return area in pixels (B, K) and centroid (B, K, 2), column then row, of each map; the image centre if empty."""
    coordinates = pixel_centres(maps.shape[-1], maps.device)
    area = maps.sum((2, 3))
    column = (maps.sum(2) * coordinates).sum(2)
    row = (maps.sum(3) * coordinates).sum(2)
    return area, torch.stack([column, row], 2) / (area + 1e-3).unsqueeze(-1)


def _with_derivatives(maps: Tensor) -> Tensor:
    """Return maps (B, K, H, W), followed by their derivatives along columns and rows, (B, 3 K, H, W).

    The derivatives are per unit of normalised coordinates.
    """
    padded = F.pad(maps, (1, 1, 1, 1)) * (maps.shape[-1] / 4)
    columns = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    rows = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return torch.cat([maps, columns, rows], 1)

"""Pooling, interpolation and the likeliest class of maps with few channels, fast on CPUs.

The results equal those of torch's functions, which loop over pixels on a CPU and take several times as long for maps
with few channels. Here shifted maps are added or compared. On other devices pooling uses torch's own functions.
"""

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def block_means(maps: Tensor, block: int) -> Tensor:
    """Average maps (B, C, H, W) over blocks of `block` pixels a side, to (B, C, H // block, W // block).

    In float32 the result is bit-identical to `avg_pool2d(maps, block)`, which sums in the same order.
    """
    if block == 1:
        return maps
    if maps.device.type != "cpu":
        return F.avg_pool2d(maps, block)
    means: Tensor = _BlockMeans.apply(maps, block)
    return means


class _BlockMeans(torch.autograd.Function):
    """Block means with a one-pass gradient. Autograd would allocate a full map for every position in a block."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, block: int) -> Tensor:
        ctx.block, ctx.sides = block, maps.shape[-2:]
        rows, columns = (side - side % block for side in maps.shape[-2:])
        places = [maps[..., row:rows:block, column:columns:block] for row in range(block) for column in range(block)]
        return reduce(torch.add, places) / block**2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        block, (height, width) = ctx.block, ctx.sides
        shares = gradients[0] / block**2
        *leading, rows, columns = shares.shape
        spread = shares[..., :, None, :, None].expand(*leading, rows, block, columns, block)
        whole = spread.reshape(*leading, rows * block, columns * block)
        left = width - columns * block, height - rows * block
        return F.pad(whole, (0, left[0], 0, left[1])) if any(left) else whole, None


def box_means(maps: Tensor, side: int) -> Tensor:
    """Average maps (B, C, H, W) over a box of `side` pixels (odd) centred on each pixel, with zero padding."""
    if maps.device.type != "cpu":
        return F.avg_pool2d(maps, side, 1, side // 2)
    return _over_boxes(maps, side, 0.0, torch.add) / side**2


def box_maxima(maps: Tensor, side: int) -> Tensor:
    """Return the maximum of maps (B, C, H, W) over a box of `side` pixels (odd) centred on each pixel."""
    if maps.device.type != "cpu":
        return F.max_pool2d(maps, side, 1, side // 2)
    return _over_boxes(maps, side, -torch.inf, torch.maximum)


def likeliest(scores: Tensor) -> Tensor:
    """Return the class (S, H, W) of the largest score (S, C, H, W), the first one if scores are equal.

    Without NaN the result equals `argmax(1)`, which takes 40 times as long on a CPU if the scores of a pixel are not
    adjacent in memory; `max(1)` takes four times as long.
    """
    largest, *others = scores.unbind(1)
    labels = torch.zeros_like(largest, dtype=torch.uint8)
    for index, each in enumerate(others, start=1):
        labels = torch.maximum(labels, (each > largest).to(torch.uint8) * index)
        largest = torch.maximum(largest, each)
    return labels


def smooth_map(values: Tensor, size_px: int, mode: str = "bilinear") -> Tensor:
    """Interpolate values (B, C, n, n) to maps (B, C, size_px, size_px) by two small matrix products.

    The result equals `torch.nn.functional.interpolate` with `align_corners=False`. On a CPU it is several times faster,
    because `interpolate` loops over pixels.

    Args:
        values: values at the centres of n x n equal parts of the field of view.
        size_px: side of the maps.
        mode: `bilinear` or `bicubic`, as in `interpolate`; or `extended`, which is `bilinear` with linear
            extrapolation beyond the outermost values, where `bilinear` is constant.
    """
    rows = _interpolation_weights(values.shape[-1], size_px, mode, values.device)
    return rows @ values @ rows.T


def _over_boxes(maps: Tensor, side: int, outside: float, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Reduce each pixel's box with `join`, first over rows, then over columns; padding has the value `outside`."""
    height, width = maps.shape[-2:]
    half = side // 2
    padded = F.pad(maps, (half, half, half, half), value=outside)
    rows = reduce(join, [padded[..., first : first + height, :] for first in range(side)])
    return reduce(join, [rows[..., first : first + width] for first in range(side)])


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _interpolation_weights(count: int, size_px: int, mode: str, device: torch.device) -> Tensor:
    """Return the interpolation weights (size_px, count) along one side.

    They are cached and shared with trainings, so they must not be inference tensors.
    """
    if mode == "extended":
        place = (torch.arange(size_px, device=device) + 0.5) * (count / size_px) - 0.5
        below = place.floor().clamp(0, count - 2)
        right = (place - below)[:, None]
        ones = F.one_hot(torch.stack([below, below + 1]).long(), count).float()
        return (1 - right) * ones[0] + right * ones[1]
    one_by_one = torch.eye(count, device=device)[None, :, :, None].expand(1, count, count, count)
    spread = F.interpolate(one_by_one, size=(size_px, count), mode=mode, align_corners=False)
    return spread[0, :, :, 0].T.contiguous()

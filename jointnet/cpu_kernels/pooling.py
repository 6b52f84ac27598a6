"""Average and maximum pooling that is fast on CPUs for maps with few channels.

The results equal torch's `avg_pool2d` and `max_pool2d`, which loop over pixels on a CPU and take several times as long
for maps with few channels. Here shifted maps are added or compared. On other devices torch's own functions are used.
"""

from collections.abc import Callable
from functools import reduce
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


def _over_boxes(maps: Tensor, side: int, outside: float, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Reduce each pixel's box with `join`, first over rows, then over columns; padding has the value `outside`."""
    height, width = maps.shape[-2:]
    half = side // 2
    padded = F.pad(maps, (half, half, half, half), value=outside)
    rows = reduce(join, [padded[..., first : first + height, :] for first in range(side)])
    return reduce(join, [rows[..., first : first + width] for first in range(side)])

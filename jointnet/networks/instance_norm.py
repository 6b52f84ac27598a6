"""Group normalisation (Wu and He 2018) with a backward pass that is fast on CPUs for large maps in channels-last order.

With groups of channels g, x' = (x - mean_g) / sd_g and y = weight x' + bias, the gradient of the input is

    dx = (weight dy - mean_g(weight dy) - x' mean_g(weight dy x')) / sd_g.

torch 2.13 takes that pass on a CPU, for maps of 1024 pixels and more in channels-last order, in a way that costs three
to eight times what memory allows: an eighth to a sixth of a whole training step. Everywhere else torch's own is used.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE_PX = 1024
"""Pixels from which torch's own backward pass is slow."""


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, the same values from the same parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not (_slow_in_torch(x) and torch.is_grad_enabled()):
            return super().forward(x)
        normalised: Tensor = _Normalise.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        count, channels, height, width = x.shape
        y, mean, rsd = torch.native_group_norm(x, weight, bias, count, channels, height * width, groups, eps)
        ctx.save_for_backward(x, weight, mean, rsd)
        return y

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, rsd = ctx.saved_tensors
        return *group_norm_backward(dy[0], x, weight, mean, rsd), None, None


def group_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rsd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of the input (B, C, H, W), the weight (C,) and the bias (C,).

    Args:
        dy: gradient of the result (B, C, H, W).
        x: the input (B, C, H, W).
        weight: (C,).
        mean: of each group (B, G).
        rsd: one over each group's standard deviation (B, G).
    """
    count, channels, height, width = x.shape
    groups = mean.shape[1]
    rows_dy, rows_x = _rows(dy), _rows(x)
    total = _over_pixels(rows_dy, channels)  # (B, C), as all that follows
    mean, rsd = (each.repeat_interleave(channels // groups, 1) for each in (mean, rsd))
    along = rsd * (_over_pixels(rows_dy * rows_x, channels) - mean * total)  # sum of dy x'

    def by_group(values: Tensor) -> Tensor:
        means = values.unflatten(1, (groups, -1)).mean(2) / (height * width)
        return means.repeat_interleave(channels // groups, 1)

    slope = -by_group(along * weight) * rsd**2
    offset = -by_group(total * weight) * rsd - slope * mean
    dx = torch.addcmul(_in_rows(offset, width, x.dtype), rows_x, _in_rows(slope, width, x.dtype))
    dx.addcmul_(rows_dy, _in_rows(weight * rsd, width, x.dtype))
    whole = dx.view(count, height, width, channels).permute(0, 3, 1, 2)
    return whole, along.sum(0).to(weight.dtype), total.sum(0).to(weight.dtype)


def _slow_in_torch(x: Tensor) -> bool:
    large = x.device.type == "cpu" and x.ndim == 4 and x.shape[2] * x.shape[3] >= LARGE_PX
    return large and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)


def _rows(maps: Tensor) -> Tensor:
    """Give maps (B, C, H, W) as rows (B, H, W * C): long rows are what a processor's vectors are good at."""
    return maps.permute(0, 2, 3, 1).flatten(2)


def _over_pixels(rows: Tensor, channels: int) -> Tensor:
    """Give the sum over pixels (B, C), in 32 bits from a column of pixels on: torch itself adds up 16-bit values so."""
    columns = rows.sum(1)
    return columns.to(torch.promote_types(rows.dtype, torch.float32)).unflatten(1, (-1, channels)).sum(1)


def _in_rows(values: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Give values (B, C) as a row (B, 1, W * C) for every pixel of it."""
    return values.to(dtype).repeat(1, width).unsqueeze(1)

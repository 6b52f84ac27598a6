"""Group normalisation (Wu and He 2018) that is fast on CPUs for maps in channels-last order.

With groups of channels g and their mean and standard deviation (sd) over channels and pixels,

    y = weight x' + bias,    x' = (x - mean_g) / sd_g,
    dx = (weight dy - mean_g(weight dy) - x' mean_g(weight dy x')) / sd_g.

As many groups as channels make it an instance normalisation (Ulyanov et al. 2016). In channels-last order on a CPU,
torch 2.13 takes the backward pass of large maps in a way that costs three to eight times what memory allows, and both
passes of groups of one channel up to fifty times. Everywhere else torch's own is used.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE_PX = 1024
"""Pixels from which torch's own forward pass is fast, and its backward pass slow."""


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`, the same values from the same parameters.

    Args:
        channels: of the maps.
        groups: at most; fewer where the channels do not divide. None gives each channel a group of its own.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, groups: int | None = None) -> None:
        most = channels if groups is None else groups
        super().__init__(max(count for count in range(1, most + 1) if channels % count == 0), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not _slow_in_torch(x, self.num_groups):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return group_norm(x, self.weight, self.bias, self.num_groups, self.eps)[0]
        normalised: Tensor = _Normalise.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        y, mean, rsd = group_norm(x, weight, bias, groups, eps)
        ctx.save_for_backward(x, weight, mean, rsd)
        return y

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, rsd = ctx.saved_tensors
        return *group_norm_backward(dy[0], x, weight, mean, rsd), None, None


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give normalised maps (B, C, H, W), and each group's mean and one over its standard deviation (B, G).

    Args:
        x: the input (B, C, H, W), in channels-last order.
        weight: (C,).
        bias: (C,).
        groups: G.
        eps: what is added to the variance.
    """
    count, channels, height, width = x.shape
    if height * width >= LARGE_PX:
        return torch.native_group_norm(x, weight, bias, count, channels, height * width, groups, eps)
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = _rows(x).to(wide)
    mean = _by_group(_over_pixels(rows, channels), groups) / (height * width)
    rows = rows - _in_rows(_by_channel(mean, channels), width, wide)
    rsd = torch.rsqrt(_by_group(_over_pixels(rows.square(), channels), groups) / (height * width) + eps)
    factor = weight * _by_channel(rsd, channels)
    scaled = torch.addcmul(_in_rows(bias.expand_as(factor), width, wide), rows, _in_rows(factor, width, wide))
    y = torch.empty_like(x)  # no view of another tensor, so that it may be changed in place afterwards
    _rows(y).copy_(scaled)
    return y, mean, rsd


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
    mean, rsd = _by_channel(mean, channels), _by_channel(rsd, channels)
    along = rsd * (_over_pixels(rows_dy * rows_x, channels) - mean * total)  # sum of dy x'

    def mean_of_group(values: Tensor) -> Tensor:
        return _by_channel(_by_group(values, groups), channels) / (height * width)

    slope = -mean_of_group(along * weight) * rsd**2
    offset = -mean_of_group(total * weight) * rsd - slope * mean
    dx = torch.addcmul(_in_rows(offset, width, x.dtype), rows_x, _in_rows(slope, width, x.dtype))
    dx.addcmul_(rows_dy, _in_rows(weight * rsd, width, x.dtype))
    maps = dx.view(count, height, width, channels).permute(0, 3, 1, 2)
    return maps, along.sum(0).to(weight.dtype), total.sum(0).to(weight.dtype)


def _slow_in_torch(x: Tensor, groups: int) -> bool:
    if x.device.type != "cpu" or x.ndim != 4 or x.shape[1] == 1 or x.numel() == 0:
        return False
    slow = groups == x.shape[1] or (x.shape[2] * x.shape[3] >= LARGE_PX and torch.is_grad_enabled())
    return slow and x.is_contiguous(memory_format=torch.channels_last)


def _rows(maps: Tensor) -> Tensor:
    """Give maps (B, C, H, W) as rows (B, H, W * C): long rows are what a processor's vectors are good at."""
    return maps.permute(0, 2, 3, 1).flatten(2)


def _over_pixels(rows: Tensor, channels: int) -> Tensor:
    """Give the sum over pixels (B, C), in 32 bits from a column of pixels on: torch itself adds up 16-bit values so."""
    columns = rows.sum(1)
    return columns.to(torch.promote_types(rows.dtype, torch.float32)).unflatten(1, (-1, channels)).sum(1)


def _by_group(values: Tensor, groups: int) -> Tensor:
    """Give the mean over each group's channels (B, G) of values (B, C)."""
    return values if groups == values.shape[1] else values.unflatten(1, (groups, -1)).mean(2)


def _by_channel(values: Tensor, channels: int) -> Tensor:
    """Give each channel its group's value, (B, C) of (B, G)."""
    return values if channels == values.shape[1] else values.repeat_interleave(channels // values.shape[1], 1)


def _in_rows(values: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Give values (B, C) as a row (B, 1, W * C) for every pixel of it."""
    return values.to(dtype).repeat(1, width).unsqueeze(1)

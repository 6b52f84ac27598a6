"""Instance normalisation (Ulyanov et al. 2016) that is fast on CPUs for maps in channels-last order.

Every channel of every image by itself, with mean and standard deviation (sd) over its pixels:

    y = weight x' + bias,    x' = (x - mean) / sd,
    dx = weight (dy - mean(dy) - x' mean(dy x')) / sd.

torch 2.13 has it as a group normalisation of groups of one channel. In channels-last order on a CPU that takes up to
fifty times what memory allows: in both passes for small maps, backward for large ones. On other devices, in other
orders and for other numbers of dimensions torch's own is used.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE_PX = 1024
"""Pixels from which torch's own forward pass is fast."""


class InstanceNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm(channels, channels)`: the same values from the same parameters, of one pixel too.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not _slow_in_torch(x):
            return super().forward(x)
        if not torch.is_grad_enabled():
            return normalise(x, self.weight, self.bias, self.eps)[0]
        normalised: Tensor = _Normalise.apply(x, self.weight, self.bias, self.eps)
        return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, rsd = normalise(x, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, rsd)
        return y

    @staticmethod
    def backward(ctx: Any, *dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, rsd = ctx.saved_tensors
        return *normalise_backward(dy[0], x, weight, mean, rsd), None


def normalise(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Give the normalised maps (B, C, H, W), and the mean and one over the standard deviation (B, C) of each channel.

    Args:
        x: the input (B, C, H, W), in channels-last order.
        weight: (C,).
        bias: (C,).
        eps: what is added to the variance.
    """
    count, channels, height, width = x.shape
    if height * width >= LARGE_PX:
        return torch.native_group_norm(x, weight, bias, count, channels, height * width, channels, eps)
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = _rows(x).to(wide)
    mean = _over_pixels(rows, channels) / (height * width)
    rows = rows - _in_rows(mean, width, wide)
    rsd = torch.rsqrt(_over_pixels(rows.square(), channels) / (height * width) + eps)
    scaled = torch.addcmul(_in_rows(bias.expand_as(mean), width, wide), rows, _in_rows(weight * rsd, width, wide))
    y = torch.empty_like(x)  # no view of another tensor, so that it may be changed in place afterwards
    _rows(y).copy_(scaled)
    return y, mean, rsd


def normalise_backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rsd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of the input (B, C, H, W), the weight (C,) and the bias (C,).

    Args:
        dy: gradient of the result (B, C, H, W).
        x: the input (B, C, H, W).
        weight: (C,).
        mean: of each channel (B, C).
        rsd: one over each channel's standard deviation (B, C).
    """
    count, channels, height, width = x.shape
    rows_dy, rows_x = _rows(dy), _rows(x)
    total = _over_pixels(rows_dy, channels)  # (B, C), as all that follows
    along = rsd * (_over_pixels(rows_dy * rows_x, channels) - mean * total)  # sum of dy x'
    factor = weight * rsd
    slope = -factor * rsd * along / (height * width)
    offset = -factor * total / (height * width) - slope * mean
    dx = torch.addcmul(_in_rows(offset, width, x.dtype), rows_x, _in_rows(slope, width, x.dtype))
    dx.addcmul_(rows_dy, _in_rows(factor, width, x.dtype))
    maps = dx.view(count, height, width, channels).permute(0, 3, 1, 2)
    return maps, along.sum(0).to(weight.dtype), total.sum(0).to(weight.dtype)


def _slow_in_torch(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.ndim == 4
        and x.shape[1] > 1
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
    )


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

"""Instance normalisation (Ulyanov et al. 2016) that is fast on CPUs for maps in channels-last order.

Each channel of each image is normalised with the mean and standard deviation (sd) over its pixels:

    y = weight x' + bias,    x' = (x - mean) / sd,
    dx = weight (dy - mean(dy) - x' mean(dy x')) / sd.

torch 2.13 can compute it as a group normalisation with one channel per group. In channels-last order on a CPU, that
takes up to fifty times as long as the memory bandwidth requires: in both passes for small maps, and in the backward
pass for large maps. On other devices, in other memory orders and for other numbers of dimensions, torch's own is used.
"""

from typing import Any

import torch
from torch import Tensor, nn

LARGE_PX = 1024
"""From this number of pixels on, torch's forward pass is fast and is used, and our backward pass works on rows."""


class InstanceNorm(nn.GroupNorm):
    """Equivalent of `torch.nn.GroupNorm(channels, channels)`, also for maps of one pixel.

    Args:
        channels: number of channels of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not _slow_in_torch(x):  # torch.nn.functional.group_norm refuses a map of one pixel in a batch of one
            return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
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
    """Return the normalised maps (B, C, H, W), and each channel's mean and inverse standard deviation (B, C).

    Args:
        x: the input (B, C, H, W), in channels-last order.
        weight: (C,).
        bias: (C,).
        eps: constant added to the variance.
    """
    count, channels, height, width = x.shape
    pixels = height * width
    if pixels >= LARGE_PX:
        return torch.native_group_norm(x, weight, bias, count, channels, pixels, channels, eps)
    mean = _over_pixels(x, channels) / pixels
    variance = (_over_pixels(x * x, channels) / pixels - mean * mean).clamp(min=0)
    rsd = (variance + eps).rsqrt()
    factor = weight * rsd
    y = torch.addcmul(_spread(bias - mean * factor, x), x, _spread(factor, x))
    return y, mean, rsd


def normalise_backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rsd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the input (B, C, H, W), the weight (C,) and the bias (C,).

    Args:
        dy: gradient of the result (B, C, H, W).
        x: the input (B, C, H, W).
        weight: (C,).
        mean: of each channel (B, C).
        rsd: inverse standard deviation of each channel (B, C).
    """
    count, channels, height, width = x.shape
    pixels = height * width
    if pixels >= LARGE_PX:
        dy, x = _rows(dy), _rows(x)
    total = _over_pixels(dy, channels)  # (B, C), like the following
    along = rsd * (_over_pixels(dy * x, channels) - mean * total)  # sum of dy x'
    factor = weight * rsd
    slope = -factor * rsd * along / pixels
    offset = -factor * total / pixels - slope * mean
    dx = torch.addcmul(_spread(offset, x), x, _spread(slope, x)).addcmul_(dy, _spread(factor, x))
    if pixels >= LARGE_PX:
        dx = dx.view(count, height, width, channels).permute(0, 3, 1, 2)
    return dx, along.sum(0).to(weight.dtype), total.sum(0).to(weight.dtype)


def _slow_in_torch(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.ndim == 4
        and x.shape[1] > 1
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _rows(maps: Tensor) -> Tensor:
    """Return maps (B, C, H, W) as rows (B, H, W * C), which is faster for large maps with few channels."""
    return maps.permute(0, 2, 3, 1).flatten(2)


def _over_pixels(x: Tensor, channels: int) -> Tensor:
    """Return the sum over pixels (B, C) of maps or rows in at least 32 bits.

    For rows, `x.sum(1)` keeps the type of `x` (torch accumulates 16-bit values in 32 bits); the rest is in 32 bits.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.ndim == 4:
        return x.sum((2, 3), dtype=wide)
    return x.sum(1).to(wide).unflatten(1, (-1, channels)).sum(1)


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """Return values (B, C) in a shape and type that broadcast over the pixels of maps or rows."""
    values = values.to(x.dtype)
    if x.ndim == 4:
        return values[:, :, None, None]
    return values.repeat(1, x.shape[2] // values.shape[1]).unsqueeze(1)

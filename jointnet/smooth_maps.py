"""Smooth maps from a few values: interpolation by two small matrix products, one along rows and one along columns.

It gives what `torch.nn.functional.interpolate` gives with `align_corners=False`, several times faster on a CPU, where
that loops over pixels; a map of 9 x 9 values on 112 x 112 pixels takes less arithmetic this way than its own addition.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_map(values: Tensor, size_px: int, mode: str = "bilinear") -> Tensor:
    """Interpolate values (B, C, n, n) to maps (B, C, size_px, size_px).

    Args:
        values: evenly over the field, each the value at the middle of its part.
        size_px: side of the maps.
        mode: `bilinear` or `bicubic`, as in `interpolate`; or `extended`, which is `bilinear` but goes on as a straight
            line beyond the outermost values' places, where `bilinear` stays constant.
    """
    rows = _weights(values.shape[-1], size_px, mode, values.device)
    return rows @ values @ rows.T


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _weights(count: int, size_px: int, mode: str, device: torch.device) -> Tensor:
    """Give the weight (size_px, count) of every value at every pixel along one side.

    It is remembered, so it is made as trainings can use it too, whoever asks first.
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

"""Interpolation of coarse maps by two small matrix products, one along rows and one along columns.

The result equals `torch.nn.functional.interpolate` with `align_corners=False`. On a CPU it is several times faster,
because `interpolate` loops over pixels.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def smooth_map(values: Tensor, size_px: int, mode: str = "bilinear") -> Tensor:
    """Interpolate values (B, C, n, n) to maps (B, C, size_px, size_px).

    Args:
        values: values at the centres of n x n equal parts of the field of view.
        size_px: side of the maps.
        mode: `bilinear` or `bicubic`, as in `interpolate`; or `extended`, which is `bilinear` with linear
            extrapolation beyond the outermost values, where `bilinear` is constant.
    """
    rows = _weights(values.shape[-1], size_px, mode, values.device)
    return rows @ values @ rows.T


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _weights(count: int, size_px: int, mode: str, device: torch.device) -> Tensor:
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

"""Network inputs: images at the networks' resolution, and the neighbouring slices of each slice."""

import numpy as np
import torch
from torch import Tensor

from jointnet.cpu_kernels.pooling import block_means


def network_images(images: np.ndarray, downsampling: int, device: torch.device | str) -> Tensor:
    """Return images (S, 2, h, w) float32 at the networks' resolution from the common grid's (S, 2, H, W)."""
    as_stored = np.float16 if images.dtype == np.float16 else np.float32  # torch converts float16 faster than numpy
    copied = torch.from_numpy(np.array(images, dtype=as_stored)).to(device)
    return block_means(copied.float(), downsampling)


def around(slices: int, neighbours: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the indices (slices, 1 + 2 neighbours) of each slice and its neighbours, clamped to the stack."""
    offsets = torch.arange(-neighbours, neighbours + 1, device=device)
    return (torch.arange(slices, device=device)[:, None] + offsets).clamp(0, slices - 1)

"""Numerical precision of the networks: 16 bits in training and validation if the device supports it.

Test evaluation and prediction use 32 bits. Augmentation, losses, alignment and metrics always use at least 32 bits.
"""

from contextlib import AbstractContextManager, nullcontext

import torch


def training_precision(device: torch.device) -> torch.dtype:
    """Return the type for training: bf16 or fp16 on a GPU, bf16 on a CPU that supports it, else float32."""
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def computing_in(precision: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Return a context manager that computes in `precision`: torch's autocast for 16 bits, none for 32 bits.

    On devices that autocast does not support, such as `meta`, it has no effect.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=precision, enabled=precision is not torch.float32)

"""The precision of the networks' arithmetic: 16 bits in trainings and their validations where the device has them.

Tests and predictions are in 32 bits.
What surrounds a network, be it augmentation, losses, alignment or metrics, is in 32 bits or more everywhere.
"""

from contextlib import AbstractContextManager, nullcontext

import torch


def training_precision(device: torch.device) -> torch.dtype:
    """Give the type that networks are trained in: bf16 or fp16 on a GPU, bf16 on a CPU that has it, else 32 bits."""
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def computing_in(precision: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a network computes in `precision`: 16 bits by torch's autocast, 32 as it is.

    On a device that autocast does not know, such as `meta`, nothing is changed.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, dtype=precision, enabled=precision is not torch.float32)

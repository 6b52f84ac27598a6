"""The device and the numerical precision of the networks.

They compute in 16 bits in training and validation if the device supports it. Test evaluation and prediction use 32
bits. Augmentation, losses, alignment and metrics always use at least 32 bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from jointnet.errors import SettingsError


def resolve_device(device: str) -> str:
    """Return the name of the device; `auto` becomes `cuda` if available, else `cpu`.

    Raises:
        SettingsError: if torch does not know the device, or this machine does not have it.
        RuntimeError: if the device is out of memory, for example because other processes use it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        if "out of memory" in str(error):
            raise
        reason = str(error).splitlines()[0][:160]
        raise SettingsError(f"--device: must be auto or a device of this machine, got {device!r}: {reason}") from None
    return device


def training_precision(device: torch.device) -> torch.dtype:
    """Return the type for training: bf16 or fp16 on a GPU, bf16 on a CPU that supports it, else float32."""
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


@contextmanager
def computing_in(precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Compute in `precision`: with torch's autocast in 16 bits, without it in 32 bits.

    In 32 bits the convolutions of a GPU do not use TF32 either, torch's default, which has 10 bits of mantissa. On
    devices that autocast does not support, such as `meta`, this has no effect.
    """
    if not torch.amp.is_autocast_available(device.type):
        yield
        return
    exact = precision is torch.float32
    with torch.autocast(device.type, dtype=precision, enabled=not exact):
        if not (exact and device.type == "cuda"):
            yield
            return
        before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return values as a tensor on the device. It is cached, because each copy to a GPU waits for it.

    The result must not be modified.
    """
    return torch.tensor(values, device=device)

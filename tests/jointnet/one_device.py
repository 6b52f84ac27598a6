"""A simulated GPU on `meta` tensors. It detects tensors that a training would leave on the CPU.

torch's `meta` tensors have shapes, types and gradients, but no values. Reading a value from a real GPU waits for the
device. Here each read is counted for the function that reads, and a fixed value is returned.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import jointnet

META = torch.device("meta")
PACKAGE = Path(jointnet.__file__).parent
MOVES = ("aten._to_copy.default", "aten.copy_.default")
"""Operators that may move a tensor between devices."""


class MixedDevicesError(Exception):
    """An operator got tensors of both the device and the CPU."""


class OneDevice(TorchDispatchMode):
    """A mode that refuses operators on tensors of both `META` and the CPU, and returns fixed values for reads.

    torch refuses only some of these operators on `meta`, but most of them on a GPU. A tensor without dimensions may be
    on the CPU, as operators accept it as an argument. Fixed values: True for a boolean, 1 for a single number, 0 for
    each element of an array.

    Attributes:
        reads: number of reads by each function of the package, by `module.function`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        tensors = [each for each in tree_leaves((args, options)) if isinstance(each, torch.Tensor)]
        if not any(tensor.is_meta for tensor in tensors):
            return func(*args, **options)
        if torch.is_inference_mode_enabled():  # composite operators are not decomposed in this mode
            with self:
                result = func.decompose(*args, **options)
            if result is not NotImplemented:
                return result
        if str(func) == "aten._local_scalar_dense.default":
            self.reads[_asking()] += 1
            return True if tensors[0].dtype is torch.bool else 1
        if str(func) == "aten._to_copy.default" and str(options.get("device", META)) == "cpu":
            self.reads[_asking()] += 1
            make = torch.ones if tensors[0].dtype is torch.bool else torch.zeros
            return make(tensors[0].shape, dtype=tensors[0].dtype)
        strangers = [tuple(tensor.shape) for tensor in tensors if not tensor.is_meta and tensor.ndim]
        if strangers and str(func) not in MOVES:
            raise MixedDevicesError(f"{func} in {_asking()}: must have one device, got CPU's {strangers}")
        return func(*args, **options)


class CopiesToDevice(TorchFunctionMode):
    """A mode that counts what is copied from the CPU to the device: moved or new tensors, and lists as an index.

    A GPU is waited for at each, as memory of the CPU that is not pinned is copied at once.

    Attributes:
        places: number of copies by each function of the package, by `module.function`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            copied = args[0].is_meta and any(isinstance(each, list) or _on_cpu(each) for each in index)
        else:
            copied = func in (torch.tensor, torch.as_tensor) or (func is torch.Tensor.to and _on_cpu(args[0]))
            copied = copied and result.is_meta
        self.places.update([_asking()] * copied)
        return result


class OneDeviceGenerator(torch.Generator):
    """A generator of the device, which torch cannot create for `meta`."""

    @property
    def device(self) -> torch.device:
        """The device."""
        return META


def _on_cpu(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.ndim > 0


def _asking() -> str:
    """Return the innermost function of the package on the call stack."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            return f"{module}.{frame.f_code.co_qualname.partition('.<locals>')[0]}"
        frame = frame.f_back
    return "elsewhere"

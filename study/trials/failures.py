"""What ended an attempt at a trial: the training, which is final, or the machine, which is worth another attempt."""

from enum import Enum

import ray
import torch

from jointnet.faults import DISK_FULL


class Cause(Enum):
    """Who is to blame.

    TRAINING: the loss, the objective, the data, the settings or the code; it would happen again.
    MACHINE: a killed worker or node, or an error of the operating system.
    MEMORY: too little of it, on the machine or the GPU.
    DISK: it is full.
    """

    TRAINING = "training"
    MACHINE = "machine"
    MEMORY = "memory"
    DISK = "disk"


def cause_of(error: BaseException | None) -> Cause:
    """Give who is to blame for an attempt's exception; None is an attempt that ended without one."""
    cause = _unwrapped(error)
    if isinstance(cause, OSError) and cause.errno in DISK_FULL:
        return Cause.DISK
    memory = (MemoryError, torch.OutOfMemoryError, ray.exceptions.OutOfMemoryError)
    if isinstance(cause, memory) or (isinstance(cause, RuntimeError) and "can't allocate memory" in str(cause)):
        return Cause.MEMORY
    if cause is None or isinstance(cause, OSError | ray.exceptions.RayError):
        return Cause.MACHINE
    return Cause.TRAINING


def reason_of(error: BaseException | None) -> str:
    """Give one line for the exception that ended an attempt, without Ray's wrapping around it."""
    cause = _unwrapped(error)
    if cause is None:
        return "ended without a word"
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}"[:1000]


def _unwrapped(error: BaseException | None) -> BaseException | None:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error

"""Causes of a failed attempt at a trial. Errors of the training are final. Errors of the machine lead to a retry."""

from enum import Enum

import ray
import torch

from jointnet.errors import DISK_FULL


class Cause(Enum):
    """The cause of a failed attempt.

    TRAINING: the loss, the objective, the data, the settings or the code; a retry would fail again.
    MACHINE: a killed worker or node, or an error of the operating system.
    MEMORY: out of memory, on the machine or the GPU.
    DISK: the disk is full.
    """

    TRAINING = "training"
    MACHINE = "machine"
    MEMORY = "memory"
    DISK = "disk"


def cause_of(error: BaseException | None) -> Cause:
    """Return the cause of an attempt's exception; None stands for an attempt that ended without an exception."""
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
    """Return one line about the exception that ended an attempt, without the exception that Ray wraps around it."""
    cause = _unwrapped(error)
    if cause is None:
        return "ended without a word"
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}"[:1000]


def _unwrapped(error: BaseException | None) -> BaseException | None:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error

"""The cause of an attempt that ended."""

import errno

import pytest
import ray
import torch

from jointnet.errors import DataError
from jointnet.train.epoch import TrainingDivergedError
from study.trials.failures import Cause, cause_of, reason_of
from study.trials.trial import ObjectiveNotFiniteError


def wrapped(cause: BaseException) -> BaseException:
    error = RuntimeError("ray::_trainable() ... Traceback")
    error.cause = cause  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (TrainingDivergedError("NaN"), Cause.TRAINING),
        (ObjectiveNotFiniteError("inf"), Cause.TRAINING),
        (DataError("x"), Cause.TRAINING),
        (ValueError("x"), Cause.TRAINING),
        (RuntimeError("shapes differ"), Cause.TRAINING),
        (OSError(errno.ENOSPC, "No space left on device"), Cause.DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Cause.DISK),
        (OSError(errno.EIO, "Input/output error"), Cause.MACHINE),
        (MemoryError(), Cause.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Cause.MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Cause.MEMORY),
        (ray.exceptions.OutOfMemoryError("killed by the memory monitor"), Cause.MEMORY),
        (ray.exceptions.RayActorError(), Cause.MACHINE),
        (ray.exceptions.WorkerCrashedError(), Cause.MACHINE),
        (None, Cause.MACHINE),
    ],
)
def test_what_the_training_did_is_final_and_what_the_machine_did_is_not(error, cause):
    assert cause_of(error) is cause
    if error is not None:
        assert cause_of(wrapped(error)) is cause


def test_a_reason_is_one_line_without_rays_wrapping():
    assert reason_of(wrapped(TrainingDivergedError("the loss must be\nfinite"))) == (
        "TrainingDivergedError: the loss must be finite"
    )
    assert reason_of(None) == "ended without a word"

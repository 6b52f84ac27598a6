"""The trainings of a study without the study: plain processes that take samples from a queue."""

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timed_trial import wait_for_all

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.train.loop import train
from study.trials.trial import ArmTask, TrialSpec

_warm: list[bool] = []
"""Not empty once this process has trained."""


def seconds_by_hand(
    task: ArmTask, samples: Sequence[Mapping[str, Any]], processes: int, folder: Path
) -> tuple[float, float]:
    """Train these samples in parallel processes with one thread each.

    Returns:
        Wall seconds and CPU seconds. The first training of every process is a warm-up; the wall time starts when all of
        these have ended, and the CPU seconds are those of the other trainings.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    own = replace(task, folder=folder)
    specs = [TrialSpec(own, f"t{number:04}", sample) for number, sample in enumerate(samples, start=1)]
    ends, processor = list[float](), list[float]()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for seconds in pool.imap_unordered(_train, specs):
            ends.append(time.perf_counter())
            processor.append(seconds)
    return ends[-1] - ends[processes - 1], sum(processor[processes:])


def _train(spec: TrialSpec) -> float:
    """Train a sample and return its CPU seconds."""
    keep_freed_memory()  # as the study's workers do
    torch.set_num_threads(spec.task.threads)
    spec.folder.mkdir(parents=True)
    began = time.process_time()
    train(
        spec.settings,
        spec.task.training,
        spec.task.validation,
        seed=spec.task.seed,
        device=spec.task.device,
        out=spec.folder,
    )
    seconds = time.process_time() - began
    if not _warm:
        _warm.append(True)
        wait_for_all(spec.task.folder / "warm")
    return seconds

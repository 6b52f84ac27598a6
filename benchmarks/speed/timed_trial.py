"""A trial as in a study that also reports the time that the epoch before spent on other things than training."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from one_arm import AT_ONCE

from jointnet.train.checkpoints import Checkpoints
from jointnet.train.epoch_report import EpochReport
from study.trials.trial import OnEpoch, TrialSpec, run_trial

EPOCH, WAITED, CHECKPOINTED, BETWEEN = "epoch_ms", "waited_ms", "checkpoint_ms", "between_ms"
MEASURED = {
    EPOCH: "an epoch",
    WAITED: "an epoch's report",
    CHECKPOINTED: "an epoch's checkpoint",
    BETWEEN: "between two trials",
}
"""Metrics in ms, and their texts. Not every epoch has all of them."""

_ended: list[float] = []
"""The end time of this worker's last trial; empty before."""


def timed_trial(spec: TrialSpec, on_epoch: OnEpoch) -> None:
    """Call `study.trials.trial.run_trial` and add the measured times to its metrics. Replaces it in a Ray worker."""
    warm = bool(_ended)
    own = {BETWEEN: 1e3 * (time.perf_counter() - _ended.pop())} if warm else {}
    save = Checkpoints.save

    def timed_save(*arguments: Any) -> None:
        began = time.perf_counter()
        save(*arguments)
        own[CHECKPOINTED] = 1e3 * (time.perf_counter() - began)

    def forward(report: EpochReport) -> None:
        metrics = {**report.metrics, **own, EPOCH: 1e3 * report.seconds}
        own.clear()
        began = time.perf_counter()
        on_epoch(replace(report, metrics=metrics))
        own[WAITED] = 1e3 * (time.perf_counter() - began)

    with patch.object(Checkpoints, "save", timed_save):
        run_trial(spec, forward)
    if not warm:
        wait_for_all(spec.task.folder / "warm")
    _ended.append(time.perf_counter())


def wait_for_all(folder: Path) -> None:
    """Wait until all AT_ONCE processes have called this, so that their measured trials start together."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < AT_ONCE:
        time.sleep(0.005)

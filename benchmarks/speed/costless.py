"""A training that takes no time, so that the time of a study is the study's own overhead.

Its objective is a random number with the trial's id as seed. It does not depend on the sample, so early stopping prunes
the same share of trials early and late in a study. Its model is tiny.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))

from simulation import run_to_end, write_model

from jointnet.train.epoch_report import EpochReport
from study.store_names import OBJECTIVE
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch
from study.trials.trial import OnEpoch, TrialSpec

BRANCHES = ("registration", "cine_segmentation", "lge_segmentation")
PARTS = ("lv", "myo", "rv")
Drive = Callable[[ArmSearch, ArmRecorder], None]
WAITED = "waited_ms"
"""Metric: time in ms for which the report of the epoch before blocked the worker."""
VALIDATED = (
    *(f"train/gradient/{branch}" for branch in BRANCHES),
    *(f"val/{name}/{part}" for name in ("asd_mm", "dice", "dice_cine", "dice_lge") for part in PARTS),
    *(f"val/cd_mm/{part}" for part in ("lv", "rv")),
    "val/lost",
)
"""Metrics of a validated epoch in addition to losses and objective, as many as a joint training has."""


def epoch_of(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """Return random metrics of an epoch. The first validated epoch is the best one and writes a model."""
    settings = spec.task.settings.training
    draw = np.random.default_rng([int(spec.trial_id[1:]), epoch]).random
    metrics = {"train/loss": draw(), **{f"train/loss/{branch}": draw() for branch in BRANCHES}}
    if epoch % settings.validate_every and epoch != settings.epochs:
        return metrics
    if epoch == settings.validate_every:
        write_model(spec.folder, epoch)
    level = float(np.random.default_rng(int(spec.trial_id[1:])).random())
    return {**metrics, OBJECTIVE: level + 1e-4 * epoch, **{name: draw() for name in VALIDATED}}


def costless_trial(spec: TrialSpec, on_epoch: OnEpoch) -> None:
    """Report all epochs without training. Replaces `study.trials.trial.run_trial` in a Ray worker."""
    waited_ms = 0.0
    for epoch in range(1, spec.task.settings.training.epochs + 1):
        metrics = {**epoch_of(spec, epoch), WAITED: waited_ms}
        began = time.perf_counter()
        on_epoch(EpochReport(epoch, 0.0, metrics))
        waited_ms = (time.perf_counter() - began) * 1e3


def plainly(search: ArmSearch, recorder: ArmRecorder) -> None:
    """Run a search without Ray: two concurrent trials, epoch by epoch in turn, in this thread."""
    run_to_end(search, recorder, 2, epoch_of)

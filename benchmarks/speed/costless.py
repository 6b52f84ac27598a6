"""An arm of the shipped joint search whose training costs nothing, so that what is left is what a study costs.

Everything else is real: the ledger on disk, TPE, early stopping, the recorder with its outbox, MLflow in SQLite, models
frozen and logged, and Ray Tune. An objective is a number drawn by the trial's id: whatever is suggested, early stopping
halves the trials in the same way early and late in a study, so that late trials are like early ones.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))

from simulation import run_to_end, write_model

from study.planning.plan import Resources
from study.question.space_file import load_spaces
from study.search.arm_search import ArmSearch
from study.search.progress import ArmProgress, StudyProgress
from study.search.recorder import ArmRecorder
from study.search.tune_search import search_arm
from study.search.work import Drawn, SearchWork
from study.store_layout import OBJECTIVE
from study.tracking.outbox import Outbox
from study.tracking.tracker import StudyTracker
from study.trials.ledger import Event, Ledger
from study.trials.outcome import TrialOutcome
from study.trials.trial import ArmTask, TrialProgress, TrialSpec

ARM = "joint-25"
(SPACE,) = load_spaces(("joint",), None)
SETTINGS = SPACE.settings_of("joint")
BRANCHES = ("registration", "cine_segmentation", "lge_segmentation")
PARTS = ("lv", "myo", "rv")
Drive = Callable[[ArmSearch, ArmRecorder], None]
WAITED = "waited_ms"
"""Metric: for how long the worker's report of the epoch before held up the training."""
VALIDATED = (
    *(f"train/gradient/{branch}" for branch in BRANCHES),
    *(f"val/{name}/{part}" for name in ("asd_mm", "dice", "dice_cine", "dice_lge") for part in PARTS),
    *(f"val/cd_mm/{part}" for part in ("lv", "rv")),
    "val/lost",
)
"""Metrics of a validated epoch, beside its losses and its objective: as many as a joint training has."""


def epoch_of(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """Train an epoch: nothing but its metrics; the best is the first that validates, and leaves a model."""
    settings = spec.task.settings.training
    draw = np.random.default_rng([int(spec.trial_id[1:]), epoch]).random
    metrics = {"train/loss": draw(), **{f"train/loss/{branch}": draw() for branch in BRANCHES}}
    if epoch % settings.validate_every and epoch != settings.epochs:
        return metrics
    if epoch == settings.validate_every:
        write_model(spec.folder, epoch)
    level = float(np.random.default_rng(int(spec.trial_id[1:])).random())
    return {**metrics, OBJECTIVE: level + 1e-4 * epoch, **{name: draw() for name in VALIDATED}}


def costless_trial(spec: TrialSpec, on_epoch: Callable[[TrialProgress], None]) -> None:
    """Stand in for `study.trials.trial.run_trial`, in a worker of Ray's."""
    waited_ms = 0.0
    for epoch in range(1, spec.task.settings.training.epochs + 1):
        metrics = {**epoch_of(spec, epoch), WAITED: waited_ms}
        began = time.perf_counter()
        on_epoch(TrialProgress(epoch, 0.0, metrics, None, 0))
        waited_ms = (time.perf_counter() - began) * 1e3


class Watched(Ledger):
    """A ledger that notes the course of the study: a row whenever a trial ends."""

    def __init__(self, folder: Path, parts: Callable[[], dict[str, float]]) -> None:
        super().__init__(folder)
        self.course: list[dict[str, float]] = []
        self._parts, self._began, self._epochs = parts, time.perf_counter(), 0

    def append(self, kind: str, **values: Any) -> Event:
        """Append, and note."""
        event = super().append(kind, **values)
        self._epochs += kind == "epoch"
        if kind == "ended":
            seconds = time.perf_counter() - self._began
            self.course.append({"seconds": seconds, "epochs": self._epochs, "memory": resident_mb(), **self._parts()})
        return event


@dataclass(frozen=True)
class TimedWork(SearchWork):
    """The trials of a search, and the seconds that suggesting them took, in a list of one."""

    spent: list[float] = field(default_factory=lambda: [0.0])

    def draw(self, number: int, known: Iterable[TrialOutcome]) -> Drawn:
        """Draw, and note."""
        began = time.perf_counter()
        drawn = super().draw(number, known)
        self.spent[0] += time.perf_counter() - began
        return drawn


class AtOnce:
    """An outbox that delivers when it is given something, so that its seconds can be told from the others."""

    def __init__(self) -> None:
        self.spent = 0.0

    def put(self, deed: Callable[[], Any]) -> None:
        """Deliver."""
        began = time.perf_counter()
        deed()
        self.spent += time.perf_counter() - began


class TimedOutbox(Outbox):
    """The study's outbox, and the CPU seconds of its thread."""

    @cached_property
    def _clock(self) -> int:
        return time.pthread_getcpuclockid(self._thread.ident or 0)

    @property
    def spent(self) -> float:
        """CPU seconds by now."""
        return time.clock_gettime(self._clock)


def run_study(folder: Path, trials: int, drive: Drive, outbox: AtOnce | TimedOutbox) -> list[dict[str, float]]:
    """Search the arm in a folder of its own by a driver.

    Returns:
        A row for each trial that ended: `seconds` since the start, `epochs` reported, `memory` in MB, seconds spent on
        `suggesting` and on `delivering` to the tracking store.
    """
    task = ArmTask(ARM, SETTINGS, (), (), 0, "cpu", 1, folder / "study" / ARM)
    work = TimedWork(ARM, SPACE.parameters_of("joint"), SPACE.fidelity, trials, 0)
    row = ArmProgress(ARM, trials, trials * SPACE.fidelity.max_epochs, 60)
    progress = StudyProgress({ARM: row}, 0, Console(file=io.StringIO()))
    tracker = StudyTracker(f"sqlite:///{folder}/mlflow.db", "growth", {})
    tracker.arm_run({"arm": ARM})

    def parts() -> dict[str, float]:
        return {"suggesting": work.spent[0], "delivering": outbox.spent}

    with Watched(folder / "study", parts) as ledger:
        recorder = ArmRecorder(task, {"arm": ARM}, ledger, tracker, outbox, progress)  # type: ignore[arg-type]
        drive(ArmSearch(work, recorder, 2), recorder)
        return ledger.course


def plainly(search: ArmSearch, recorder: ArmRecorder) -> None:
    """Drive without Ray: two trials at once, in turn, in this thread."""
    run_to_end(search, recorder, 2, epoch_of)


def by_ray(folder: Path) -> Drive:
    """Give the driver that a study has; Ray runs."""

    def drive(search: ArmSearch, recorder: ArmRecorder) -> None:
        search_arm(recorder.task, search, Resources(2, 1.0, 0.0, "cpu"), folder / "tune", None, costless_trial)

    return drive


def resident_mb() -> float:
    """Give this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

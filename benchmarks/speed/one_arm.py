"""Runs one arm of the shipped joint search as a study does, and records measurements for a benchmark.

The ledger on disk, TPE, early stopping, the recorder with its outbox, MLflow, the freezing and logging of models, and
Ray Tune are those of a study. The caller chooses the training that runs in the workers.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from jointnet.data.cache import CachedPatient
from jointnet.settings import with_values
from study.plan.plan import Resources
from study.plan.search_file import load_spaces
from study.plan.search_space import Fidelity, SearchSpace
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.ledger import Event, Ledger
from study.trials.outcome import TrialOutcome
from study.trials.progress import ArmProgress, StudyProgress
from study.trials.ray_tune import search_arm
from study.trials.recorder import ArmRecorder
from study.trials.sampling import Drawn, SearchWork
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask, RunTrial

ARM = "joint-25"
AT_ONCE = 2
SPACE: SearchSpace = load_spaces(("joint",), None)[0]
VALIDATE_EVERY = 2
"""Epochs between two validations. It replaces the search space's value, so that runs stay comparable."""

Drive = Callable[[ArmSearch, ArmRecorder], None]
Course = list[dict[str, float]]


def arm_task(
    folder: Path, epochs: int, training: Sequence[CachedPatient], validation: Sequence[CachedPatient]
) -> ArmTask:
    """Return the common input of the arm's trials, with one thread each."""
    settings = with_values(
        SPACE.settings_of("joint"), {"training.epochs": epochs, "training.validate_every": VALIDATE_EVERY}
    )
    return ArmTask(ARM, settings, tuple(training), tuple(validation), 0, "cpu", 1, folder / "study" / ARM)


class Watched(Ledger):
    """A ledger that adds a row of measurements whenever a trial ends."""

    def __init__(self, folder: Path, parts: Callable[[], dict[str, float]]) -> None:
        super().__init__(folder)
        self.course: list[dict[str, float]] = []
        self._parts, self._began, self._epochs = parts, time.perf_counter(), 0

    def append(self, kind: str, **values: Any) -> Event:
        """Append an event, and a row where a trial ended."""
        event = super().append(kind, **values)
        self._epochs += kind == "epoch"
        if kind == "ended":
            seconds = time.perf_counter() - self._began
            self.course.append({"seconds": seconds, "epochs": self._epochs, "memory": resident_mb(), **self._parts()})
        return event


@dataclass(frozen=True)
class TimedWork(SearchWork):
    """The trials of a search, and the seconds of all suggestions in a list with one element."""

    spent: list[float] = field(default_factory=lambda: [0.0])

    def draw(self, number: int, others: Iterable[TrialOutcome]) -> Drawn:
        """Draw a trial and add its seconds."""
        began = time.perf_counter()
        drawn = super().draw(number, others)
        self.spent[0] += time.perf_counter() - began
        return drawn


class ImmediateOutbox:
    """An outbox that delivers at once in the caller's thread, so that its seconds can be measured separately."""

    def __init__(self) -> None:
        self.spent = 0.0

    def put(self, deed: Callable[[], Any], side: str = "") -> None:
        """Deliver at once and add the seconds."""
        began = time.perf_counter()
        deed()
        self.spent += time.perf_counter() - began


class TimedOutbox(Outbox):
    """The study's outbox with the CPU seconds of its thread. Its messages go to stderr."""

    def __init__(self, permanent: Callable[[Exception], bool] = is_permanent) -> None:
        super().__init__(lambda text: print(text, file=sys.stderr), permanent)

    @cached_property
    def _clock(self) -> int:
        return time.pthread_getcpuclockid(self._thread.ident or 0)

    @property
    def spent(self) -> float:
        """The CPU seconds of the outbox's thread so far."""
        return time.clock_gettime(self._clock)


def run_study(
    task: ArmTask,
    trials: int,
    fidelity: Fidelity,
    drive: Drive,
    outbox: ImmediateOutbox | TimedOutbox,
    uri: str,
    also: Callable[[], dict[str, float]] = dict,
    at_once: int = AT_ONCE,
) -> Course:
    """Search the arm with a driver.

    Args:
        task: see `arm_task`.
        trials: number of trials.
        fidelity: epochs and early stopping.
        drive: function that runs the search to its end: the result of `by_ray`, or another.
        outbox: delivers to the tracking store.
        uri: address of the tracking store.
        also: function that returns further measurements.
        at_once: largest number of concurrent trials.

    Returns:
        A row for each ended trial: `seconds` since the start, `epochs` reported, `memory` in MB, seconds spent on
        `suggesting` and on `delivering` to the tracking store.
    """
    work = TimedWork(ARM, SPACE.parameters_of("joint"), fidelity, trials, 0)
    row = ArmProgress(ARM, trials, trials * fidelity.max_epochs, 60)
    progress = StudyProgress({ARM: row}, 0, Console(file=io.StringIO()))
    tracker = StudyTracker(uri, "benchmark", {})

    def parts() -> dict[str, float]:
        return {"suggesting": work.spent[0], "delivering": outbox.spent, **also()}

    with Watched(task.folder.parent, parts) as ledger:
        outbox.put(tracker.study_run)
        recorder = ArmRecorder(task, {"arm": ARM}, ledger, tracker, outbox, progress)  # type: ignore[arg-type]
        drive(ArmSearch(work, recorder, at_once), recorder)
        return ledger.course


def by_ray(run: RunTrial) -> Drive:
    """Return the driver of a study, with this training in the workers. Ray must have been started.

    The number of concurrent trials is the search's own limit, see `run_study`.
    """

    def drive(search: ArmSearch, recorder: ArmRecorder) -> None:
        storage = recorder.task.folder.parent / "tune"
        search_arm(recorder.task, search, Resources(AT_ONCE, 1.0, 0.0, "cpu"), storage, None, run)

    return drive


def resident_mb() -> float:
    """Return this process's resident memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

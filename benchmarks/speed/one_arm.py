"""One arm of the shipped joint search, studied as a study does it, with what a benchmark wants to know noted.

The ledger on disk, TPE, early stopping, the recorder with its outbox, MLflow, models frozen and logged, and Ray Tune
are the real ones; which training runs in the workers is the caller's choice.
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

from jointnet.scans.cache import CachedPatient
from jointnet.settings import with_values
from study.planning.plan import Resources
from study.question.space import Fidelity, SearchSpace
from study.question.space_file import load_spaces
from study.search.arm_search import ArmSearch
from study.search.progress import ArmProgress, StudyProgress
from study.search.recorder import ArmRecorder
from study.search.tune_search import search_arm
from study.search.work import Drawn, SearchWork
from study.tracking.outbox import Outbox
from study.tracking.tracker import StudyTracker, refused
from study.trials.ledger import Event, Ledger
from study.trials.outcome import TrialOutcome
from study.trials.trial import ArmTask
from study.trials.worker import RunTrial

ARM = "joint-25"
AT_ONCE = 2
SPACE: SearchSpace = load_spaces(("joint",), None)[0]
VALIDATE_EVERY = 2
"""Epochs between two validations, whatever the search space says, so that earlier runs compare."""

Drive = Callable[[ArmSearch, ArmRecorder], None]
Course = list[dict[str, float]]


def arm_task(
    folder: Path, epochs: int, training: Sequence[CachedPatient], validation: Sequence[CachedPatient]
) -> ArmTask:
    """Give what the trials of the arm share, one thread each."""
    settings = with_values(
        SPACE.settings_of("joint"), {"training.epochs": epochs, "training.validate_every": VALIDATE_EVERY}
    )
    return ArmTask(ARM, settings, tuple(training), tuple(validation), 0, "cpu", 1, folder / "study" / ARM)


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


class ImmediateOutbox:
    """An outbox that delivers when it is given something, so that its seconds can be told from the others."""

    def __init__(self) -> None:
        self.spent = 0.0

    def put(self, deed: Callable[[], Any], side: str = "") -> None:
        """Deliver."""
        began = time.perf_counter()
        deed()
        self.spent += time.perf_counter() - began


class TimedOutbox(Outbox):
    """The study's outbox, and the CPU seconds of its thread; what it has to say goes to stderr."""

    def __init__(self, refused: Callable[[Exception], bool] = refused) -> None:
        super().__init__(lambda text: print(text, file=sys.stderr), refused)

    @cached_property
    def _clock(self) -> int:
        return time.pthread_getcpuclockid(self._thread.ident or 0)

    @property
    def spent(self) -> float:
        """CPU seconds by now."""
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
    """Search the arm by a driver.

    Args:
        task: see `arm_task`.
        trials: to be run.
        fidelity: epochs and early stopping.
        drive: `by_ray`, or another that asks the search what to run until there is nothing left.
        outbox: delivers to the tracking store.
        uri: of the tracking store.
        also: what else is to be noted.
        at_once: most trials at once.

    Returns:
        A row for each trial that ended: `seconds` since the start, `epochs` reported, `memory` in MB, seconds spent on
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
    """Give the driver that a study has, with this training in the workers; Ray runs.

    How many train at once is the search's own limit, see `run_study`.
    """

    def drive(search: ArmSearch, recorder: ArmRecorder) -> None:
        storage = recorder.task.folder.parent / "tune"
        search_arm(recorder.task, search, Resources(AT_ONCE, 1.0, 0.0, "cpu"), storage, None, run)

    return drive


def resident_mb() -> float:
    """Give this process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

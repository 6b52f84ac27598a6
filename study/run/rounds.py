"""The session of a driver, and the rounds of trainings that it runs one after the other on one instance of Ray.

A round is the trials of an arm's search, or the retrainings of its winner.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from study.machines.cluster import ray_session
from study.machines.slots import SECONDS_BETWEEN_LOOKS, ClusterSlots
from study.plan.identity import SPECIFICATION_FILE
from study.plan.plan import Arm, Plan
from study.run.stopping import StudyHaltedError, graceful_first_signal, interrupt_on_signals
from study.run.study_recorder import StudyRecorder, arm_tags
from study.store_address import error_text
from study.store_names import INTERRUPTED
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker
from study.trials.ledger import Ledger
from study.trials.progress import StudyProgress
from study.trials.ray_tune import run_round
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch
from study.trials.through_ray import FilesThroughRay, PatientStore
from study.trials.trial import ArmTask
from study.trials.trial_files import SharedFolderFiles, TrialFiles

SECONDS_TO_DELIVER = 120.0
"""Longest wait for one write to the tracking store, before the test patients are opened and at the end."""


@dataclass(frozen=True)
class Session:
    """The objects that one driver uses while it runs a study.

    Attributes:
        plan: the plan of the study.
        ledger: the events so far, of this driver and earlier ones.
        tracker: writes to the tracking store; called through the outbox only.
        outbox: queue of writes to the tracking store.
        recorder: writes the study and its arms to the tracking store.
        progress: shows the progress in the terminal.
    """

    plan: Plan
    ledger: Ledger
    tracker: StudyTracker
    outbox: Outbox
    recorder: StudyRecorder
    progress: StudyProgress

    def halted_by_store(self, consequence: str = "") -> StudyHaltedError:
        """Return the error of a study with entries that wait for the tracking store. Its cause is the store's error."""
        error = self.outbox.error
        reason = f"took more than {SECONDS_TO_DELIVER:g} s for an entry"
        if error is not None:
            reason = f"is unavailable ({error_text(error)})"
        halted = StudyHaltedError(f"the tracking store {reason}{consequence}", by_user=False)
        halted.__cause__ = error
        return halted

    def arm_recorder(self, arm: Arm, task: ArmTask, retrains: str = "") -> ArmRecorder:
        """Create the recorder of an arm's trials, or of the retrainings of the trial `retrains`."""
        row = retrain_row(arm) if retrains else arm.key
        return ArmRecorder(
            task, arm_tags(arm), self.ledger, self.tracker, self.outbox, self.progress, row=row, retrains=retrains
        )


def retrain_row(arm: Arm) -> str:
    """Return the name of the progress row of an arm's retrainings."""
    return f"{arm.key} seeds"


class Rounds:
    """Runs rounds of trainings. Use as a context manager: Ray starts when it is first needed and stops on exit."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stack = ExitStack()
        self._started = False
        self._files: TrialFiles = SharedFolderFiles()
        self._patients = PatientStore()
        self._slots: ClusterSlots | None = None

    def __enter__(self) -> "Rounds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop Ray, or leave its cluster, if `start_ray` was called."""
        self._stack.close()

    def start_ray(self) -> None:
        """Start Ray, or join its cluster, unless that was done already."""
        plan, progress = self._session.plan, self._session.progress
        if not self._started:
            progress.phase("starting Ray")
            self._stack.enter_context(ray_session(plan.address))
            interrupt_on_signals()
            self._files = _trial_files(plan)
            self._started = True
            if plan.address is not None:
                self._slots = ClusterSlots(plan.resources, plan.wait_minutes, progress.phase)
                self._stack.callback(self._slots.close)

    def wait(self, search: ArmSearch) -> None:
        """Wait until a node is there that a trial of the search fits on. The minutes of the search do not count yet.

        Raises:
            StudyHaltedError: none came in time.
        """
        while self._slots is not None and search.work_left():
            self._follow(search)
            check_halted(search)
            if search.slots:
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def run(self, search: ArmSearch, task: ArmTask, seconds: float | None) -> None:
        """Run the trainings of a round until none is left or the time is over. After Ctrl+C they finish their epoch."""
        plan = self._session.plan
        sent = self._patients.sent(task) if plan.transfer.through_ray else task
        with graceful_first_signal(lambda: self._stop_gently(search)):
            run_round(
                sent,
                search,
                plan.resources,
                plan.folder / "tune",
                seconds,
                files=self._files,
                follow=lambda: self._follow(search),
                nodes_may_leave=plan.autoscaler is not None,
            )

    def _follow(self, search: ArmSearch) -> None:
        """Set the number of trials that fit on the nodes now, and end the search where no node came in time."""
        if self._slots is not None:
            search.slots = self._slots.look(search.wanted, search.gpus)
            if self._slots.overdue and not search.halted:
                search.strand(self._slots.overdue)

    def _stop_gently(self, search: ArmSearch) -> None:
        search.halt(INTERRUPTED)
        self._session.progress.note("Interrupted: running trainings finish their epoch. Ctrl+C again stops them now.")


def _trial_files(plan: Plan) -> TrialFiles:
    """Return what gives the trials their folders: through Ray, or in place, which late nodes must see on a cluster."""
    if plan.transfer.through_ray:
        return FilesThroughRay(plan.folder)
    return SharedFolderFiles((plan.folder / SPECIFICATION_FILE, plan.cache) if plan.address else ())


def check_halted(search: ArmSearch) -> None:
    """Raise an error if a round was halted.

    Raises:
        StudyHaltedError: the round was interrupted, the disk is full, or no node came in time.
    """
    if search.halted:
        raise StudyHaltedError(search.halted, by_user=not search.by_error) from search.error

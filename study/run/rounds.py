"""Runs rounds of trainings one after the other on one instance of Ray.

A round is the trials of an arm's search, or the retrainings of its winner.
"""

from contextlib import ExitStack
from types import TracebackType

from study.machines.cluster import ray_session
from study.run.interruption import StudyHaltedError, first_gently, heed_signals
from study.run.session import Session
from study.store_names import INTERRUPTED
from study.trials.ray_tune import search_arm
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask


class Rounds:
    """Runs rounds of trainings. Use as a context manager: Ray starts when it is first needed and stops on exit."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stack = ExitStack()
        self._started = False

    def __enter__(self) -> "Rounds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop Ray, or leave its cluster, if `ready` was called."""
        self._stack.close()

    def ready(self) -> None:
        """Start Ray, or join its cluster, unless that was done already."""
        if not self._started:
            self._session.progress.phase("starting Ray")
            self._stack.enter_context(ray_session(self._session.plan.address))
            heed_signals()
            self._started = True

    def run(self, search: ArmSearch, task: ArmTask, seconds: float | None) -> None:
        """Run the trainings of a round until none is left or the time is over. After Ctrl+C they finish their epoch."""
        plan = self._session.plan
        with first_gently(lambda: self._stop_gently(search)):
            search_arm(task, search, plan.resources, plan.folder / "tune", seconds)

    def _stop_gently(self, search: ArmSearch) -> None:
        search.halt(INTERRUPTED)
        self._session.progress.note("Interrupted: running trainings finish their epoch. Once more stops them at once.")


def check_halted(search: ArmSearch) -> None:
    """Raise an error if a round was halted.

    Raises:
        StudyHaltedError: the round was interrupted, or the disk is full.
    """
    if search.halted:
        raise StudyHaltedError(search.halted, by_user=not search.disk_error) from search.error

"""How a command stops: signals that interrupt it, and the exit status and message of each error.

During a search, the first signal lets running trials finish their epoch, and the second stops everything at once. At
any other time the first signal stops the command. SIGTERM from a batch system and SIGHUP from a closed terminal have
the same effect as Ctrl+C.

Exit statuses are decided here only. A batch script may repeat the command after a status in RESUMABLE. A permanent
error has another status.
"""

import errno
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from jointnet.errors import DISK_FULL, EXIT_USAGE, InputError
from jointnet.system.commands import EXIT_INTERRUPTED
from jointnet.system.home import nearest_folder
from study.search.outcome import NoFinishedTrialError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl+C; the signal of a batch system before it kills; the signal of a closed terminal or lost ssh connection."""
EXIT_NO_FINISHED_TRIAL = 4
EXIT_HALTED = 5
RESUMABLE = (EXIT_HALTED, EXIT_INTERRUPTED)
"""Statuses after which repeating the command resumes the study."""
PERMANENT = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "EINVAL"),
        *("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK", "EFBIG"),
    )
    if hasattr(errno, name)
)
"""Permanent errors of the operating system: permissions, names, and operations that a file system does not support.

A full disk, a lost connection or a temporarily missing file are not among them.
"""
FULL_BYTES = 20 * 10**6
"""A disk with less free space counts as full. This is less than one checkpoint."""


class StudyHaltedError(Exception):
    """The study stopped before its end. Nothing is lost, and the same command resumes it.

    Attributes:
        by_user: whether the user stopped it; otherwise the disk or the tracking store failed, or no node came.
    """

    def __init__(self, reason: str, *, by_user: bool) -> None:
        super().__init__(reason)
        self.by_user = by_user


FAILURES = (InputError, NoFinishedTrialError, StudyHaltedError, KeyboardInterrupt, OSError)
"""Exceptions that end a command without a traceback."""


@dataclass(frozen=True)
class Ending:
    """An exit status and the lines for standard error."""

    status: int
    lines: tuple[str, ...]

    @property
    def resumable(self) -> bool:
        """Whether repeating the command may succeed without fixing anything first."""
        return self.status in RESUMABLE


def ending_of(error: BaseException) -> Ending:
    """Return exit status and message for an exception, which must be one of FAILURES."""
    if isinstance(error, InputError):
        return Ending(error.exit_status, error.errors)
    if isinstance(error, NoFinishedTrialError):
        return Ending(EXIT_NO_FINISHED_TRIAL, (str(error),))
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, StudyHaltedError) and error.by_user):
        return Ending(EXIT_INTERRUPTED, ("Interrupted.",))
    begun = isinstance(error, StudyHaltedError)
    cause = error.__cause__ if begun else error
    number = cause.errno if isinstance(cause, OSError) else None
    if number in DISK_FULL or (begun and number not in PERMANENT):
        return Ending(EXIT_HALTED, (f"Stopped: {error}.",))
    advice = ". Once this is fixed, the same command resumes the study." if begun else ""
    return Ending(EXIT_USAGE, (f"error: {error}{advice}",))


def full_disks(folders: Iterable[Path]) -> list[str]:
    """Return a line for each folder whose disk is full. The operating system's error often does not name it."""
    lines = dict[Path, str]()
    for each in folders:
        with suppress(OSError):  # a disk that is not mounted
            folder = nearest_folder(each.absolute())
            free = shutil.disk_usage(folder).free
            if free < FULL_BYTES:
                lines[folder] = f"{folder}: its disk is full, {free / 1e6:.0f} MB are free."
    return list(lines.values())


def interrupt_on_signals() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does. Ray replaces the SIGTERM handler on start."""
    if threading.current_thread() is threading.main_thread():  # Python handles signals in the main thread only
        for number in set(_handled_signals()) - {signal.SIGINT}:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def graceful_first_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Within the context, call `stop` on the first signal and raise KeyboardInterrupt on the second."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    received = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            raise KeyboardInterrupt
        stop()

    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in _handled_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled_signals() -> list[signal.Signals]:
    """Return SIGNALS, without SIGHUP if it is ignored on purpose, as under `nohup`."""
    return [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]

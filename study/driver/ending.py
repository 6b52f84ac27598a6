"""How a command ends that cannot finish: its exit status, what it says, and whether the same command may go on.

This is the only place that decides it. A batch script may repeat the command after GOES_ON; whatever would end every
further try the same way has another status.
"""

import errno
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jointnet.faults import DISK_FULL, EXIT_USAGE, InputFaultError
from jointnet.home import nearest_folder
from study.driver.interruption import StudyHaltedError
from study.testing.selection import NoFinishedTrialError

EXIT_NO_FINISHED_TRIAL = 4
EXIT_HALTED = 5
EXIT_INTERRUPTED = 130
GOES_ON = (EXIT_HALTED, EXIT_INTERRUPTED)
"""Statuses after which the same command goes on by itself."""
PERMANENT = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENAMETOOLONG", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "EINVAL"),
        *("ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK", "EFBIG"),
    )
    if hasattr(errno, name)
)
"""The operating system's errors that no waiting mends: rights, names, and what a file system cannot do.

A full disk, a lost connection or a file that is away for now are none of them.
"""
FULL_BYTES = 20 * 10**6
"""A disk with less left is called full: less than one checkpoint."""
FAILURES = (InputFaultError, NoFinishedTrialError, StudyHaltedError, KeyboardInterrupt, OSError)
"""Exceptions that end a command without a traceback."""


@dataclass(frozen=True)
class Ending:
    """An exit status, the lines for standard error, and whether the same command goes on."""

    status: int
    lines: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Whether repeating the command makes sense without anybody mending something first."""
        return self.status in GOES_ON


def ending_of(error: BaseException) -> Ending:
    """Return how a command ends that this exception left; it must be one of FAILURES."""
    if isinstance(error, InputFaultError):
        return Ending(error.exit_status, error.faults)
    if isinstance(error, NoFinishedTrialError):
        return Ending(EXIT_NO_FINISHED_TRIAL, (str(error),))
    if isinstance(error, KeyboardInterrupt) or (isinstance(error, StudyHaltedError) and error.by_user):
        return Ending(EXIT_INTERRUPTED, ("Interrupted.",))
    begun = isinstance(error, StudyHaltedError)
    cause = error.__cause__ if begun else error
    number = cause.errno if isinstance(cause, OSError) else None
    if number in DISK_FULL or (begun and number not in PERMANENT):
        return Ending(EXIT_HALTED, (f"Stopped: {error}.",))
    goes_on = ". Once this is mended, the same command goes on." if begun else ""
    return Ending(EXIT_USAGE, (f"error: {error}{goes_on}",))


def full_disks(folders: Iterable[Path]) -> list[str]:
    """Return a line for each folder whose disk is full: an error of the operating system often names none."""
    found = dict[Path, str]()
    for each in folders:
        with suppress(OSError):  # a disk that is away
            folder = nearest_folder(each.absolute())
            free = shutil.disk_usage(folder).free
            if free < FULL_BYTES:
                found[folder] = f"{folder}: its disk is full, {free / 1e6:.0f} MB are free."
    return list(found.values())

"""Exit status and error message of a command that fails or is interrupted.

Only this module decides them. A batch script may repeat the command after a status in GOES_ON. A permanent error has
another status.
"""

import errno
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jointnet.errors import DISK_FULL, EXIT_USAGE, InputError
from jointnet.system.home import nearest_folder
from study.run.interruption import StudyHaltedError
from study.selection.best_trial import NoFinishedTrialError

EXIT_NO_FINISHED_TRIAL = 4
EXIT_HALTED = 5
EXIT_INTERRUPTED = 130
GOES_ON = (EXIT_HALTED, EXIT_INTERRUPTED)
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
FAILURES = (InputError, NoFinishedTrialError, StudyHaltedError, KeyboardInterrupt, OSError)
"""Exceptions that end a command without a traceback."""


@dataclass(frozen=True)
class Ending:
    """An exit status and the lines for standard error."""

    status: int
    lines: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Whether repeating the command may succeed without fixing anything first."""
        return self.status in GOES_ON


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
    goes_on = ". Once this is mended, the same command goes on." if begun else ""
    return Ending(EXIT_USAGE, (f"error: {error}{goes_on}",))


def full_disks(folders: Iterable[Path]) -> list[str]:
    """Return a line for each folder whose disk is full. The operating system's error often does not name it."""
    found = dict[Path, str]()
    for each in folders:
        with suppress(OSError):  # a disk that is not mounted
            folder = nearest_folder(each.absolute())
            free = shutil.disk_usage(folder).free
            if free < FULL_BYTES:
                found[folder] = f"{folder}: its disk is full, {free / 1e6:.0f} MB are free."
    return list(found.values())

"""Exceptions for invalid input. Each lists all errors found, not only the first."""

import errno
from collections.abc import Iterable

EXIT_USAGE = 2
"""Exit status of a command with invalid arguments, settings or search space."""
EXIT_DATA = 3
"""Exit status of a command with invalid scans or labels."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Operating system error numbers of a full disk or an exceeded disk quota."""
MAX_REPR_LENGTH = 120
"""Largest number of characters of a received value that a message shows."""


class InputError(Exception):
    """Invalid input.

    Each message is one sentence that names the file or argument, the rule and the value received.
    """

    exit_status = EXIT_USAGE

    def __init__(self, errors: str | Iterable[str]) -> None:
        self.errors: tuple[str, ...] = (errors,) if isinstance(errors, str) else tuple(errors)
        super().__init__("\n".join(self.errors))


class DataError(InputError):
    """Invalid scans or labels."""

    exit_status = EXIT_DATA


class SettingsError(InputError):
    """Invalid settings, search space or command-line values."""


class TrainingDivergedError(RuntimeError):
    """The loss became NaN or infinite."""


def short_repr(value: object) -> str:
    """Return the value's `repr` for a message, cut to `MAX_REPR_LENGTH` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or hundreds of nested tables
        text = f"{type(value).__name__} that is too long to show"
    return text if len(text) <= MAX_REPR_LENGTH else f"{text[:MAX_REPR_LENGTH]}..."

"""One exception for input that breaks a rule: it carries every fault found, not only the first."""

import errno
from collections.abc import Iterable

EXIT_USAGE = 2
"""Exit status of a command whose arguments, settings or search space break a rule."""
EXIT_DATA = 3
"""Exit status of a command whose scans or labels break a rule."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the operating system's errors that end once there is room again."""
LONGEST_SHOWN = 120
"""Characters of a received value that a fault repeats."""


class InputFaultError(Exception):
    """Input that breaks at least one rule.

    Each fault is one sentence that names the file or argument, the rule and the value received.
    """

    exit_status = EXIT_USAGE

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class DataFaultError(InputFaultError):
    """Scans or labels that break a rule."""

    exit_status = EXIT_DATA


class SettingsFaultError(InputFaultError):
    """Settings, a search space or command-line values that break a rule."""


def shown(value: object) -> str:
    """Give a value as a fault repeats it: as Python writes it, without control characters, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or hundreds of tables
        text = f"{type(value).__name__} that is too long to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."

"""Functions shared by the commands of `jointnet`: error handling, memory and thread limits, patient lists."""

import sys
from collections.abc import Callable

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.errors import EXIT_USAGE, InputError, SettingsError, short_repr
from jointnet.system.quota import limit_threads
from jointnet.system.terminal import ignore_closed_output

LARGEST_SEED = 2**31 - 1
"""Largest seed that all random number generators accept."""
LONGEST_NUMBER = 7
EXIT_INTERRUPTED = 130


def run_command(command: Callable[[], None]) -> int:
    """Run a command and return its exit status.

    Errors are printed to standard error, one per line, without a traceback. The status is 0 for success, 2 for invalid
    arguments or settings, and 3 for invalid scans or labels. If the reader of the output has gone (a closed pipe), the
    command still completes.
    """
    ignore_closed_output()
    keep_freed_memory()
    limit_threads()
    try:
        command()
    except InputError as error:
        for line in error.errors:
            print(f"error: {line}", file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def forget_interrupt() -> None:
    """Clear CPython's note of a KeyboardInterrupt that was raised in a string of code and has been caught.

    With the note, Python ignores its exit status and ends itself by SIGINT. Libraries run strings of code with `exec`
    while they are imported, and for every named tuple. The note is cleared wherever a string of code is run.
    """
    eval("None")


def parse_patients(text: str, option: str = "--patients") -> tuple[int, ...]:
    """Return the sorted, unique patient numbers of a list such as `1-5,8,12`.

    Raises:
        SettingsError: if the text is not such a list.
    """
    from jointnet.data.folder import LARGEST_PATIENT  # imports nibabel, which --help does not need

    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise SettingsError(f"{option}: must be numbers and ranges such as 1-5,8,12, got {short_repr(text)}")
        if max(len(first), len(last)) > LONGEST_NUMBER or int(last if dash else first) > LARGEST_PATIENT:
            raise SettingsError(f"{option}: must be numbers up to {LARGEST_PATIENT}, got {short_repr(text)}")
        if dash and int(last) < int(first):
            raise SettingsError(f"{option}: must be numbers and ranges such as 1-5,8,12, got {short_repr(text)}")
        numbers.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(numbers))

"""Functions shared by the commands of `jointnet`: error handling, memory and thread limits."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from jointnet.compute.allocator import keep_freed_memory
from jointnet.errors import EXIT_USAGE, InputError
from jointnet.system.quota import limit_threads
from jointnet.system.terminal import ignore_closed_output

LARGEST_SEED = 2**31 - 1
"""Largest seed that all random number generators accept."""
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


def add_dataset_option(group: "argparse._ActionsContainer", more: str = "") -> None:
    """Add the option that names the description of a folder of scans, with `more` at the end of its help."""
    group.add_argument(
        "--dataset",
        type=Path,
        metavar="FILE",
        help="description of the folder (default: its dataset.toml; without one, the layout of MS-CMRSeg 2019)" + more,
    )


def add_code_option(group: "argparse._ActionsContainer") -> None:
    """Add the option that allows a model file to run code outside `jointnet`."""
    group.add_argument(
        "--allow-code",
        nargs="+",
        default=[],
        metavar="CODE",
        help="run these packages or Python files where a model file names them as its network; otherwise none is run",
    )


def forget_interrupt() -> None:
    """Clear CPython's note of a KeyboardInterrupt that was raised in a string of code and has been caught.

    With the note, Python ignores its exit status and ends itself by SIGINT. Libraries run strings of code with `exec`
    while they are imported, and for every named tuple. The note is cleared wherever a string of code is run.
    """
    eval("None")

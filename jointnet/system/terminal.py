"""The name of the command, text in columns, and standard output that drops what cannot be written.

After a reader has ended (`| head`, `| tee` after Ctrl+C), a terminal was closed or the disk of `> log` is full, every
further print fails. This must not end a training. Characters that the stream's encoding lacks, such as in a path that
is not UTF-8, are written as escapes.
"""

import atexit
import errno
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""Error numbers if the reader or the terminal is gone. They are not reported, as nobody reads the output."""


def command_name(module: str) -> str:
    """Return the console script that was called, such as `jointnet-train`, or else `python -m MODULE`."""
    script = Path(sys.argv[0]).name
    return script if script.startswith("jointnet-") else f"python -m {module}"


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text. Each column is as wide as its widest cell; the last cells of a line may lack."""
    widths = [max(map(len, cells)) for cells in zip_longest(*lines, fillvalue="")]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


class DroppingOutput(io.RawIOBase):
    """A raw stream that writes to a file descriptor and drops what cannot be written.

    Attributes:
        lost: the first error; None if everything was written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def write(self, data: "memoryview | bytes", /) -> int:  # type: ignore[override]
        """Write all bytes and return their number. Dropped bytes count as written."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self.lost = self.lost or error
        return len(data)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        return os.isatty(self._descriptor)


def ignore_closed_output() -> None:
    """Replace this process's standard output and error with such streams. Streams that were replaced before are kept.

    If output is lost for any reason other than `NOBODY_READS`, a warning is printed at exit.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the process was started without it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif stream is getattr(sys, f"__{name}__"):
            raw = DroppingOutput(stream.fileno())
            unbuffered: Any = raw
            replacement = io.TextIOWrapper(
                unbuffered if stream.write_through else io.BufferedWriter(unbuffered),  # as Python does with -u
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, replacement)
            atexit.register(_report_loss, replacement, raw)


def print_to_stderr(text: str) -> None:
    """Print a line to standard error. Errors while printing are ignored."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _report_loss(stream: io.TextIOWrapper, raw: DroppingOutput) -> None:
    stream.flush()
    if raw.lost is not None and raw.lost.errno not in NOBODY_READS:
        print(f"warning: output is incomplete, a part could not be written: {raw.lost.strerror}", file=sys.stderr)

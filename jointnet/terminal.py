"""Standard output and standard error that never fail: what cannot be written is left out, and the work goes on.

A reader that went away (`| head`, `| tee` after Ctrl+C), a terminal that was closed and a full disk behind `> log` make
every further print fail. None of them is a reason to end a training. Characters that the stream's encoding lacks, as
in a path that is not UTF-8, are written as escapes.
"""

import atexit
import errno
import io
import os
import sys
from typing import Any

NOBODY_READS = (errno.EPIPE, errno.EIO)
"""The reader or the terminal is gone: nobody misses the rest."""


class DroppingOutput(io.RawIOBase):
    """Writes to a file descriptor and drops what cannot be written.

    Attributes:
        lost: the first error; None as long as all was written.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def write(self, data: "memoryview | bytes", /) -> int:  # type: ignore[override]
        """Write all bytes and return how many; bytes that were dropped count as written."""
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


def keep_printing() -> None:
    """Make this process's standard output and error such streams, once; a stream that somebody replaced is left alone.

    Where a part of the output is lost to anything but a reader that went away, a line says so at the end.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the process was started without it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif stream is getattr(sys, f"__{name}__"):
            raw = DroppingOutput(stream.fileno())
            bare: Any = raw
            lasting = io.TextIOWrapper(
                bare if stream.write_through else io.BufferedWriter(bare),  # as Python itself does it with -u
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, lasting)
            atexit.register(_report_loss, lasting, raw)


def _report_loss(stream: io.TextIOWrapper, raw: DroppingOutput) -> None:
    stream.flush()
    if raw.lost is not None and raw.lost.errno not in NOBODY_READS:
        print(f"warning: output is incomplete, a part could not be written: {raw.lost.strerror}", file=sys.stderr)

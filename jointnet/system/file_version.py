"""Results of reading a file, kept as long as the file does not change.

A version of a file is its device, inode, size and times. The file is opened for them, because network file systems
return current values only then. A file that was changed a moment ago has no version yet, since a further change within
the resolution of its times would not be seen.
"""

import os
import stat
import time
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

SETTLED_SECONDS = 2.0
"""Age of the last change from which on a file has a version: the coarsest resolution of file times, that of FAT."""
MOST_KEPT = 4096
"""Largest number of results that a function keeps, of the files that were read last."""
Result = TypeVar("Result")
Version = tuple[int, ...]


def once_per_version(read: Callable[[Path], Result]) -> Callable[[Path], Result]:
    """Decorate a function of a file, so that it reads each version of a file once in a process.

    Exceptions are not kept. The results are shared, so they must not be modified.
    """

    @lru_cache(maxsize=MOST_KEPT)
    def kept(path: Path, version: Version) -> Result:
        return read(path)

    @wraps(read)
    def current(path: Path) -> Result:
        version = _version(path)
        return read(path) if version is None else kept(path, version)

    return current


def _version(path: Path) -> Version | None:
    """Return the version of a regular file; None if it has none yet, or cannot be opened."""
    try:
        if not path.is_file():
            return None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or time.time() - max(status.st_mtime, status.st_ctime) < SETTLED_SECONDS:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

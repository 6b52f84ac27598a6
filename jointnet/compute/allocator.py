"""Settings of glibc's allocator: the process keeps the memory that a training frees.

By default, glibc returns large blocks to the system as soon as they are freed. A training requests the same blocks at
its next step, and the system zeroes their pages again. On two cores this takes 3 to 10 % of a training step, and a
larger share of a prediction.

Threads other than the main thread share a few memory pools (arenas, eight per core). Memory that one thread freed in an
arena is not available to a thread in another arena. If each training runs in its own thread, as in Ray's workers, pages
are zeroed again for each, and every arena grows to the memory of a training. Such a process must start with `ONE_ARENA`
in its environment. Setting it later has no effect on existing arenas.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_BLOCK = 1 << 30
MOST_KEPT = (1 << 31) - 1
TOP_PAD = 64 << 20
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""Environment variables of a process in which all threads use the main arena."""


def keep_freed_memory() -> bool:
    """Configure glibc to keep the memory that this process frees, and return whether this succeeded.

    With another C library or operating system this does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    choices = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, MOST_KEPT), (M_TOP_PAD, TOP_PAD))
    return all([mallopt(name, value) == 1 for name, value in choices])

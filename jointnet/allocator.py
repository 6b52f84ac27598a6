"""Memory that a training frees stays with the process: without that, every step has the same pages zeroed again.

glibc gives large blocks back to the system as soon as they are free. A training asks for the same blocks at its next
step, and the system zeroes each of their pages anew: on two cores 3 to 10 % of a step, and more of a prediction.

Threads beside the main one take turns at a few pools of memory (arenas, eight for each core), and what a thread leaves
in one is no use to a thread that gets another. Where each training is a thread of its own beside many more, as in Ray's
workers, each has its pages zeroed anew, and every arena ends up with a training's memory. Such a process starts with
`ONE_ARENA` in its environment; set later, it has no effect on the arenas that there are.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_BLOCK = 1 << 30
MOST_KEPT = (1 << 31) - 1
TOP_PAD = 64 << 20
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
"""Environment of a process in which all threads share the main one's memory."""


def keep_freed_memory() -> bool:
    """Have glibc keep what this process frees, from now on; give whether it does (elsewhere nothing happens)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    choices = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, MOST_KEPT), (M_TOP_PAD, TOP_PAD))
    return all([mallopt(name, value) == 1 for name, value in choices])

"""CPUs and memory that this process may use: its affinity, and what its control groups (cgroups) allow.

A container's quota is a limit of its control group. The machine's own counts, which `os.cpu_count` and torch go by, do
not show it. The files are those of https://docs.kernel.org/admin-guide/cgroup-v2.html and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html. A group's parents limit it, too.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

MOUNT = PurePosixPath("/sys/fs/cgroup")
Read = Callable[[str], str | None]
"""Returns the text of a file, None where there is no such file."""


def usable_cpus() -> int:
    """Return the number of whole CPUs that this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return whole_cpus(affinity, cpu_quota(_read))


def usable_memory_bytes() -> int | None:
    """Return the memory of this machine or of this process's control group, the smaller; None where unknown."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
    return min(machine, memory_limit(_read) or machine)


def limit_threads() -> None:
    """Have torch use no more threads than there are usable CPUs, unless `OMP_NUM_THREADS` says how many."""
    if "OMP_NUM_THREADS" in os.environ or cpu_quota(_read) is None:
        return
    import torch  # takes seconds, so only where there is a quota

    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))


def whole_cpus(affinity: int, quota: float | None) -> int:
    """Return the whole CPUs of a quota (in CPUs), at least 1 and at most the CPUs of the affinity."""
    return max(1, min(affinity, math.floor(affinity if quota is None else quota)))


def cpu_quota(read: Read) -> float | None:
    """Return the CPUs that the control groups allow, a fraction perhaps; None where they set no limit."""
    quotas = []
    for folder in _groups(read, "cpu"):
        quota, period = _numbers(read, f"{folder}/cpu.max", 2)
        if quota is None:
            (quota,), (period,) = (_numbers(read, f"{folder}/cpu.cfs_{name}_us", 1) for name in ("quota", "period"))
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(read: Read) -> int | None:
    """Return the bytes of memory that the control groups allow; None where they set no limit."""
    files = ("memory.max", "memory.limit_in_bytes")
    limits = [_numbers(read, f"{folder}/{name}", 1)[0] for folder in _groups(read, "memory") for name in files]
    return min((limit for limit in limits if limit), default=None)


def _groups(read: Read, controller: str) -> Iterator[PurePosixPath]:
    """Yield the folders of this process's groups that have a controller, and those of their parents.

    A container may see its own group as the root, whatever `/proc/self/cgroup` says; the root is among the parents.
    """
    for line in (read("/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        roots = [MOUNT, MOUNT / "unified"] if number == "0" else []
        if controller in controllers.split(","):
            roots = [MOUNT / controllers, MOUNT / controller]
        inner = PurePosixPath(path.strip("/"))
        for root in roots:
            yield from (root / each for each in (inner, *inner.parents))


def _numbers(read: Read, path: str, count: int) -> list[int | None]:
    """Return the whole numbers in a file, None for `max`, `-1` and what is missing."""
    words = (read(path) or "").split()[:count]
    found: list[int | None] = [int(word) if word.isdecimal() else None for word in words]
    return found + [None] * (count - len(found))


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None

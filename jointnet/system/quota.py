"""CPUs and memory that this process may use, from its affinity and the limits of its control groups (cgroups).

The quota of a container is a limit of its control group. `os.cpu_count` and torch ignore it and use the counts of the
machine. The files are documented at https://docs.kernel.org/admin-guide/cgroup-v2.html and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html. Limits of parent groups apply, too.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

MOUNT = PurePosixPath("/sys/fs/cgroup")
Read = Callable[[str], str | None]
"""A function that returns the text of a file, or None if there is no such file."""


def usable_cpus() -> int:
    """Return the number of whole CPUs that this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return whole_cpus(affinity, cpu_quota(_read))


def usable_memory_bytes() -> int | None:
    """Return the smaller of the machine's memory and the limit of the control groups in bytes; None if unknown."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
    return min(machine, memory_limit(_read) or machine)


def limit_threads() -> None:
    """Limit torch to as many threads as there are usable CPUs, unless `OMP_NUM_THREADS` is set."""
    if "OMP_NUM_THREADS" in os.environ or cpu_quota(_read) is None:
        return
    import torch  # takes seconds, so only if there is a quota

    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads within the context. The last digits of predictions depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def whole_cpus(affinity: int, quota: float | None) -> int:
    """Return a CPU quota rounded down, at least 1 and at most the CPUs of the affinity."""
    return max(1, min(affinity, math.floor(affinity if quota is None else quota)))


def cpu_quota(read: Read) -> float | None:
    """Return the number of CPUs that the control groups allow, possibly a fraction; None if unlimited."""
    quotas = []
    for folder in _groups(read, "cpu"):
        quota, period = _numbers(read, f"{folder}/cpu.max", 2)
        if quota is None:
            (quota,), (period,) = (_numbers(read, f"{folder}/cpu.cfs_{name}_us", 1) for name in ("quota", "period"))
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(read: Read) -> int | None:
    """Return the memory that the control groups allow in bytes; None if unlimited."""
    files = ("memory.max", "memory.limit_in_bytes")
    limits = [_numbers(read, f"{folder}/{name}", 1)[0] for folder in _groups(read, "memory") for name in files]
    return min((limit for limit in limits if limit), default=None)


def _groups(read: Read, controller: str) -> Iterator[PurePosixPath]:
    """Yield the folders of this process's groups with a controller, and of their parents up to the root.

    The root is included because a container may see its own group there, whatever path `/proc/self/cgroup` has.
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
    """Return the first `count` integers in a file, with None for `max`, `-1` and missing values."""
    words = (read(path) or "").split()[:count]
    numbers: list[int | None] = [int(word) if word.isdecimal() else None for word in words]
    return numbers + [None] * (count - len(numbers))


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None

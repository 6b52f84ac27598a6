"""Limits of control groups from the contents of their files. Expected values follow the kernel's documentation."""

import pytest

from jointnet.system.quota import cpu_quota, memory_limit, usable_cpus, usable_memory_bytes, whole_cpus

V2 = {"/proc/self/cgroup": "0::/\n"}
V1 = {"/proc/self/cgroup": "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n0::/system\n"}
CPU, MEMORY = "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, None),
        (V2, None),
        ({**V2, "/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({**V2, "/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({**V2, "/sys/fs/cgroup/cpu.max": "250000\n"}, None),  # a file with one word has no quota
        ({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/cpu.max": "400000 100000"}, 4),
        (
            {
                "/proc/self/cgroup": "0::/a/b",
                "/sys/fs/cgroup/a/b/cpu.max": "400000 100000",
                "/sys/fs/cgroup/a/cpu.max": "150000 100000",
            },
            1.5,  # the parent's quota is smaller
        ),
        ({**V1, f"{CPU}/cpu.cfs_quota_us": "-1", f"{CPU}/cpu.cfs_period_us": "100000"}, None),
        (
            {**V1, f"{CPU}/cpu.cfs_quota_us": "200000", f"{CPU}/cpu.cfs_period_us": "100000"},
            2,
        ),  # as seen in a container
        (
            {**V1, f"{CPU}/docker/1f/cpu.cfs_quota_us": "25000", f"{CPU}/docker/1f/cpu.cfs_period_us": "50000"},
            0.5,  # as seen on the machine
        ),
        (
            {
                "/proc/self/cgroup": "1:cpu:/\n0::/\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        ({**V2, "/sys/fs/cgroup/cpu.max": "nonsense 0"}, None),
    ],
)
def test_the_quota_of_cpus(files: dict[str, str], cpus: float | None):
    assert cpu_quota(files.get) == cpus


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({**V2, "/sys/fs/cgroup/memory.max": "max\n"}, None),
        ({**V2, "/sys/fs/cgroup/memory.max": "2147483648\n"}, 2**31),
        ({**V1, f"{MEMORY}/memory.limit_in_bytes": "1073741824\n"}, 2**30),
        ({**V1, f"{MEMORY}/docker/1f/memory.limit_in_bytes": "5", f"{MEMORY}/memory.limit_in_bytes": "9"}, 5),
    ],
)
def test_the_limit_of_memory(files: dict[str, str], limit: int | None):
    assert memory_limit(files.get) == limit


@pytest.mark.parametrize(
    ("affinity", "quota", "cpus"),
    [(8, None, 8), (8, 0.5, 1), (8, 1.9, 1), (8, 4.0, 4), (2, 16.0, 2), (1, 0.01, 1)],
)
def test_whole_cpus(affinity: int, quota: float | None, cpus: int):
    assert whole_cpus(affinity, quota) == cpus


def test_this_machine_has_some_of_each():
    assert usable_cpus() >= 1
    assert usable_memory_bytes() > 2**28

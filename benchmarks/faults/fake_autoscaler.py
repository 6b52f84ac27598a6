"""A Ray cluster of processes on this machine whose autoscaler starts and ends nodes: Ray's fake multi-node provider."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

MARK = "JOINTNET_FAKE_CLUSTER"
EMPTY: dict[str, object] = {
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
    **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
}
"""What a configuration must have, although the provider does not use it."""


@dataclass(frozen=True)
class FakeCluster:
    """A running cluster.

    Attributes:
        address: address of the head.
        environment: environment of a process that joins it.
        log: the autoscaler's log.
    """

    address: str
    environment: dict[str, str]
    log: Path

    def nodes(self) -> int:
        """Return the number of nodes that run, the head not among them."""
        raylets = [process for process in _processes(self.address) if process.name() == "raylet"]
        return len(raylets) - 1


def configuration(gcs_address: str, cpus: int, most: int, idle_minutes: float) -> dict[str, object]:
    """Return the configuration of an autoscaler of at most `most` nodes, and of a head without CPUs."""
    node = {"CPU": cpus, "object_store_memory": 80 * 10**6}
    provider = (
        "use_node_id_as_ip",
        "disable_node_updaters",
        "disable_launch_config_check",
        "foreground_node_launch",
        "launch_multiple",
    )
    return {
        "cluster_name": "fake",
        "max_workers": most,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": idle_minutes,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": gcs_address,
            "worker_liveness_check": False,
            **dict.fromkeys(provider, True),
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": node, "node_config": {}, "min_workers": 0, "max_workers": most},
        },
        "file_mounts_sync_continuously": False,
        **EMPTY,
    }


@contextlib.contextmanager
def fake_cluster(cpus: int = 1, most: int = 1, idle_minutes: float = 0.15) -> Iterator[FakeCluster]:
    """Start a cluster of a head without CPUs, and end all its processes on exit."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"
    folder = Path(tempfile.mkdtemp(prefix="fc", dir="/tmp"))  # short, for Ray's sockets
    (folder / "autoscaler.json").write_text(json.dumps(configuration(address, cpus, most, idle_minutes)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(folder)}
    environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", MARK: address}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    start = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--num-cpus=0",
        "--include-dashboard=false",
    ]
    start += [f"--port={address.rpartition(':')[2]}", f"--autoscaling-config={folder / 'autoscaler.json'}"]
    start += [f"--temp-dir={folder / 'ray'}", "--object-store-memory=80000000"]
    try:
        for last in (False, False, True):  # on a busy machine Ray gives up after 30 s
            done = subprocess.run(start, env=environment, capture_output=True, text=True, timeout=300, check=False)
            if not done.returncode:
                break
            _kill(address)
            if last:
                raise RuntimeError(f"the head did not start: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        yield FakeCluster(address, environment, folder / "ray/session_latest/logs/monitor.log")
    finally:
        _kill(address)
        shutil.rmtree(folder, ignore_errors=True)


def _kill(address: str) -> None:
    """Kill all processes of the cluster at an address."""
    for process in _processes(address):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _processes(address: str) -> list[psutil.Process]:
    """Return the processes of the cluster at an address."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == address:
                found.append(process)
    return found

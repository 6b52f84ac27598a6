"""Nodes of a Ray cluster on this machine that are killed without notice, while others join, as spot machines are."""

import contextlib
import os
import random
import secrets
import time
from typing import Any

import psutil

NODES = 2
TRIES = 4
OBJECT_STORE_BYTES = 80 * 2**20


class SpotNodes:
    """A head without CPUs, and NODES nodes of one CPU that come and go."""

    def __init__(self) -> None:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        from ray.cluster_utils import Cluster  # Ray reads the mode when it is imported

        own = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        self._started = 0
        self._cluster = Cluster()
        self._add(own)
        self._nodes = [self._start() for _ in range(NODES)]
        os.environ["RAY_ADDRESS"] = self._cluster.address

    def replace(self, draw: random.Random) -> str:
        """Kill a node and start another before it, at once, or some seconds later, and return which."""
        order = draw.choice(("before", "at once", "later"))
        new = [self._start()] if order == "before" else []
        self._kill(self._nodes.pop(draw.randrange(len(self._nodes))))
        time.sleep(draw.uniform(2, 8) if order == "later" else 0)
        self._nodes += new or [self._start()]
        return f"node, another {order}"

    def close(self) -> None:
        """Kill all nodes."""
        for node in self._nodes:
            self._kill(node)
        self._cluster.shutdown()
        del os.environ["RAY_ADDRESS"]

    def _start(self) -> Any:
        """Start a node, with an address of its own: a driver joins the head, the only node of this machine's."""
        self._started += 1
        own = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "node_ip_address": f"127.0.1.{self._started}"}
        return self._add(own)

    def _add(self, options: dict[str, Any]) -> Any:
        for _ in range(TRIES - 1):
            with contextlib.suppress(Exception):  # on a busy machine Ray gives up after 30 s
                return self._cluster.add_node(wait=False, **options)
        return self._cluster.add_node(wait=False, **options)

    def _kill(self, node: Any) -> None:
        """Kill the raylet with SIGKILL, its workers too, and its helper processes."""
        for process in node.all_processes["raylet"]:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        child.kill()
        self._cluster.remove_node(node, allow_graceful=False)

"""`python cluster/wait_for_nodes.py HOST:PORT NODES [SECONDS]`: wait until a Ray cluster has that many nodes."""

import logging
import sys
import time

import ray

from jointnet.errors import SettingsError
from study.machines.address import check_reachable


def main(address: str, wanted: int, seconds: float = 300.0) -> int:
    """Return 0 once `wanted` nodes are alive, 1 if they are not after `seconds`."""
    until = time.monotonic() + seconds
    alive = 0
    while time.monotonic() < until:
        alive = alive_nodes(address)
        if alive >= wanted:
            return 0
        time.sleep(1)
    print(f"{address}: must have {wanted} nodes within {seconds:g} s, got {alive}", file=sys.stderr)
    return 1


def alive_nodes(address: str) -> int:
    """Return the number of nodes of a cluster; 0 if none answers yet."""
    try:
        if not ray.is_initialized():
            check_reachable(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, SettingsError):
        return 0
    return sum(node["Alive"] for node in ray.nodes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:4])))

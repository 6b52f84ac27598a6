"""`python cluster/wait_for_nodes.py HOST:PORT NODES [SECONDS]`: wait until a Ray cluster has that many nodes."""

import logging
import sys
import time

import ray


def main(address: str, wanted: int, seconds: float = 300.0) -> int:
    """Give 0 once `wanted` nodes are alive, 1 where they are not after `seconds`."""
    until = time.monotonic() + seconds
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    while (alive := sum(node["Alive"] for node in ray.nodes())) < wanted:
        if time.monotonic() > until:
            print(f"{address}: must have {wanted} nodes within {seconds:g} s, got {alive}", file=sys.stderr)
            return 1
        time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:4])))

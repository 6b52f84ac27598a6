"""What a study costs with more nodes: the same number of trials a node on 1, 2 and 4 nodes, simulated on one machine.

    python benchmarks/speed/growth_of_nodes.py [--nodes 1 2 4] [--trials 8] [--seconds 12]

A node is a raylet of its own with two logical CPUs, and a trial sleeps, so that nodes do not compete for the processor.
Without any cost of the study the time would be the same for all. This shows whether one driver (Ray Tune, ledger, TPE,
MLflow) keeps up with more nodes; it cannot show networks, shared storage, or the start of real machines. Each worker's
first trial is left out, since it starts a process; trials must be longer than it takes to start all of them.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parent))  # Ray passes only absolute paths to its workers

import ray
from costless import epoch_of
from figures import Figure, add_options, tell
from one_arm import TimedOutbox, arm_task, by_ray, run_study
from ray.cluster_utils import Cluster

from jointnet.train.epoch_report import EpochReport
from study.plan.search_space import Fidelity
from study.store_address import sqlite_address
from study.trials.trial import OnEpoch, TrialSpec

CPUS = 2
EPOCHS = 4
MOST_RATIO = 1.2


def main() -> None:
    """Run the studies on each cluster and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--trials", type=int, default=8, help="a node")
    parser.add_argument("--seconds", type=float, default=12.0, help="that a trial sleeps")
    add_options(parser, repeats=1)
    options = parser.parse_args()
    seconds = {
        nodes: [seconds_with(nodes, nodes * options.trials, options.seconds) for _ in range(options.repeats)]
        for nodes in options.nodes
    }
    asleep = (options.trials - CPUS) / CPUS * options.seconds
    figures = [
        Figure(f"{nodes} nodes: wall time / time asleep", tuple(each / asleep for each in found), "x", MOST_RATIO)
        for nodes, found in seconds.items()
    ]
    tell(figures, options, trials=options.trials, seconds=options.seconds)


def seconds_with(nodes: int, trials: int, asleep: float) -> float:
    """Run a study on a cluster of `nodes` nodes and return the seconds of all trials except each worker's first."""
    at_once = nodes * CPUS
    with tempfile.TemporaryDirectory() as scratch, cluster(nodes):
        task = arm_task(Path(scratch), EPOCHS, (), ())
        outbox = TimedOutbox()
        whole = Fidelity(EPOCHS, EPOCHS, 2)
        drive = by_ray(partial(sleeping_trial, asleep / EPOCHS))
        store = sqlite_address(Path(scratch) / "mlflow.db")
        course = run_study(task, trials, whole, drive, outbox, store, at_once=at_once)
        outbox.close(60)
    return course[-1]["seconds"] - course[at_once - 1]["seconds"]


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """Simulate a cluster of `nodes` nodes, with this process as its driver."""
    simulated = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            simulated.add_node(num_cpus=CPUS)
        simulated.wait_for_nodes()
        ray.init(address=simulated.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        simulated.shutdown()


def sleeping_trial(seconds: float, spec: TrialSpec, on_epoch: OnEpoch) -> None:
    """Sleep instead of training, and report every epoch."""
    for epoch in range(1, EPOCHS + 1):
        time.sleep(seconds)
        on_epoch(EpochReport(epoch, seconds, epoch_of(spec, epoch)))


if __name__ == "__main__":
    main()

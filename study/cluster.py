"""Ray itself: started on this machine or joined where a cluster runs, and what its nodes have."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import optuna
import ray

from jointnet.faults import SettingsFaultError
from study.plan import Resources
from study.provenance import usable_cpus

QUIET = ("ray", "ray.tune", "ray.train", "optuna")


@contextmanager
def ray_session(tracking_uri: str) -> Iterator[None]:
    """Start Ray on this machine, or join the cluster that `RAY_ADDRESS` names; leave it afterwards.

    Trials see the same `MLFLOW_TRACKING_URI` as the driver, though the driver does all the writing.
    """
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    address = os.environ.get("RAY_ADDRESS")
    local = {} if address else {"num_cpus": usable_cpus(), "include_dashboard": False}
    ray.init(
        address=address or "local",
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"MLFLOW_TRACKING_URI": tracking_uri, "RAY_AIR_NEW_OUTPUT": "0"}},
        **local,
    )
    try:
        yield
    finally:
        ray.shutdown()


def check_resources(resources: Resources) -> None:
    """Refuse what the cluster cannot give: Ray would wait for it silently and for ever.

    Raises:
        SettingsFaultError: where one trial needs more than any node has.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in nodes):
        have = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
        raise SettingsFaultError(
            f"--cpus-per-trial, --gpus-per-trial: one node must have them, "
            f"got {wanted['CPU']:g} CPU and {wanted['GPU']:g} GPU where the nodes have {have}"
        )

"""The search of one arm: Ray Tune runs the trials that `study.arm_search` decides on, until none is left."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with verbose=0: silent, so that the progress is ours
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl+C is to raise here, not to look like a finished search
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import optuna
import ray
from ray import tune

from jointnet.faults import SettingsFaultError
from study.arm_search import ArmSearch
from study.plan import Resources
from study.provenance import usable_cpus
from study.store_layout import TIME_BUDGET
from study.trial import ArmTask
from study.tune_bridge import LedgerCallback, LedgerScheduler, LedgerSearcher
from study.worker import trainable

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


def search_arm(task: ArmTask, search: ArmSearch, resources: Resources, storage: Path, seconds: float | None) -> None:
    """Search one arm; the ledger holds what became of its trials.

    Args:
        task: what the trials share.
        search: decides, and records what happens.
        resources: of a trial.
        storage: absolute folder of what Ray Tune writes for itself; it is removed afterwards.
        seconds: time budget; None for no limit.
    """
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, task=task),
            {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            time_budget_s=seconds,
            reuse_actors=True,
            search_alg=LedgerSearcher(search),
            scheduler=LedgerScheduler(search),
        ),
        run_config=tune.RunConfig(
            name=task.arm, storage_path=str(storage), verbose=0, callbacks=[LedgerCallback(search)]
        ),
    )
    began = time.monotonic()
    try:
        tuner.fit()
    finally:
        over = seconds is not None and time.monotonic() - began >= seconds
        search.close(TIME_BUDGET if over else None)
        shutil.rmtree(storage, ignore_errors=True)

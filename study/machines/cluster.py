"""Start of Ray on this machine or on a cluster, and the nodes that it has."""

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
import ray
import torch
from ray._private import worker

from jointnet.compute.allocator import ONE_ARENA
from jointnet.errors import DISK_FULL, SettingsError
from jointnet.system.quota import usable_cpus, usable_memory_bytes
from study.machines.address import HEAD, check_reachable, source_of
from study.machines.autoscaler import find_autoscaler
from study.machines.node_check import SharedFolder, check_nodes, folder_errors
from study.machines.ray_folder import ray_folder, ray_options
from study.plan.environment import set_environment
from study.plan.plan import Autoscaler, Node, Transfer

QUIET = ("ray", "ray.tune", "ray.train", "optuna")


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Start Ray on this machine where `address` is None, else join that cluster. Shut Ray down or leave on exit.

    On this machine a new instance of Ray is always started, even where another one runs. The workers keep the memory
    of a trial for the next one (`jointnet.compute.allocator`), unless the environment sets those variables.

    Raises:
        SettingsError: there is no cluster to join, or Ray cannot be started on this machine.
        OSError: the disk is full.
    """
    set_environment()
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    worker._worker_logs_enabled = False  # else the last lines of the log of each lost node are printed
    arenas = {name: value for name, value in ONE_ARENA.items() if name not in os.environ}
    try:
        if address is None:
            os.environ.update(arenas)  # inherited by the workers, which start faster than with a runtime environment
            _start_here(quiet)
        else:
            _join(address, {"env_vars": arenas}, quiet)
    except SystemExit as error:  # SIGTERM: Ray has a handler of its own from here on
        raise KeyboardInterrupt from error
    try:
        yield
    finally:
        ray.shutdown()


def this_machine() -> Node:
    """Return the CPU cores, GPUs and memory of this machine that trials may use."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Node("this machine", usable_cpus(), gpus, usable_memory_bytes())


def survey(
    address: str | None, shared: tuple[SharedFolder, ...]
) -> tuple[tuple[Node, ...], list[str], Transfer, Autoscaler | None]:
    """Return the nodes, their errors, the transfer of files, and the autoscaler. On a cluster every node is checked.

    Args:
        address: address of a cluster; None for this machine, on which nothing is started or written.
        shared: the study's folders on this machine, which nodes may share.

    Raises:
        SettingsError: there is no cluster to join.
    """
    if address is None:
        errors = folder_errors(shared)
        try:
            ray_folder(os.environ)
        except SettingsError as error:
            errors += error.errors
        return (this_machine(),), errors, Transfer(), None
    with ray_session(address):
        nodes, autoscaler = nodes_by_id(), find_autoscaler()
        names = {node_id: node.name for node_id, node in nodes.items()}
        checked = check_nodes(names, shared, source_of(address), may_grow=autoscaler is not None)
        return tuple(nodes.values()), *checked, autoscaler


def nodes_by_id() -> dict[str, Node]:
    """Return the nodes of the cluster that this process is connected to, as they are now."""
    found = {}
    for node in ray.nodes():
        if node["Alive"]:
            name, own = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", node["Resources"]
            found[node["NodeID"]] = Node(name, own.get("CPU", 0.0), own.get("GPU", 0.0), is_head=HEAD in own)
    return found


def _start_here(quiet: Mapping[str, Any]) -> None:
    """Start a new instance of Ray with a random token in the environment. The home folder need not be writable."""
    here, folder = this_machine(), ray_folder(os.environ)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    own = {"num_cpus": here.cpus, "num_gpus": here.gpus, "include_dashboard": False, **ray_options(folder)}
    try:
        ray.init(address="local", **own, **quiet)
    except Exception as error:  # Ray raises many types, a bare Exception where its processes did not start
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SettingsError(
            f"Ray must be able to start on this machine, got {reason} (its logs: {folder}/session_latest/logs). If "
            "the machine was only too busy, repeat the command"
        ) from error


def _join(address: str, environment: Mapping[str, Any], quiet: Mapping[str, Any]) -> None:
    """Connect this process to a cluster that runs.

    Raises:
        SettingsError: no cluster runs there, or this machine is not one of its nodes.
    """
    if address != "auto":
        check_reachable(address)
    try:
        ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(
            f"{source_of(address)}: must be a cluster that runs and that this machine is a node of, got {address}: "
            f"{reason}"
        ) from None

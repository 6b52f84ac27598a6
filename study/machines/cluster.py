"""Starts Ray on this machine or joins a cluster, and lists the nodes."""

import logging
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import ray
import torch

from jointnet.cpu_kernels.allocator import ONE_ARENA
from jointnet.errors import DISK_FULL, SettingsError
from jointnet.system.quota import usable_cpus, usable_memory_bytes
from study.machines.node_check import SharedFolder, check_nodes, folder_errors
from study.machines.ray_folder import ray_folder, ray_options
from study.plan.environment import settle
from study.plan.plan import Node

CLIENT = "ray://"
"""Prefix of the address of a Ray client server. The study's driver then runs on the cluster, see `handover`."""
PORT = 6379
"""Default port of a cluster's head."""
CLIENT_PORT = 10001
LARGEST_PORT = 65535
SECONDS_TO_CONNECT = 5.0
QUIET = ("ray", "ray.tune", "ray.train", "optuna")


def resolve_address(option: str | None) -> str | None:
    """Return the address of the cluster: `--address`, else `RAY_ADDRESS`; None to start Ray on this machine.

    Raises:
        SettingsError: the address is not `local`, `auto`, HOST, HOST:PORT, ray://HOST or ray://HOST:PORT.
    """
    name, address = _asked(option)
    if address == "auto":
        return address
    if address in ("", "local"):
        return None
    scheme, client = ("ray://", True) if address.startswith(CLIENT) else ("", False)
    host, colon, port = address.removeprefix(scheme).partition(":")
    numbered = port.isdecimal() and len(port) <= 5 and 0 < int(port) <= LARGEST_PORT
    if not host or "/" in address.removeprefix(scheme) or (colon and not numbered):
        raise SettingsError(f"{name}: must be local, auto, HOST:PORT or ray://HOST:PORT, got {address!r}")
    return f"{scheme}{host}:{port or (CLIENT_PORT if client else PORT)}"


def is_client(option: str | None) -> bool:
    """Return whether `--address`, else `RAY_ADDRESS`, is the address of a Ray client server."""
    return _asked(option)[1].startswith(CLIENT)


def check_reachable(address: str) -> None:
    """Check within SECONDS_TO_CONNECT that a server listens at an address. Ray itself would try for minutes.

    Raises:
        SettingsError: no connection can be made.
    """
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise SettingsError(f"{named(address)}: a cluster must listen there, got {address}: {error}") from None


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Start Ray on this machine where `address` is None, else join that cluster. Shut Ray down or leave on exit.

    On this machine a new instance of Ray is always started, even where another one runs. The workers keep the memory
    of a trial for the next one (`jointnet.cpu_kernels.allocator`), unless the environment sets those variables.

    Raises:
        SettingsError: there is no cluster to join, or Ray cannot be started on this machine.
        OSError: the disk is full.
    """
    settle()
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
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


def short_lived(folder: Path) -> bool:
    """Return whether a folder is in Ray's copy of a submitted job's files, which is deleted with the job or cluster."""
    return "runtime_resources" in folder.parts


def this_machine() -> Node:
    """Return the CPU cores, GPUs and memory of this machine that trials may use."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Node("this machine", usable_cpus(), gpus, usable_memory_bytes())


def survey(address: str | None, shared: tuple[SharedFolder, ...]) -> tuple[tuple[Node, ...], list[str]]:
    """Return the nodes and their errors. On a cluster a check runs on every node.

    Args:
        address: address of a cluster; None for this machine, on which nothing is started or written.
        shared: the folders that every node must see.

    Raises:
        SettingsError: there is no cluster to join.
    """
    if address is None:
        errors = folder_errors(shared)
        try:
            ray_folder(os.environ)
        except SettingsError as error:
            errors += error.errors
        return (this_machine(),), errors
    with ray_session(address):
        alive = [node for node in ray.nodes() if node["Alive"]]
        nodes = tuple(
            Node(_name(node), node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in alive
        )
        return nodes, check_nodes({node["NodeID"]: _name(node) for node in alive}, shared, named(address))


def named(address: str) -> str:
    """Return the source of a cluster's address: `RAY_ADDRESS` where that holds the same address, else `--address`."""
    try:
        return "RAY_ADDRESS" if resolve_address(None) == address else "--address"
    except SettingsError:  # the variable holds no address
        return "--address"


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
            f"Ray must be able to start on this machine, got {reason} (its logs: {folder}/session_latest/logs). Where "
            "the machine was only too busy, the same command goes on"
        ) from error


def _join(address: str, environment: Mapping[str, Any], quiet: Mapping[str, Any]) -> None:
    """Connect this process to a cluster that runs.

    Raises:
        SettingsError: where there is none.
    """
    if address != "auto":
        check_reachable(address)
    try:
        ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(
            f"{named(address)}: must be a cluster that runs and that this machine is a node of, got {address}: {reason}"
        ) from None


def _asked(option: str | None) -> tuple[str, str]:
    """Return the source of the address and the address. `RAY_ADDRESS`, where set, replaces `--address auto`."""
    variable = os.environ.get("RAY_ADDRESS", "")
    named_by_option = option is not None and not (option == "auto" and variable)
    return ("--address", str(option)) if named_by_option else ("RAY_ADDRESS", variable)


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"

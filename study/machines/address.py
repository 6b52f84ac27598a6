"""The address of a Ray cluster, from `--address` or `RAY_ADDRESS`. Ray, which is slow to import, is not imported."""

import os
import socket

from jointnet.errors import SettingsError

CLIENT = "ray://"
"""Prefix of the address of a Ray client server. The study's driver then runs on the cluster, see `handover`."""
HEAD = "node:__internal_head__"
"""Ray's name of the resource that only the head of a cluster has."""
PORT = 6379
"""Default port of a cluster's head."""
CLIENT_PORT = 10001
LARGEST_PORT = 65535
SECONDS_TO_CONNECT = 5.0


def resolve_address(option: str | None) -> str | None:
    """Return the address of the cluster: `--address`, else `RAY_ADDRESS`; None to start Ray on this machine.

    Raises:
        SettingsError: the address is not `local`, `auto`, HOST, HOST:PORT, ray://HOST or ray://HOST:PORT.
    """
    source, address = _given(option)
    if address == "auto":
        return address
    if address in ("", "local"):
        return None
    scheme, client = ("ray://", True) if address.startswith(CLIENT) else ("", False)
    host, colon, port = address.removeprefix(scheme).partition(":")
    numbered = port.isdecimal() and len(port) <= 5 and 0 < int(port) <= LARGEST_PORT
    if not host or "/" in address.removeprefix(scheme) or (colon and not numbered):
        raise SettingsError(f"{source}: must be local, auto, HOST:PORT or ray://HOST:PORT, got {address!r}")
    return f"{scheme}{host}:{port or (CLIENT_PORT if client else PORT)}"


def is_client(option: str | None) -> bool:
    """Return whether `--address`, else `RAY_ADDRESS`, is the address of a Ray client server."""
    return _given(option)[1].startswith(CLIENT)


def source_of(address: str) -> str:
    """Return the source of a cluster's address: `RAY_ADDRESS` where that holds the same address, else `--address`."""
    try:
        return "RAY_ADDRESS" if resolve_address(None) == address else "--address"
    except SettingsError:  # the variable holds no address
        return "--address"


def check_reachable(address: str) -> None:
    """Check within SECONDS_TO_CONNECT that a server listens at an address. Ray itself would try for minutes.

    Raises:
        SettingsError: no connection can be made.
    """
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise SettingsError(f"{source_of(address)}: a cluster must listen there, got {address}: {error}") from None


def _given(option: str | None) -> tuple[str, str]:
    """Return the source of the address and the address. `RAY_ADDRESS`, where set, replaces `--address auto`."""
    variable = os.environ.get("RAY_ADDRESS", "")
    by_option = option is not None and not (option == "auto" and variable)
    return ("--address", str(option)) if by_option else ("RAY_ADDRESS", variable)

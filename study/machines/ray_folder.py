"""The folder for the sockets, logs and spilled objects of Ray on this machine, and its requirements."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.system.home import can_write, nearest_folder

LONGEST_SOCKET_BYTES = 107
"""Longest path of a socket on Linux (`sockaddr_un`)."""
SOCKET_IN_FOLDER = "/session_2000-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest socket path that Ray creates in its folder, with the largest process id (`ray/_private/node.py`)."""
LONGEST_FOLDER_BYTES = LONGEST_SOCKET_BYTES - len(SOCKET_IN_FOLDER)
LEAST_FREE_BYTES = 200 * 10**6
"""Space for a session's logs, about 10 MB, and its object store, OBJECT_STORE_BYTES where `/dev/shm` is not used."""
OBJECT_STORE_BYTES = 100 * 2**20
"""Size of Ray's object store. Ray's default is 30 % of the memory, its minimum 75 MiB; a study needs a few kB."""
SHARED_MEMORY = Path("/dev/shm")


def ray_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder for Ray: in `RAY_TMPDIR` where it is set, else in `TMPDIR` or `/tmp`, the first that is usable.

    Raises:
        SettingsError: no folder is usable; one error for each.
    """
    named = {name: environment[name] for name in ("RAY_TMPDIR", "TMPDIR") if environment.get(name)}
    if "RAY_TMPDIR" in named:
        named = {"RAY_TMPDIR": named["RAY_TMPDIR"]}
    else:
        named["/tmp"] = "/tmp"
    errors = []
    for name, base in named.items():
        for folder in (Path(base).absolute() / "ray", Path(base).absolute() / f"ray-{os.getuid()}"):
            error = folder_error(folder)
            if error is None:
                return folder
            if not os.access(folder, os.F_OK) or can_write(folder):
                break  # otherwise the folder `ray` belongs to another user, and `ray-UID` is tried
        errors.append(f"{name}: {error}")
    errors[-1] += "; RAY_TMPDIR=DIR names another folder, on a disk of this machine"
    raise SettingsError(errors)


def folder_error(folder: Path) -> str | None:
    """Return the error of a folder for Ray, which need not exist yet; None where it is usable."""
    length = len(os.fsencode(folder))
    if length > LONGEST_FOLDER_BYTES:
        most = LONGEST_FOLDER_BYTES - len("/ray")
        return f"must be at most {most} bytes long, for Ray's sockets, got {length - len('/ray')}: {folder.parent}"
    there = nearest_folder(folder)
    if not can_write(there):
        return f"must be a folder that can be written, got {folder.parent}"
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        return f"must have {LEAST_FREE_BYTES / 1e6:.0f} MB free, got {free / 1e6:.0f} MB in {folder.parent}"
    return None


def ray_options(folder: Path) -> dict[str, object]:
    """Return the options of `ray.init` for the folder and the object store."""
    options: dict[str, object] = {"_temp_dir": str(folder), "object_store_memory": OBJECT_STORE_BYTES}
    if not can_write(SHARED_MEMORY):
        options["_plasma_directory"] = str(folder)
    return options

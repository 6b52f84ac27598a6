"""Tracking stores for the studies: SQLite, a server, SQLite ten times slower, and a server that never answers."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from one_arm import TimedOutbox

from study.store_address import sqlite_address

SLOWER = 10
SECONDS_TO_START = 120.0

Opened = tuple[str, TimedOutbox]
"""The address of a store, and the outbox that delivers to it."""


@dataclass(frozen=True)
class Store:
    """A kind of tracking store. A call with a folder opens one.

    Attributes:
        open: opens a store in a folder.
        seconds_to_close: longest wait for the store at the end.
    """

    open: Callable[[Path], AbstractContextManager[Opened]]
    seconds_to_close: float

    def __call__(self, folder: Path) -> AbstractContextManager[Opened]:
        """Open a store in a folder."""
        return self.open(folder)


class SlowOutbox(TimedOutbox):
    """An outbox whose entries take SLOWER times as long."""

    def put(self, deed: Callable[[], Any], side: str = "") -> None:
        """Queue a write that takes SLOWER times as long."""

        def slowly() -> None:
            began = time.perf_counter()
            deed()
            time.sleep((SLOWER - 1) * (time.perf_counter() - began))

        super().put(slowly, side)


@contextmanager
def _sqlite(folder: Path) -> Iterator[Opened]:
    yield sqlite_address(folder / "mlflow.db"), TimedOutbox()


@contextmanager
def _slow(folder: Path) -> Iterator[Opened]:
    yield sqlite_address(folder / "mlflow.db"), SlowOutbox()


@contextmanager
def _hanging(folder: Path) -> Iterator[Opened]:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", TimedOutbox()


@contextmanager
def _server(folder: Path) -> Iterator[Opened]:
    folder.mkdir(parents=True, exist_ok=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    places = [
        "--backend-store-uri",
        sqlite_address(folder / "mlflow.db"),
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, *places], env=environment, **quiet) as process:  # type: ignore[call-overload]
        try:
            _wait_for(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}", TimedOutbox()
        finally:
            process.terminate()


def _wait_for(address: str) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


STORES = {
    "sqlite": Store(_sqlite, 60),
    "server": Store(_server, 60),
    "slow": Store(_slow, 60),
    "hanging": Store(_hanging, 0),
}

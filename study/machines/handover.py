"""With `ray://HOST:PORT` the study's driver runs on the cluster's head, and this terminal shows what it says.

A Ray client is no node of the cluster: Ray Tune would move its loop to the head and leave the recorder, the progress
and the folders behind. So the whole command is handed over: the head runs it, in the same working directory and with
this terminal's `MLFLOW_*` and `JOINTNET_*`, and Ctrl+C is passed on.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from jointnet.faults import SettingsFaultError
from study.machines.cluster import check_reachable, named

HEAD = "node:__internal_head__"
"""Ray's own name of the resource that only the head has."""
PASSED_ON = ("MLFLOW_", "JOINTNET_")
SECONDS_BETWEEN_LOOKS = 0.5


class HeadProcess:
    """The command as a process of the head; lives in a Ray actor there."""

    def __init__(self, arguments: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
        if not Path(folder).is_dir():
            raise FileNotFoundError(folder)
        self._lines: deque[str] = deque()
        address = ray.get_runtime_context().gcs_address
        self._process = subprocess.Popen(
            [sys.executable, "-m", "study.run", *arguments, "--address", address],  # the last one counts
            cwd=folder,
            env={**_own_environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def news(self) -> tuple[list[str], int | None]:
        """Give the lines since the last look, and the exit status where it has ended and all is told."""
        status = None if self._reader.is_alive() else self._process.wait()
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return lines, status

    def interrupt(self) -> None:
        """Pass Ctrl+C on."""
        self._process.send_signal(signal.SIGINT)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line)


def run_on_head(address: str, arguments: Sequence[str]) -> int:
    """Run `python -m study.run` with these arguments on the head; print what it prints and give its exit status.

    Raises:
        SettingsFaultError: where no Ray client's server listens, or the head lacks this folder or this package.
    """
    check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsFaultError(f"{named(address)}: must be a Ray client's server, got {address}: {reason}") from None
    try:
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        actor = ray.remote(num_cpus=0, resources={HEAD: 0.001})(HeadProcess)
        process = actor.remote(list(arguments), str(Path.cwd()), passed)
        return _follow(process)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise SettingsFaultError(
            f"{named(address)}: the head must have this package and the folder {Path.cwd()}, got {address}: {reason}"
        ) from None
    finally:
        ray.shutdown()


def _follow(process: Any) -> int:
    """Print what the process says until it ends. Ctrl+C goes to the process, whose end is then waited for."""
    while True:
        try:
            lines, status = ray.get(process.news.remote())
            print(*lines, sep="", end="", flush=True)
            if status is not None:
                return int(status)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            ray.get(process.interrupt.remote())


def _own_environment() -> dict[str, str]:
    """Give the head's environment without what Ray set for this actor alone."""
    return {
        name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    }

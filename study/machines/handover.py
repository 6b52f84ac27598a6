"""With `ray://HOST:PORT` the study's driver runs on the cluster's head, and this terminal shows its output.

A Ray client is not a node of the cluster. Ray Tune would run its loop on the head, while the recorder, the progress and
the folders stay here. So the head runs the command, in a working directory of the same path and with this
terminal's `MLFLOW_*` and `JOINTNET_*` variables. Ctrl+C is passed on.
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

from jointnet.errors import SettingsError
from study.machines.address import HEAD, check_reachable, source_of

PASSED_ON = ("MLFLOW_", "JOINTNET_")
SECONDS_BETWEEN_POLLS = 0.5


class HeadProcess:
    """The command as a process on the head, owned by a Ray actor there."""

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

    def poll(self) -> tuple[list[str], int | None]:
        """Return the lines printed since the last call, and the exit status once the output has ended, else None."""
        status = None if self._reader.is_alive() else self._process.wait()
        lines = []
        while self._lines:
            lines.append(self._lines.popleft())
        return lines, status

    def interrupt(self) -> None:
        """Send SIGINT to the process."""
        self._process.send_signal(signal.SIGINT)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line)


def run_on_head(address: str, arguments: Sequence[str]) -> int:
    """Run `python -m study.run` with these arguments on the head, print its output, and return its exit status.

    Raises:
        SettingsError: no Ray client server listens, or the head lacks this folder or this package.
    """
    check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(f"{source_of(address)}: must be a Ray client's server, got {address}: {reason}") from None
    try:
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        actor = ray.remote(num_cpus=0, resources={HEAD: 0.001})(HeadProcess)
        process = actor.remote(list(arguments), str(Path.cwd()), passed)
        return _follow(process)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        raise SettingsError(
            f"{source_of(address)}: the head must have this package and the folder {Path.cwd()}, got {address}: "
            f"{reason}"
        ) from None
    finally:
        ray.shutdown()


def _follow(process: Any) -> int:
    """Print the output of the process until it ends, and return its exit status. Ctrl+C is sent to the process."""
    while True:
        try:
            lines, status = ray.get(process.poll.remote())
            print(*lines, sep="", end="", flush=True)
            if status is not None:
                return int(status)
            time.sleep(SECONDS_BETWEEN_POLLS)
        except KeyboardInterrupt:
            ray.get(process.interrupt.remote())


def _own_environment() -> dict[str, str]:
    """Return the head's environment without the variables that Ray sets for this actor."""
    return {
        name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    }

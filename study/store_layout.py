"""What the writer and the readers of the tracking store agree on: address, experiment, objective, ends of trials.

It imports nothing of the project, so that the report can use it without what a search needs.
"""

import os
import re
import shlex
import sys
from pathlib import Path

EXPERIMENT = "jointnet-study"
OBJECTIVE = "val/registration_ratio"
"""The one objective: a trial keeps the model of its best epoch by it, so nothing else can rank what is kept."""
BEST = "best/"
"""Prefix under which a trial's run holds, once it has ended, the metrics of its best epoch: `best/val/dice/lv`."""

EARLY = "early stopping: worse than the other trials at a rung"
TIME_BUDGET = "time budget: the search's minutes were over"
INTERRUPTED = "the search was interrupted"

_ENDINGS = {"stopped": "stopped early by ASHA", "running": "still running"}


def default_tracking_uri() -> str:
    """Give `MLFLOW_TRACKING_URI`, or else the SQLite store in `mlruns/` of the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlruns/mlflow.db').resolve()}"


def absolute_address(uri: str) -> str:
    """Give a store's address so that it holds from any folder: that of an SQLite file with its whole path."""
    if not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"


def is_plain_name(name: str) -> bool:
    """Tell whether a study's or an arm's name may be part of a path: one that leads nowhere else."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name) is not None


def ui_command(uri: str) -> str:
    """Give what opens the MLflow UI: a command for a database, the address itself for a server.

    The command names this Python, so that it works whether or not the environment is activated.
    """
    if uri.startswith(("http://", "https://")):
        return uri
    python = shlex.quote(sys.executable)
    return f"{python} -m mlflow ui --backend-store-uri {shlex.quote(uri)} --workers 1 --host 127.0.0.1"


def ending(state: str, reason: str) -> str:
    """Say in words how a trial ended, from its tags `trial.state` and `trial.reason`.

    The scheduler and the time budget both leave a trial `stopped`, with a model that can be selected; only the first
    judged it.
    """
    if state == "stopped" and reason == TIME_BUDGET:
        return "cut short by the time budget"
    return _ENDINGS.get(state, state)

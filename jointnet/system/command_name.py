"""The name by which the running command was called, for its help and its messages."""

import sys
from pathlib import Path


def command_name(module: str) -> str:
    """Return the console script that was called, such as `jointnet-train`, or else `python -m MODULE`."""
    script = Path(sys.argv[0]).name
    return script if script.startswith("jointnet-") else f"python -m {module}"

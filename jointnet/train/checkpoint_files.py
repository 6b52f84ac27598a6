"""The checkpoint files of a training: their names, and how many are kept. This module does not import torch."""

import re
from pathlib import Path

KEPT = 2
"""Number of checkpoints kept on disk."""


def checkpoint_name(epoch: int) -> str:
    """Return the name of the checkpoint file of an epoch."""
    return f"epoch-{epoch:06}.pt"


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoint files in a folder, newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if is_checkpoint(path.name)), reverse=True)


def is_checkpoint(name: str) -> bool:
    """Return whether a name is that of a checkpoint file."""
    return re.fullmatch(r"epoch-\d{6,}\.pt", name) is not None


def remove_old(folder: Path) -> None:
    """Remove all checkpoints of a folder but the last KEPT, and what a killed process had half written."""
    for old in [*checkpoint_files(folder)[KEPT:], *folder.glob(".*.part")]:
        old.unlink(missing_ok=True)

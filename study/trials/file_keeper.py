"""Writes the files of trials to the driver's disk if the nodes do not share it.

The keeper is an actor of Ray on the driver's node (`study.trials.through_ray`). It imports neither torch nor Ray, so
its process is small and this class can be tested without Ray.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jointnet.model_path import MODEL_FILE
from jointnet.system.atomic_file import write_whole
from jointnet.train.checkpoint_files import checkpoint_files, is_checkpoint, remove_old
from study.trials.trial_files import CHECKPOINTS, PREVIOUS_FILE

Content = NDArray[np.uint8]
"""The content of a file. Ray passes an array through shared memory without a copy, bytes not."""


class StaleAttemptError(Exception):
    """A later attempt at the trial has begun, so files of this one are refused. Ray took its node for lost."""


class FileKeeper:
    """The folders of a study's trials. One call runs at a time, so that files are written one after the other.

    Args:
        study: the study's folder. Nothing is written outside.
    """

    def __init__(self, study: Path) -> None:
        self._study = study
        self._newest: dict[Path, int] = {}

    def begin(self, folder: Path, attempt: int) -> dict[str, Content]:
        """Begin an attempt at a trial and return its checkpoints by name. Files of earlier attempts are then refused.

        Raises:
            StaleAttemptError: a later attempt has begun.
        """
        self._check(folder, attempt)
        return {path.name: np.fromfile(path, np.uint8) for path in checkpoint_files(folder / CHECKPOINTS)}

    def keep(self, folder: Path, attempt: int, files: Mapping[str, Content]) -> None:
        """Write a model or checkpoints atomically, in this order, and sync them to disk.

        The model before it becomes `previous.pt`, unless it is the same. Checkpoints before the last two are removed.

        Raises:
            OSError: a file cannot be written, e.g. on a full disk.
            StaleAttemptError: a later attempt has begun.
        """
        self._check(folder, attempt)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if name == MODEL_FILE:
                _write_model(folder, content)
            elif is_checkpoint(name):
                (folder / CHECKPOINTS).mkdir(exist_ok=True)
                write_whole(folder / CHECKPOINTS / name, content.data)
                remove_old(folder / CHECKPOINTS)
            else:
                raise ValueError(f"must be {MODEL_FILE} or a checkpoint, got {name!r}")

    def _check(self, folder: Path, attempt: int) -> None:
        if ".." in folder.parts or not folder.is_relative_to(self._study):
            raise ValueError(f"must be a folder in {self._study}, got {folder}")
        if attempt < self._newest.get(folder, attempt):
            raise StaleAttemptError(f"a later attempt at {folder.name} has begun")
        self._newest[folder] = attempt


def _write_model(folder: Path, content: Content) -> None:
    """Write a model and keep the one before. A resumed trial sends the model of its checkpoint again."""
    model = folder / MODEL_FILE
    if model.is_file():
        if model.read_bytes() == content.data:
            return
        model.replace(folder / PREVIOUS_FILE)
    write_whole(model, content.data)

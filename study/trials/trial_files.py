"""The folder in which an attempt at a trial trains, and the way of its files to the driver's disk.

There are two ways; one is chosen for each study (`study.machines.node_check.transfer_of`). Where all nodes share the
study's folder, a trial trains in its own folder there (`SharedFolderFiles`). Otherwise it trains in a temporary folder
of its node, and files come and go through Ray (`study.trials.through_ray`). In both, the model and the checkpoint of an
epoch are on the driver's disk before the epoch is reported. So the ledger never names a missing model, and a lost node
loses only the training since its last checkpoint.

This module imports neither Ray nor torch.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from study.machines.fit_node import check_seen

PREVIOUS_FILE = "previous.pt"
"""The model of the best reported epoch. `model.pt` may be one epoch ahead of the reports."""
CHECKPOINTS = "checkpoints"
"""Folder of checkpoints within the trial's folder, from which a killed trial resumes."""


class AttemptFiles(Protocol):
    """The files of one attempt at a trial, in its worker."""

    @property
    def folder(self) -> Path:
        """The folder to train in. It has the trial's checkpoints, and is named like the trial."""
        ...

    def keep(self) -> None:
        """Return when the trial's current model and newest checkpoint are on the driver's disk.

        Raises:
            OSError: they cannot be written there, e.g. on a full disk.
            StaleAttemptError: a later attempt at this trial has begun.
        """
        ...


class TrialFiles(Protocol):
    """Gives attempts their folders."""

    def attempt(self, folder: Path, number: int) -> AbstractContextManager[AttemptFiles]:
        """Begin an attempt at a trial.

        Args:
            folder: the folder of the trial on the driver's disk.
            number: number of the attempt, larger than those of all earlier attempts at the trial.

        Raises:
            UnfitNodeError: this node does not see the study's folder, which all nodes share.
        """
        ...


@dataclass(frozen=True)
class FilesInPlace:
    """An attempt that trains in the trial's folder itself: nothing is left to do after an epoch."""

    folder: Path

    def keep(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class SharedFolderFiles:
    """Attempts train in the folders on the driver's disk.

    If Ray takes a node for lost that still runs, two attempts at one trial write to the same folder. Both train the
    same, and a model whose epoch is not that of the ledger is not used.

    Attributes:
        seen: paths that a worker must see, since every node did when the study began. A node may have joined later.
    """

    seen: tuple[Path, ...] = ()

    @contextmanager
    def attempt(self, folder: Path, number: int) -> Iterator[AttemptFiles]:
        """Create the folder of the trial where it is missing."""
        check_seen(self.seen)
        folder.mkdir(parents=True, exist_ok=True)
        yield FilesInPlace(folder)


IN_PLACE = SharedFolderFiles()
"""The files of trials on this machine."""

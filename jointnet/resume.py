"""Checkpoints of a training that is under way: a killed one goes on from them as if nothing had happened.

A checkpoint holds all that the next epoch depends on. One is written after every validation, so that a killed training
need not find an objective again that was told, and else where the last one is SECONDS_BETWEEN old: a kill costs at most
so much training, and an epoch. The last two are kept: where the newest is damaged, the one before it serves, and more
is trained again. On a CPU that gives the same weights, bit for bit.
"""

import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from jointnet.atomic_file import write_whole
from jointnet.torch_file import read_torch

FORMAT = 2
KEPT = 2
"""Checkpoints that stay on the disk."""
SECONDS_BETWEEN = 10.0
"""Seconds of training after which a checkpoint is due, with or without a validation."""


class Stateful(Protocol):
    """A model, an optimiser, a schedule or a gradient scaler."""

    def state_dict(self) -> Any:
        """Give all that it knows."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Know what `state_dict` gave."""


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    Args:
        folder: it is made when the first checkpoint is written.
        identity: plain values that are the same for the same training only; a checkpoint of another one is not used.
        parts: what is saved and restored, by name.
        generator: the random numbers of the training, beside torch's own.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], parts: Mapping[str, Stateful], generator: torch.Generator
    ) -> None:
        self.folder = folder
        self._identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._parts, self._generator = dict(parts), generator
        self._newest = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last one, or the start of this training, is SECONDS_BETWEEN ago."""
        return time.monotonic() - self._newest >= SECONDS_BETWEEN

    def save(self, epoch: int, progress: Mapping[str, Any]) -> None:
        """Write the checkpoint of an epoch that is over and remove all but the last two.

        Args:
            epoch: from 1.
            progress: tensors and plain values that `restore` is to give back.

        Raises:
            OSError: where the disk takes no more; the checkpoints before stay.
        """
        on_gpu = self._generator.device.type == "cuda"
        content = {
            "format": FORMAT,
            "identity": self._identity,
            "epoch": epoch,
            "progress": dict(progress),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "random": {
                "torch": torch.get_rng_state(),
                "generator": self._generator.get_state(),
                "cuda": torch.cuda.get_rng_state(self._generator.device) if on_gpu else None,
            },
        }
        written = io.BytesIO()  # torch turns a full disk into a RuntimeError of its own, plain writing does not
        torch.save(content, written)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / f"epoch-{epoch:06}.pt", written.getvalue())
        for old in [*checkpoint_files(self.folder)[KEPT:], *self.folder.glob(".*.part")]:
            old.unlink(missing_ok=True)
        self._newest = time.monotonic()

    def restore(self) -> tuple[int, dict[str, Any]]:
        """Bring every part to where the newest sound checkpoint left it; remove those that are of no use.

        Returns:
            The epoch of the checkpoint and its progress; 0 and nothing where there is none, with all parts untouched.
        """
        for path in checkpoint_files(self.folder):
            content = self._read(path)
            if content is None:
                path.unlink(missing_ok=True)
                continue
            for name, part in self._parts.items():
                part.load_state_dict(content["parts"][name])
            random = content["random"]
            torch.set_rng_state(random["torch"])
            self._generator.set_state(random["generator"])
            if random["cuda"] is not None and self._generator.device.type == "cuda":
                torch.cuda.set_rng_state(random["cuda"], self._generator.device)
            return int(content["epoch"]), dict(content["progress"])
        return 0, {}

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Read a checkpoint of this training; None where it is damaged, or another training's.

        Nothing in it is executed.
        """
        try:
            content: dict[str, Any] = read_torch(path.read_bytes())
            sound = content["format"] == FORMAT and content["identity"] == self._identity
            return content if sound and set(content["parts"]) == set(self._parts) else None
        except OSError:
            raise
        except Exception:  # a damaged archive raises whatever its readers met
            return None


def checkpoint_files(folder: Path) -> list[Path]:
    """Give the checkpoints in a folder, the newest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if re.fullmatch(r"epoch-\d{6,}\.pt", path.name)), reverse=True)

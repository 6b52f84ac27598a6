"""Checkpoints from which an interrupted training resumes.

A checkpoint contains everything that the next epoch depends on. It is written after every validation, so that a
reported objective never has to be computed again. It is also written after an epoch if the last checkpoint is
SECONDS_BETWEEN old. An interruption therefore costs at most SECONDS_BETWEEN and one epoch of training. The last two
checkpoints are kept; if the newest is damaged, the training resumes from the one before. On a CPU a resumed training
gives bit-identical weights.
"""

import hashlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from jointnet.model_file import read_torch
from jointnet.system.atomic_file import write_whole
from jointnet.train.checkpoint_files import checkpoint_files, checkpoint_name, remove_old

FORMAT = 2
SECONDS_BETWEEN = 10.0
"""Seconds after the last checkpoint from which the next one is due, with or without a validation."""


class Stateful(Protocol):
    """A model, an optimiser, a schedule or a gradient scaler."""

    def state_dict(self) -> Any:
        """Return the state."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a state that `state_dict` returned."""


class Checkpoints:
    """The checkpoints of one training in its own folder.

    Args:
        folder: the folder; it is created with the first checkpoint.
        identity: plain values that identify the training. Checkpoints with another identity are not used.
        parts: the objects whose state is saved and restored, by name.
        generator: the training's random number generator. The state of torch's global generator is saved as well.
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
        """True if the last checkpoint, or the start of this training, is at least SECONDS_BETWEEN ago."""
        return time.monotonic() - self._newest >= SECONDS_BETWEEN

    def save(self, epoch: int, progress: Mapping[str, Any]) -> None:
        """Write the checkpoint of a finished epoch and remove all but the last two.

        Args:
            epoch: the epoch's number, from 1.
            progress: tensors and plain values that `restore` returns.

        Raises:
            OSError: if it cannot be written, e.g. on a full disk. Earlier checkpoints are kept.
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
        written = io.BytesIO()  # torch.save to a full disk raises RuntimeError, not OSError
        torch.save(content, written)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / checkpoint_name(epoch), written.getvalue())
        remove_old(self.folder)
        self._newest = time.monotonic()

    def restore(self) -> tuple[int, dict[str, Any]]:
        """Restore all parts from the newest valid checkpoint and remove newer, invalid ones.

        Returns:
            The epoch and the progress of the checkpoint; 0 and an empty dictionary if there is none. The parts are then
            unchanged.
        """
        for path in checkpoint_files(self.folder):
            content = self._read(path)
            if content is None:
                path.unlink(missing_ok=True)
                continue
            for name, part in self._parts.items():
                if content["parts"][name]:  # a gradient scaler that bf16 did not need has no state
                    part.load_state_dict(content["parts"][name])
            random = content["random"]
            torch.set_rng_state(random["torch"])
            self._generator.set_state(random["generator"])
            if random["cuda"] is not None and self._generator.device.type == "cuda":
                torch.cuda.set_rng_state(random["cuda"], self._generator.device)
            return int(content["epoch"]), dict(content["progress"])
        return 0, {}

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Read a checkpoint; return None if it is damaged or belongs to another training.

        No code in the file is executed.
        """
        try:
            content: dict[str, Any] = read_torch(path.read_bytes())
            sound = content["format"] == FORMAT and content["identity"] == self._identity
            return content if sound and set(content["parts"]) == set(self._parts) else None
        except OSError:
            raise
        except Exception:  # a damaged archive can raise any exception
            return None

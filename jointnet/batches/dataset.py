"""The slice pairs of a training at the networks' resolution, and the order in which they are trained on.

They are read from memory maps or stored on the device.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointnet.batches.augmentation import Batch
from jointnet.networks.apply import neighbour_indices
from jointnet.preparation.prepared_patient import NetworkArrays
from jointnet.structures import BY_CLASS, STRUCTURES


class LabelledPatient(Protocol):
    """A patient on the common grid with labels for training."""

    @property
    def patient(self) -> str:
        """The patient's name."""
        ...

    @property
    def digest(self) -> str:
        """A hash of all data of the patient that a training uses."""
        ...

    def labelled(self) -> NDArray[np.bool_]:
        """Return which structures of `structures.STRUCTURES` are labelled in each image, (2, structures)."""
        ...

    def network_arrays(self, block: int) -> NetworkArrays:
        """Return images and labels averaged over blocks of common-grid pixels. The arrays must not be modified."""
        ...


class SlicePairs(Protocol):
    """Slice pairs of which a training step takes some."""

    def batch(self, indices: Tensor) -> Batch:
        """Return the slice pairs of these indices (B,)."""
        ...


class SlicePairDataset:
    """All slice pairs of some patients in which at least one image shows a labelled structure that is learned.

    On a CPU, batches are copied from the patients' arrays. Cached arrays are memory maps, so that all trainings of a
    node share one copy. On other devices all slices are stored on the device, in half precision and single bytes.

    Args:
        patients: the patients.
        downsampling: side of the block of common-grid pixels that becomes one pixel.
        neighbours: number of neighbouring slices on either side that become further channels.
        device: the device of the batches.
        structures: the structures that are learned. All others count as not labelled.
    """

    def __init__(
        self,
        patients: Sequence[LabelledPatient],
        downsampling: int,
        neighbours: int,
        device: torch.device | str,
        structures: Sequence[str] = STRUCTURES,
    ) -> None:
        self.device = torch.device(device)
        self.block_pixels = downsampling**2
        arrays = [patient.network_arrays(downsampling) for patient in patients]
        wanted = torch.tensor([name in structures for name in BY_CLASS])
        used, seen, known, first = [], [], [], 0
        for patient, (_, counts, _) in zip(patients, arrays, strict=True):
            by_class = torch.from_numpy(patient.labelled()[:, [STRUCTURES.index(name) for name in BY_CLASS]]) & wanted
            shown = torch.from_numpy(counts.any((3, 4))) & by_class
            labelled = shown.flatten(1).any(1)
            used.append(first + labelled.nonzero()[:, 0])
            seen.append((first + neighbour_indices(len(counts), neighbours))[labelled])
            known.append(by_class.float().expand(len(used[-1]), -1, -1))
            first += len(counts)
        self._used, self._seen, self._labelled = torch.cat(used), torch.cat(seen), torch.cat(known)
        self._images, self._counts, self._fields = (_Rows(parts) for parts in zip(*arrays, strict=True))
        if self.device.type != "cpu":
            self._used, self._seen = self._used.to(self.device), self._seen.to(self.device)
            self._labelled = self._labelled.to(self.device)
            self._resident = [
                rows[torch.arange(first)].to(self.device) for rows in (self._images, self._counts, self._fields)
            ]

    def __len__(self) -> int:
        return len(self._used)

    def batch(self, indices: Tensor) -> Batch:
        """Return the slice pairs of these indices (B,), neighbours as channels, with class probabilities as labels.

        The field is what all slices seen have in common.
        """
        on_cpu = (self._images, self._counts, self._fields)
        images, counts, fields = on_cpu if self.device.type == "cpu" else self._resident
        seen = images[self._seen[indices]].float()
        field = fields[self._seen[indices]].all(1, keepdim=True).float()
        labelled = self._labelled[indices]
        structures = counts[self._used[indices]].float() / self.block_pixels * labelled[..., None, None]
        labels = torch.cat([1 - structures.sum(2, keepdim=True), structures], 2)
        return Batch(seen[:, :, 0], seen[:, :, 1], labels[:, 0], labels[:, 1], field, labelled)


class ShuffledPasses:
    """The batches of successive passes over all slice pairs, each pass in a new random order.

    The last batch of a pass has the remaining slice pairs.

    Args:
        count: number of slice pairs.
        batch_size: number of slice pairs per batch.
        generator: decides the order of each pass, when its first batch is drawn.
    """

    def __init__(self, count: int, batch_size: int, generator: torch.Generator) -> None:
        self._count, self._batch_size, self._generator = count, batch_size, generator
        self._left = torch.zeros(0, dtype=torch.long, device=generator.device)

    @property
    def steps_per_pass(self) -> int:
        """Number of batches of a pass."""
        return math.ceil(self._count / self._batch_size)

    def next_batch(self) -> Tensor:
        """Return the indices of the next batch."""
        if not len(self._left):
            self._left = torch.randperm(self._count, generator=self._generator, device=self._generator.device)
        batch, self._left = self._left[: self._batch_size], self._left[self._batch_size :]
        return batch

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is left of the current pass."""
        return {"left": self._left.clone()}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Continue the pass of a state. The generator's state is restored by the caller."""
        self._left = state_dict["left"].to(self._generator.device)


class _Rows:
    """Several arrays, concatenated along the first axis without a copy. Indexing with a tensor copies the rows."""

    def __init__(self, parts: Sequence[NDArray]) -> None:
        self.parts = parts
        self.firsts = np.cumsum([0, *(len(part) for part in parts)])

    def __getitem__(self, rows: Tensor) -> Tensor:
        numbers = rows.flatten().numpy()
        owners = np.searchsorted(self.firsts, numbers, side="right") - 1
        copied = np.empty((len(numbers), *self.parts[0].shape[1:]), self.parts[0].dtype)
        for place, (owner, number) in enumerate(zip(owners.tolist(), numbers.tolist(), strict=True)):
            copied[place] = self.parts[owner][number - self.firsts[owner]]
        return torch.from_numpy(copied).unflatten(0, rows.shape)

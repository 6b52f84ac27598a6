"""The slice pairs that a training reads at the networks' resolution, from memory maps or resident on its device."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointnet.augmentation import Batch
from jointnet.network_input import around
from jointnet.scans.network_arrays import NetworkArrays


class LabelledPatient(Protocol):
    """A patient on the common grid whose labels can be learned from."""

    @property
    def patient(self) -> int:
        """The number in the files' names."""
        ...

    @property
    def digest(self) -> str:
        """A hash of all that a training sees of the patient."""
        ...

    def network_arrays(self, block: int) -> NetworkArrays:
        """Give images and labels averaged over blocks of common-grid pixels; nobody writes into them."""
        ...


class SlicePairs:
    """All slice pairs of some patients in which either image shows a labelled structure.

    On a CPU a batch is copied from the patients' arrays, memory maps where they are cached, so that all trainings of a
    node share one copy of the patients. Other devices hold a copy of their own, in half precision and single bytes.

    Args:
        patients: whose slices.
        downsampling: side of a block of common-grid pixels that becomes one pixel.
        neighbours: slices on either side that are seen as further channels.
        device: where batches live.
    """

    def __init__(
        self, patients: Sequence[LabelledPatient], downsampling: int, neighbours: int, device: torch.device | str
    ) -> None:
        self.device = torch.device(device)
        self.block_pixels = downsampling**2
        arrays = [patient.network_arrays(downsampling) for patient in patients]
        shown, seen, first = [], [], 0
        for _, counts in arrays:
            labelled = torch.from_numpy(counts.any((1, 2, 3, 4)))
            shown.append(first + labelled.nonzero()[:, 0])
            seen.append((first + around(len(counts), neighbours))[labelled])
            first += len(counts)
        self._shown, self._seen = torch.cat(shown), torch.cat(seen)
        self._images, self._counts = _Rows([each.images for each in arrays]), _Rows([each.counts for each in arrays])
        if self.device.type != "cpu":
            self._shown, self._seen = self._shown.to(self.device), self._seen.to(self.device)
            self._resident = [rows[torch.arange(first)].to(self.device) for rows in (self._images, self._counts)]

    def __len__(self) -> int:
        return len(self._shown)

    def batch(self, indices: Tensor) -> Batch:
        """Give the slice pairs of these indices (B,), neighbours as channels, and class probabilities as labels."""
        images, counts = (self._images, self._counts) if self.device.type == "cpu" else self._resident
        seen = images[self._seen[indices]].float()
        structures = counts[self._shown[indices]].float() / self.block_pixels
        labels = torch.cat([1 - structures.sum(2, keepdim=True), structures], 2)
        return Batch(seen[:, :, 0], seen[:, :, 1], labels[:, 0], labels[:, 1])


class _Rows:
    """The first axes of several arrays as one; indexing by a tensor copies rows, as it does of a tensor."""

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

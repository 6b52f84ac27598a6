"""The slice pairs that a training reads, resident on its device at the networks' resolution."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jointnet.augmentation import Batch
from jointnet.structures import CLASSES


def network_images(images: np.ndarray, downsampling: int, device: torch.device | str) -> Tensor:
    """Give images (S, 2, h, w) float32 at the networks' resolution from the common grid's (S, 2, H, W)."""
    tensor = torch.from_numpy(np.array(images, dtype=np.float32)).to(device)
    return F.avg_pool2d(tensor, downsampling) if downsampling > 1 else tensor


def around(slices: int, neighbours: int) -> Tensor:
    """Give for each slice of a stack the indices (slices, 1 + 2 neighbours) that its network sees, in order."""
    offsets = torch.arange(-neighbours, neighbours + 1)
    return (torch.arange(slices)[:, None] + offsets).clamp(0, slices - 1)


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

    def images(self) -> NDArray[np.float16]:
        """Give the images (S, 2, H, W), cine first."""
        ...

    def labels(self) -> NDArray[np.uint8]:
        """Give the class codes (S, 2, H, W), cine first."""
        ...


class SlicePairs:
    """All slice pairs of some patients in which either image shows a labelled structure.

    Labels are kept as counts of the common grid's pixels per block, one byte each: a quarter of the memory of floats.

    Args:
        patients: whose slices.
        downsampling: side of a block of common-grid pixels that becomes one pixel.
        neighbours: slices on either side that are seen as further channels.
        device: where they live.
    """

    def __init__(
        self, patients: Sequence[LabelledPatient], downsampling: int, neighbours: int, device: torch.device | str
    ) -> None:
        images, counts, seen = [], [], []
        first = 0
        for patient in patients:
            codes = torch.from_numpy(np.array(patient.labels()))
            shown = (codes > 0).flatten(1).any(1)
            images.append(network_images(patient.images(), downsampling, device))
            counts.append(_class_counts(codes[shown], downsampling).to(device))
            seen.append((first + around(len(codes), neighbours))[shown].to(device))
            first += len(codes)
        self.images = torch.cat(images)
        self.counts = torch.cat(counts)
        self.seen = torch.cat(seen)
        self.block_pixels = downsampling**2

    def __len__(self) -> int:
        return len(self.seen)

    def batch(self, indices: Tensor) -> Batch:
        """Give the slice pairs of these indices (B,), neighbours as channels, and class probabilities as labels."""
        images = self.images[self.seen[indices]]
        structures = self.counts[indices].float() / self.block_pixels
        labels = torch.cat([1 - structures.sum(2, keepdim=True), structures], 2)
        return Batch(images[:, :, 0], images[:, :, 1], labels[:, 0], labels[:, 1])


def _class_counts(codes: Tensor, downsampling: int) -> Tensor:
    """Count each structure's pixels per block: codes (S, 2, H, W) to counts (S, 2, structures, h, w) uint8."""
    maps = []
    for code in range(1, CLASSES):
        share = F.avg_pool2d((codes == code).float(), downsampling)
        maps.append((share * downsampling**2).round().to(torch.uint8))
    return torch.stack(maps, 2)

"""Slices of the phantom at a given size, for benchmarks of training steps."""

from dataclasses import dataclass
from pathlib import Path

import torch

from jointnet.common_grid import SIZE_PX
from jointnet.data.cache import CachedPatient, prepare
from jointnet.data.dataset import SlicePairDataset
from jointnet.data.folder import find_patients
from jointnet.data.preparation import NetworkArrays
from jointnet.phantom.writer import write_phantom
from jointnet.settings import Settings
from jointnet.train.augmentation import Batch

HALF_RESOLUTION_PX = 112
"""Slices up to this side use half the resolution of the common grid, larger ones the full resolution."""


def downsampling_of(side: int) -> int:
    """Return the `training.downsampling` for slices with this side in pixels."""
    return 1 if side > HALF_RESOLUTION_PX else 2


@dataclass(frozen=True)
class CroppedPatient:
    """A patient whose slices are cropped to the middle `side_px` pixels of the common grid, as in published work."""

    whole: CachedPatient
    side_px: int

    @property
    def patient(self) -> int:
        """The number of the uncropped patient."""
        return self.whole.patient

    @property
    def digest(self) -> str:
        """A digest that differs between crops."""
        return f"{self.whole.digest}-{self.side_px}"

    def network_arrays(self, block: int) -> NetworkArrays:
        """Return the middle of the uncropped patient's arrays."""
        edge = (SIZE_PX - self.side_px) // 2 // block
        middle = slice(edge, SIZE_PX // block - edge)
        return NetworkArrays(*(each[..., middle, middle] for each in self.whole.network_arrays(block)))


@dataclass(frozen=True)
class FewSlices:
    """The first `count` slice pairs, so that an epoch has a known number of full batches."""

    pairs: SlicePairDataset
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: torch.Tensor) -> Batch:
        """Return the slice pairs of these indices."""
        return self.pairs.batch(indices)


def phantom_patients(count: int) -> list[CachedPatient]:
    """Return phantom patients on the common grid, created on the first call."""
    folder = Path(f"data/phantom-{count}-0").absolute()
    write_phantom(folder, patients=count)
    return prepare(list(find_patients(folder).values()))


def few_slices(patients: list[CachedPatient], settings: Settings, side: int, count: int | None) -> FewSlices:
    """Return the first `count` slice pairs, all where None, with `side` pixels at the settings' resolution."""
    side_px = side * settings.training.downsampling
    seen = [patient if side_px == SIZE_PX else CroppedPatient(patient, side_px) for patient in patients]
    pairs = SlicePairDataset(seen, settings.training.downsampling, settings.model.neighbours, "cpu")
    if count is not None and len(pairs) < count:
        raise ValueError(f"{count} slice pairs are wanted, the phantom has {len(pairs)}")
    return FewSlices(pairs, len(pairs) if count is None else count)

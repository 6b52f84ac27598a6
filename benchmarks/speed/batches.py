"""Slices of the phantom at a wanted size, for benchmarks of training steps."""

from dataclasses import dataclass
from pathlib import Path

import torch

from jointnet.augmentation import Batch
from jointnet.geometry import SIZE_PX
from jointnet.phantom import write_phantom
from jointnet.scans.cache import CachedPatient, prepare
from jointnet.scans.folder import find_patients
from jointnet.scans.network_arrays import NetworkArrays
from jointnet.settings import Settings
from jointnet.slices import SlicePairs

HALF_RESOLUTION_PX = 112
"""Sides up to this one are of the common grid at half its resolution, larger ones at the whole."""


def downsampling_of(side: int) -> int:
    """Give the `training.downsampling` at which slices are so many pixels a side."""
    return 1 if side > HALF_RESOLUTION_PX else 2


@dataclass(frozen=True)
class CroppedPatient:
    """The middle of a patient's slices, as the published crops are: `side_px` pixels of the common grid."""

    whole: CachedPatient
    side_px: int

    @property
    def patient(self) -> int:
        """The number of the whole patient."""
        return self.whole.patient

    @property
    def digest(self) -> str:
        """What tells it from other crops."""
        return f"{self.whole.digest}-{self.side_px}"

    def network_arrays(self, block: int) -> NetworkArrays:
        """Give the middle of the whole patient's arrays."""
        edge = (SIZE_PX - self.side_px) // 2 // block
        middle = slice(edge, SIZE_PX // block - edge)
        return NetworkArrays(*(each[..., middle, middle] for each in self.whole.network_arrays(block)))


@dataclass(frozen=True)
class FewSlices:
    """The first `count` slice pairs, so that an epoch has a known number of full batches."""

    pairs: SlicePairs
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: torch.Tensor) -> Batch:
        """Give the slice pairs of these indices."""
        return self.pairs.batch(indices)


def phantom_patients(count: int) -> list[CachedPatient]:
    """Give phantom patients on the common grid; they are made when they are first asked for."""
    folder = Path(f"data/phantom-{count}-0").absolute()
    write_phantom(folder, patients=count)
    return prepare(list(find_patients(folder).values()))


def few_slices(patients: list[CachedPatient], settings: Settings, side: int, count: int | None) -> FewSlices:
    """Give so many slice pairs, all where None, of `side` pixels at the settings' resolution."""
    side_px = side * settings.training.downsampling
    seen = [patient if side_px == SIZE_PX else CroppedPatient(patient, side_px) for patient in patients]
    pairs = SlicePairs(seen, settings.training.downsampling, settings.model.neighbours, "cpu")
    if count is not None and len(pairs) < count:
        raise ValueError(f"{count} slice pairs are wanted, the phantom has {len(pairs)}")
    return FewSlices(pairs, len(pairs) if count is None else count)

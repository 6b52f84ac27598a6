"""Synthetic slice pairs, to time a training step and to check a network: discs in a ring, and noise."""

import torch
from torch import Tensor

from jointnet.batches.augmentation import Batch
from jointnet.common_grid import SIZE_PX
from jointnet.geometry import centres
from jointnet.settings import Settings
from jointnet.structures import CLASS_INDEX, CLASSES, STRUCTURES

LV, MYO, RV = 0.19, 0.29, 0.17
"""Radii, as shares of half the field of view: LV pool, myocardium around it, and RV pool beside it."""
RV_AT = (-0.45, 0.07)
SHIFT = 0.1
"""Largest displacement of cine and LGE along each axis, in the same unit."""


class SyntheticPairs:
    """Slice pairs of the shape that a training with some settings has, always the same ones.

    Args:
        settings: the settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def batch(self, indices: Tensor) -> Batch:
        """Return as many slice pairs as there are indices."""
        settings, count = self.settings, len(indices)
        generator = torch.Generator().manual_seed(0)
        side = SIZE_PX // settings.training.downsampling
        middles = SHIFT * (2 * torch.rand(2, count, 1, 1, 2, generator=generator) - 1)
        labels = torch.stack([_hearts(side, middle) for middle in middles])
        levels = torch.tensor([0.2, 0.9, 0.4, 0.7]) + torch.zeros(2, 1, CLASSES)
        levels[1, :, CLASS_INDEX["myo"]] = 0.1
        images = (labels * levels[..., None, None]).sum(2, keepdim=True)
        images = images.repeat(1, 1, 1 + 2 * settings.model.neighbours, 1, 1)
        images = images + 0.05 * torch.randn(images.shape, generator=generator)
        learned = [name in settings.model.structures for name in sorted(STRUCTURES, key=lambda name: CLASS_INDEX[name])]
        labelled = torch.tensor(learned).float().expand(count, 2, -1)
        cine_labels, lge_labels = _of_labelled(labels, labelled[0, 0])
        field = torch.ones(count, 1, side, side)
        return Batch(images[0], images[1], cine_labels, lge_labels, field, labelled)


def _hearts(side: int, middle: Tensor) -> Tensor:
    """Return the class probabilities (B, C, side, side) of hearts about points (B, 1, 1, 2)."""
    at = centres(side, middle.device) - middle
    beside = at - torch.tensor(RV_AT)
    radius, rv = at.norm(dim=-1), beside.norm(dim=-1) < RV
    classes = torch.where(rv, CLASS_INDEX["rv"], 0)
    classes = torch.where(radius < MYO, CLASS_INDEX["myo"], classes)
    classes = torch.where(radius < LV, CLASS_INDEX["lv"], classes)
    return torch.nn.functional.one_hot(classes, CLASSES).movedim(-1, 1).float()


def _of_labelled(labels: Tensor, labelled: Tensor) -> Tensor:
    """Return labels (2, B, C, H, W) in which structures that are not labelled (structures,) are background."""
    structures = labels[:, :, 1:] * labelled[:, None, None]
    return torch.cat([1 - structures.sum(2, keepdim=True), structures], 2)

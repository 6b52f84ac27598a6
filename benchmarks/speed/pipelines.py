"""The two compared trainings: ours, and a typical MONAI pipeline for the segmentation of the same slices, the peer.

The peer has CacheDataset, per-sample transforms in a DataLoader (without worker processes, which made it slower), two
BasicUNets, DiceCELoss and Adam at a constant rate. `pip install -e '.[benchmark]'` installs MONAI.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from batches import FewSlices

from jointnet.networks.device import computing_in, training_precision
from jointnet.settings import Settings
from jointnet.train.augmentation import Batch
from jointnet.train.loop import new_learner, train_epoch

RATE = 1e-3
HALF = "ours, at half the resolution"
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    HALF: {},
    "ours, the finest level in place of the stem": {"model.stem": 1},
    "ours, a network for each modality": {"model.sharing": "none"},
    "ours, as in the paper": {"model.stem": 1, "model.sharing": "none", "model.head": "fully_connected"},
}
"""Settings of each of our kinds that differ from the defaults."""
Segment = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class Form(NamedTuple):
    """The memory layout of a peer's networks, and whether they train in 16 bits."""

    layout: torch.memory_format
    in_16_bits: bool


PEERS = {
    "MONAI": Form(torch.contiguous_format, False),
    "MONAI, channels last": Form(torch.channels_last, False),
    "MONAI, channels last, 16 bits": Form(torch.channels_last, True),
}


class Pipeline(NamedTuple):
    """A function that trains an epoch, and one that returns the class scores of cine and LGE images (B, 1, H, W)."""

    epoch: Callable[[], Any]
    segment: Segment


def pipeline(kind: str, widths: list[int], pairs: FewSlices, settings: Settings) -> Pipeline:
    """Return a training by the name of its kind. `widths` are the peer's; ours are in the settings."""
    return ours(pairs, settings) if kind in OURS else monai(PEERS[kind], widths, pairs, settings)


def ours(pairs: FewSlices, settings: Settings) -> Pipeline:
    """Return the training of the joint model, as in `jointnet.train`."""
    steps = -(-len(pairs) // settings.training.batch_size)
    learner = new_learner(settings, steps, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def segment(cine: torch.Tensor, lge: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = learner.averaged(cine, lge)
        return output.cine_logits, output.lge_logits

    return Pipeline(lambda: train_epoch(learner, pairs, generator, False), segment)


def monai(form: Form, widths: list[int], pairs: FewSlices, settings: Settings) -> Pipeline:
    """Return the peer's training in one of its forms."""
    try:
        from monai.data import CacheDataset, DataLoader
        from monai.losses import DiceCELoss
        from monai.networks.nets import BasicUNet
    except ImportError:
        sys.exit("MONAI is not installed: pip install -e '.[benchmark]'")
    cpu = torch.device("cpu")
    precision = training_precision(cpu) if form.in_16_bits else torch.float32
    dataset = CacheDataset(
        samples_of(pairs.batch(torch.arange(len(pairs)))),
        monai_transforms(),
        cache_rate=1.0,
        num_workers=2,
        progress=False,
    )
    loader = DataLoader(dataset, batch_size=settings.training.batch_size, shuffle=True, num_workers=0)
    networks = [BasicUNet(2, 1, 4, (*widths, widths[0])).to(memory_format=form.layout) for _ in range(2)]
    optimiser = torch.optim.Adam([value for network in networks for value in network.parameters()], lr=RATE, fused=True)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def scores(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        with computing_in(precision, cpu):
            found = network(images.to(memory_format=form.layout))
        return torch.as_tensor(found).float()

    def epoch() -> float:
        total = 0.0
        for batch in loader:
            optimiser.zero_grad(set_to_none=True)
            parts = [
                loss(scores(network, batch[image].as_tensor()), batch[f"{image}_label"].as_tensor())
                for network, image in zip(networks, ("cine", "lge"), strict=True)
            ]
            error = torch.stack(parts).sum()
            error.backward()
            optimiser.step()
            total += error.item()
        return total

    return Pipeline(epoch, lambda cine, lge: (scores(networks[0], cine), scores(networks[1], lge)))


def samples_of(batch: Batch) -> list[dict[str, torch.Tensor]]:
    """Return a dictionary for each slice pair, with the labels as class indices (1, H, W)."""
    cine_label, lge_label = (each.argmax(1, keepdim=True).float() for each in (batch.cine_labels, batch.lge_labels))
    maps = {"cine": batch.cine, "lge": batch.lge, "cine_label": cine_label, "lge_label": lge_label}
    return [{name: each[index] for name, each in maps.items()} for index in range(len(batch.cine))]


def monai_transforms() -> Callable[[Any], Any]:
    """Return the peer's augmentation: one affine transform per pair, and a gamma transform per image."""
    from monai.transforms import Compose, EnsureTyped, RandAdjustContrastd, RandAffined

    images, labels = ("cine", "lge"), ("cine_label", "lge_label")
    affine = RandAffined(
        (*images, *labels),
        prob=1.0,
        rotate_range=0.3,
        translate_range=8.0,
        scale_range=0.15,
        mode=("bilinear", "bilinear", "nearest", "nearest"),
        padding_mode="zeros",
    )
    gammas = [RandAdjustContrastd(image, prob=1.0, gamma=(0.6, 1.7)) for image in images]
    composed: Callable[[Any], Any] = Compose([EnsureTyped((*images, *labels)), affine, *gammas])
    return composed

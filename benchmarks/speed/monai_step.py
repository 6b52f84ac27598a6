"""Patients per second and peak memory of a joint training, against a MONAI pipeline with two U-Nets of the same widths.

    pip install -e '.[benchmark]'
    python benchmarks/speed/monai_step.py [--sides 96 224] [--widths 8 16 32 64 128] [--repeats 3]

Ours is an epoch of `jointnet.train` with registration, default augmentation and logging, with the same widths at every
resolution but the finest, which our stem replaces. The peer segments the same two images of the same slices and
registers nothing: CacheDataset, per-sample transforms in a DataLoader (worker processes made it slower), two
BasicUNets, DiceCELoss and Adam at a constant rate, in 32 bits, in the faster of two memory layouts. At 224 pixels ours
is also timed at half the resolution, which is the default. Every measurement has its own process, the kinds in turn.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from step import FewSlices, downsampling_of, few_slices, phantom_patients
from timing import Figure, create_parser, in_turn, print_figures, ratios

from jointnet.batches.augmentation import Batch
from jointnet.compute.allocator import keep_freed_memory
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train.loop import new_learner, train_epoch

PATIENTS = 12
BATCHES = 4
RATE = 1e-3
CPU = torch.device("cpu")
OURS, HALF = "ours", "ours, at half the resolution"


PEERS = {"MONAI": torch.contiguous_format, "MONAI, channels last": torch.channels_last}
"""Memory layouts of the peer's networks, by name."""


def main() -> None:
    """Measure and print the figures; or, in a separate process, measure one kind once."""
    parser = create_parser(__doc__, repeats=3)
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 224])
    parser.add_argument("--widths", nargs=5, type=int, default=[8, 16, 32, 64, 128])
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options.sides[0], options.widths)))
        return
    phantom_patients(PATIENTS)
    figures: list[Figure] = []
    for side in options.sides:
        kinds = [OURS, *([HALF] if downsampling_of(side) == 1 else []), *PEERS]
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(options.repeats):
            for kind in kinds:
                command = [sys.executable, __file__, "--only", kind, "--sides", str(side), "--widths"]
                done = subprocess.run([*command, *map(str, options.widths)], check=True, stdout=subprocess.PIPE)
                runs[kind].append(json.loads(done.stdout.splitlines()[-1]))
        figures += compared(side, runs)
    print_figures(figures, options, widths=options.widths, batch=8)


def compared(side: int, runs: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Return the figures of one size. The peer of the comparison is the faster of its two layouts."""
    values = {kind: {name: tuple(run[name] for run in own) for name in own[0]} for kind, own in runs.items()}
    peer = min(PEERS, key=lambda kind: statistics.median(values[kind]["seconds a step"]))
    figures = []
    for kind, measures in values.items():
        figures += [Figure(f"{side} px, {kind}: {name}", each, "") for name, each in measures.items()]
        if kind not in PEERS:
            for name, bounds in (("patients a second", {"least": 3.0}), ("peak memory, MB", {"most": 1.0})):
                over = ratios(measures[name], values[peer][name])
                figures.append(Figure(f"{side} px, {kind}: {name} over {peer}", over, "x", **bounds))
    return figures


def measured(kind: str, side: int, widths: list[int]) -> dict[str, float]:
    """Return the seconds per step, the patients per second and the peak memory of this process."""
    keep_freed_memory()
    torch.manual_seed(0)
    patients = phantom_patients(PATIENTS)
    downsampling = 2 if kind == HALF else downsampling_of(side)
    values = {"model.widths": widths[1:], "training.downsampling": downsampling}
    settings = with_values(load_settings("default"), values)
    batch = settings.training.batch_size
    pairs = few_slices(patients, settings, side // 2 if kind == HALF else side, BATCHES * batch)
    epoch = monai_epoch(PEERS[kind], widths, pairs, batch) if kind in PEERS else our_epoch(pairs, settings)
    seconds = statistics.median(in_turn({"epoch": epoch}, repeats=3, warm_up=2)["epoch"]) / BATCHES
    slices = sum(patient.slices for patient in patients) / len(patients)
    return {
        "seconds a step": seconds,
        "patients a second": batch / slices / seconds,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def our_epoch(pairs: FewSlices, settings: Settings) -> Callable[[], Any]:
    """Return a function that trains the joint model for an epoch, as `jointnet.train` does."""
    learner, generator = (
        new_learner(settings, BATCHES * settings.training.epochs, CPU),
        torch.Generator().manual_seed(0),
    )
    batches = torch.randperm(len(pairs), generator=generator).split(settings.training.batch_size)
    return lambda: train_epoch(learner, pairs, batches, generator, False)


def monai_epoch(
    layout: torch.memory_format, widths: list[int], pairs: FewSlices, batch_size: int
) -> Callable[[], float]:
    """Return a function that trains the peer for an epoch in one memory layout."""
    try:
        from monai.data import CacheDataset, DataLoader
        from monai.losses import DiceCELoss
        from monai.networks.nets import BasicUNet
    except ImportError:
        sys.exit("MONAI is not installed: pip install -e '.[benchmark]'")
    samples = samples_of(pairs.batch(torch.arange(len(pairs))))
    dataset = CacheDataset(samples, monai_transforms(), cache_rate=1.0, num_workers=2, progress=False)
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=0)
    networks = [BasicUNet(2, 1, 4, (*widths, widths[0])).to(memory_format=layout) for _ in range(2)]
    optimiser = torch.optim.Adam([value for network in networks for value in network.parameters()], lr=RATE, fused=True)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def epoch() -> float:
        total = 0.0
        for batch in loader:
            optimiser.zero_grad(set_to_none=True)
            parts = [
                loss(network(batch[image].as_tensor().to(memory_format=layout)), batch[f"{image}_label"].as_tensor())
                for network, image in zip(networks, ("cine", "lge"), strict=True)
            ]
            error = torch.stack(parts).sum()
            error.backward()
            optimiser.step()
            total += error.item()
        return total

    return epoch


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


if __name__ == "__main__":
    main()

"""Patients a second and peak memory of a joint training, against a MONAI pipeline with two U-Nets of the same widths.

    python benchmarks/speed/peer.py [--sides 96 224] [--widths 8 16 32 64 128] [--variants] [--repeats 3]
    python benchmarks/speed/peer.py --accuracy 30 --sides 96 --repeats 1

Ours is a training as `jointnet.train` does it, with registration, the defaults' augmentation and logging, at the same
widths as the peer on every resolution but the finest, which our stem takes the place of. The peer segments the same two
images of the same slices and registers nothing: CacheDataset, per-sample transforms in a DataLoader (in the process
itself: workers made it slower), two BasicUNets, DiceCELoss, Adam, in whichever memory layout is the faster here.
`--variants` also times ours without the choices that make it fast. Every run is a process of its own, the kinds in
turn. `--accuracy E` trains both for E epochs on 12 phantom patients and gives the Dice of cine and LGE, mean of three
structures, on 6 others. On 224 pixels ours is also timed as the defaults have it, at half the resolution; its Dice is
taken at the whole one, and the peer's in one layout. MONAI comes with `pip install -e '.[benchmark]'`.
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
import torch.nn.functional as F
from batches import FewSlices, few_slices, phantom_patients
from figures import Figure, add_options, in_turn, ratios, tell

from jointnet.allocator import keep_freed_memory
from jointnet.epoch import new_learner, train_epoch
from jointnet.settings import Settings, load_settings, with_values

PATIENTS, LEARNED_FROM = 18, 12
BATCHES = 4
RATE = 1e-3
HALF = "ours, at half the resolution"
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    HALF: {},
    "ours, the finest level in place of the stem": {"model.stem": 1},
    "ours, a network for each modality": {"model.sharing": "none"},
    "ours, as in the paper": {"model.stem": 1, "model.sharing": "none", "model.head": "fully_connected"},
}
Network = Callable[[torch.Tensor], torch.Tensor]


def main() -> None:
    """Measure and tell; or, as a process of its own, measure one kind once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 224])
    parser.add_argument("--widths", nargs=5, type=int, default=[8, 16, 32, 64, 128])
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--accuracy", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    add_options(parser, repeats=3)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options.sides[0], options.widths, options.accuracy)))
        return
    phantom_patients(PATIENTS)
    figures: list[Figure] = []
    for side in options.sides:
        own = list(VARIANTS) if options.variants else ["ours", HALF]
        layouts = ["MONAI, channels last"] if options.accuracy else ["MONAI", "MONAI, channels last"]
        kinds = [*(kind for kind in own if kind != HALF or side > 112), *layouts]
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(options.repeats):
            for kind in kinds:
                found[kind].append(in_a_process(kind, side, options))
        figures += compared(side, found)
    tell(figures, options, widths=options.widths, batch=8, epochs=options.accuracy)


def in_a_process(kind: str, side: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure one kind once, by itself."""
    widths = [str(width) for width in options.widths]
    command = [sys.executable, __file__, "--only", kind, "--sides", str(side), "--widths", *widths]
    run = subprocess.run([*command, "--accuracy", str(options.accuracy)], check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def compared(side: int, found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Give the figures of one size; the peer is the faster of its two layouts."""
    values = {kind: {name: tuple(run[name] for run in runs) for name in runs[0]} for kind, runs in found.items()}
    peers = [kind for kind in found if kind.startswith("MONAI")]
    peer = min(peers, key=lambda kind: statistics.median(values[kind].get("seconds a step", (0.0,))))
    figures = []
    for kind, measures in values.items():
        figures += [Figure(f"{side} px, {kind}: {name}", each, "") for name, each in measures.items()]
        if kind not in peers:
            if "patients a second" in values[kind]:
                speeds = values[kind]["patients a second"], values[peer]["patients a second"]
                name = f"{side} px, {kind}: patients a second over {peer}"
                figures.append(Figure(name, ratios(*speeds), "x", least=3.0))
            peaks = values[kind]["peak memory, MB"], values[peer]["peak memory, MB"]
            figures.append(Figure(f"{side} px, {kind}: peak memory over {peer}", ratios(*peaks), "x", most=1.0))
    return figures


def measured(kind: str, side: int, widths: list[int], epochs: int) -> dict[str, float]:
    """Give seconds a step, patients a second and the peak of this process; and the Dice where it is to train on."""
    keep_freed_memory()
    torch.manual_seed(0)
    patients = phantom_patients(PATIENTS)
    chosen = VARIANTS.get(kind, {})
    values = {"model.widths": widths if chosen.get("model.stem") == 1 else widths[1:], **chosen}
    whole = with_values(load_settings("default"), {"training.downsampling": 1 if side > 112 else 2})
    values |= {"training.downsampling": 2 if kind == HALF else whole.training.downsampling}
    settings = with_values(whole, values | {"training.epochs": max(1, epochs)})
    seen_px = side // 2 if kind == HALF else side
    learned, others = patients[:LEARNED_FROM], patients[LEARNED_FROM:]
    pairs = few_slices(learned, settings, seen_px, None if epochs else BATCHES * settings.training.batch_size)
    fit, networks = ours(pairs, settings) if kind in VARIANTS else monai(kind, widths, pairs, settings)
    result: dict[str, float] = {}
    if epochs:
        for _ in range(epochs):
            fit()
        seen, truth = few_slices(others, settings, seen_px, None), few_slices(others, whole, side, None)
        result["Dice of cine"], result["Dice of LGE"] = dice_of(networks, seen, truth)
    else:
        seconds = statistics.median(in_turn({"epoch": fit}, repeats=3, warm_up=2)["epoch"]) / BATCHES
        slices = sum(patient.slices for patient in learned) / len(learned)
        result["seconds a step"] = seconds
        result["patients a second"] = settings.training.batch_size / slices / seconds
    result["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def ours(pairs: FewSlices, settings: Settings) -> tuple[Callable[[], Any], tuple[Network, Network]]:
    """Give an epoch of the joint model, and its two segmentations."""
    steps = -(-len(pairs) // settings.training.batch_size)
    learner = new_learner(settings, steps, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)

    def segment(image: torch.Tensor, modality: int) -> torch.Tensor:
        output = learner.averaged(image, image)
        return output.lge_logits if modality else output.cine_logits

    networks = (lambda image: segment(image, 0)), (lambda image: segment(image, 1))
    return lambda: train_epoch(learner, pairs, generator, False), networks


def monai(
    kind: str, widths: list[int], pairs: FewSlices, settings: Settings
) -> tuple[Callable[[], Any], tuple[Network, Network]]:
    """Give an epoch of the peer, and its two segmentations."""
    try:
        from monai.data import CacheDataset, DataLoader
        from monai.losses import DiceCELoss
        from monai.networks.nets import BasicUNet
        from monai.transforms import Compose, EnsureTyped, RandAdjustContrastd, RandAffined
    except ImportError:
        sys.exit("MONAI is not installed: pip install -e '.[benchmark]'")
    layout = torch.channels_last if "channels last" in kind else torch.contiguous_format
    images, labels = ("cine", "lge"), ("cine_label", "lge_label")
    whole = pairs.batch(torch.arange(len(pairs)))
    maps = (
        whole.cine,
        whole.lge,
        *(each.argmax(1, keepdim=True).float() for each in (whole.cine_labels, whole.lge_labels)),
    )
    samples = [dict(zip((*images, *labels), each, strict=True)) for each in zip(*maps, strict=True)]
    transforms = [
        EnsureTyped((*images, *labels)),
        RandAffined(
            (*images, *labels),
            prob=1.0,
            rotate_range=0.3,
            translate_range=8.0,
            scale_range=0.15,
            mode=("bilinear", "bilinear", "nearest", "nearest"),
            padding_mode="zeros",
        ),
        *(RandAdjustContrastd(image, prob=1.0, gamma=(0.6, 1.7)) for image in images),
    ]
    dataset = CacheDataset(samples, Compose(transforms), cache_rate=1.0, num_workers=2, progress=False)
    loader = DataLoader(dataset, batch_size=settings.training.batch_size, shuffle=True, num_workers=0)
    features = (*widths, widths[0])
    networks = [BasicUNet(2, 1, 4, features).to(memory_format=layout) for _ in images]
    optimiser = torch.optim.Adam([value for network in networks for value in network.parameters()], lr=RATE, fused=True)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def epoch() -> float:
        total = 0.0
        for batch in loader:
            optimiser.zero_grad(set_to_none=True)
            parts = [
                loss(network(batch[image].as_tensor().to(memory_format=layout)), batch[label].as_tensor())
                for network, image, label in zip(networks, images, labels, strict=True)
            ]
            error = torch.stack(parts).sum()
            error.backward()
            optimiser.step()
            total += error.item()
        return total

    return epoch, (networks[0], networks[1])


def dice_of(networks: tuple[Network, Network], seen: FewSlices, truth: FewSlices) -> tuple[float, float]:
    """Give the Dice of cine and of LGE over all slices' pixels at the truth's resolution, mean of the structures."""
    shown, wanted = (pairs.batch(torch.arange(len(pairs))) for pairs in (seen, truth))
    found = []
    for network, images, labels in zip(
        networks, (shown.cine, shown.lge), (wanted.cine_labels, wanted.lge_labels), strict=True
    ):
        with torch.inference_mode():
            parts = [F.interpolate(network(part), size=labels.shape[-2:], mode="bilinear") for part in images.split(16)]
        predicted, true = torch.cat(parts).argmax(1), labels.argmax(1)
        scores = [
            2 * ((predicted == code) & (true == code)).sum() / ((predicted == code).sum() + (true == code).sum())
            for code in range(1, labels.shape[1])
        ]
        found.append(float(torch.stack(scores).mean()))
    return found[0], found[1]


if __name__ == "__main__":
    main()

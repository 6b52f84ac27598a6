"""How good a segmentation a joint training has after a time, against the MONAI pipeline of `peer.py`.

    python benchmarks/speed/peer_accuracy.py [--data DIR] [--side 96] [--epochs 15 30 60] [--repeats 1]

Steps a second say little where one of the two learns more by a step. So each is trained for several numbers of epochs,
ours with a schedule of that length, and the seconds stand beside the Dice of cine and of LGE: means of three structures
over all pixels of the slices of patients who were not trained on. One third of the patients is left for that: of 18 of
the phantom, or of those in DIR. On more than 112 pixels ours is also trained as the defaults have it, at half the
resolution; the Dice is taken at the whole one. The trainings take turns.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from batches import FewSlices, downsampling_of, few_slices, phantom_patients
from figures import Figure, add_options, tell
from pipelines import HALF, Segment, pipeline

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.data.cache import CachedPatient, prepare
from jointnet.data.folder import find_patients
from jointnet.evaluate.metrics import dice_by_structure
from jointnet.settings import Settings, load_settings, with_values

PATIENTS = 18
PEER = "MONAI, channels last"
PART = 16
"""Number of slices that are predicted together."""


def main() -> None:
    """Train and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of scans (default: the phantom)")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--widths", nargs=5, type=int, default=[8, 16, 32, 64, 128])
    parser.add_argument("--epochs", nargs="+", type=int, default=[15, 30, 60])
    parser.add_argument("--settings", default="default", help="of ours; the widths are those above")
    add_options(parser, repeats=1)
    options = parser.parse_args()
    keep_freed_memory()
    patients = prepare(list(find_patients(options.data).values())) if options.data else phantom_patients(PATIENTS)
    kinds = ["ours", *([HALF] if downsampling_of(options.side) == 1 else []), PEER]
    figures: list[Figure] = []
    for epochs in options.epochs:
        values = {"model.widths": options.widths[1:], "training.epochs": epochs}
        settings = with_values(load_settings(options.settings), values)
        found: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in kinds}
        for seed in range(options.repeats):
            for kind in kinds:
                found[kind].append(trained(kind, patients, settings, options.side, options.widths, seed))
        for kind, runs in found.items():
            seconds, cine, lge = zip(*runs, strict=True)
            what = f"{options.side} px, {epochs} epochs, {kind}"
            figures += [
                Figure(f"{what}: training", seconds, "s"),
                Figure(f"{what}: Dice of cine", cine, ""),
                Figure(f"{what}: Dice of LGE", lge, ""),
            ]
    tell(figures, options, widths=options.widths, settings=options.settings, data=str(options.data or "phantom"))


def trained(
    kind: str, patients: Sequence[CachedPatient], settings: Settings, side: int, widths: list[int], seed: int
) -> tuple[float, float, float]:
    """Train one kind once and return its seconds and the Dice of cine and LGE."""
    torch.manual_seed(seed)
    whole = with_values(settings, {"training.downsampling": downsampling_of(side)})
    seen_px = side // 2 if kind == HALF else side
    own = with_values(whole, {"training.downsampling": 2}) if kind == HALF else whole
    learned = len(patients) * 2 // 3
    training = pipeline(kind, widths, few_slices(list(patients[:learned]), own, seen_px, None), own)
    started = time.perf_counter()
    for _ in range(settings.training.epochs):
        training.epoch()
    seconds = time.perf_counter() - started
    others = list(patients[learned:])
    seen, truth = few_slices(others, own, seen_px, None), few_slices(others, whole, side, None)
    return seconds, *dice_of(training.segment, seen, truth)


def dice_of(segment: Segment, seen: FewSlices, truth: FewSlices) -> tuple[float, float]:
    """Return the mean Dice over structures of cine and of LGE, over all slices' pixels at the truth's resolution."""
    shown, wanted = (pairs.batch(torch.arange(len(pairs))) for pairs in (seen, truth))
    with torch.inference_mode():
        parts = [segment(*both) for both in zip(shown.cine.split(PART), shown.lge.split(PART), strict=True)]
    cine, lge = (torch.cat(scores) for scores in zip(*parts, strict=True))
    return mean_dice(cine, wanted.cine_labels), mean_dice(lge, wanted.lge_labels)


def mean_dice(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the mean over structures of the Dice between class scores (B, C, h, w) and probabilities (B, C, H, W).

    The result is NaN where a structure is in neither of them.
    """
    predicted = F.interpolate(scores, size=labels.shape[-2:], mode="bilinear").argmax(1)
    found = dice_by_structure(*(codes.flatten(0, 1).numpy() for codes in (predicted, labels.argmax(1))))
    return statistics.fmean(found.values())


if __name__ == "__main__":
    main()

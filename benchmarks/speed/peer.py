"""Patients a second and peak memory of a joint training, against a MONAI pipeline with two U-Nets of the same widths.

    python benchmarks/speed/peer.py [--sides 96 224] [--widths 8 16 32 64 128] [--variants] [--repeats 3]

Ours is a training as `jointnet.train` does it, with registration, the defaults' augmentation and logging, at the same
widths as the peer on every resolution but the finest, which our stem takes the place of. The peer segments the same two
images of the same slices and registers nothing (`pipelines.py`); it counts in whichever memory layout is the faster
here in 32 bits, as its users have it, and is also shown in 16 bits where the processor has them. `--variants` also
times ours without the choices that make it fast. Every run is a process of its own, the kinds in turn. On 224 pixels
ours is also timed as the defaults have it, at half the resolution. What either learns is `peer_accuracy.py`'s question.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys

import torch
from batches import downsampling_of, few_slices, phantom_patients
from figures import Figure, add_options, in_turn, ratios, tell
from pipelines import HALF, OURS, PEERS, pipeline

from jointnet.cpu_kernels.allocator import keep_freed_memory
from jointnet.networks.device import training_precision
from jointnet.settings import load_settings, with_values

PATIENTS = 12
BATCHES = 4


def main() -> None:
    """Measure and print the figures; or, in a separate process, measure one kind once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[96, 224])
    parser.add_argument("--widths", nargs=5, type=int, default=[8, 16, 32, 64, 128])
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    add_options(parser, repeats=3)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options.sides[0], options.widths)))
        return
    phantom_patients(PATIENTS)
    has_16_bits = training_precision(torch.device("cpu")) is not torch.float32
    peers = [kind for kind, form in PEERS.items() if has_16_bits or not form.in_16_bits]
    figures: list[Figure] = []
    for side in options.sides:
        own = list(OURS) if options.variants else ["ours", HALF]
        kinds = [*(kind for kind in own if kind != HALF or downsampling_of(side) == 1), *peers]
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for _ in range(options.repeats):
            for kind in kinds:
                found[kind].append(in_a_process(kind, side, options.widths))
        figures += compared(side, found)
    tell(figures, options, widths=options.widths, batch=8)


def in_a_process(kind: str, side: int, widths: list[int]) -> dict[str, float]:
    """Measure one kind once in a separate process."""
    command = [sys.executable, __file__, "--only", kind, "--sides", str(side), "--widths", *map(str, widths)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def compared(side: int, found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Return the figures of one size. The peer of the comparison is the faster of its two layouts in 32 bits."""
    values = {kind: {name: tuple(run[name] for run in runs) for name in runs[0]} for kind, runs in found.items()}
    in_32_bits = [kind for kind, form in PEERS.items() if not form.in_16_bits]
    peer = min(in_32_bits, key=lambda kind: statistics.median(values[kind]["seconds a step"]))
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
    chosen = OURS.get(kind, {})
    own_widths = widths if chosen.get("model.stem") == 1 else widths[1:]
    downsampling = 2 if kind == HALF else downsampling_of(side)
    settings = with_values(
        load_settings("default"), {"model.widths": own_widths, "training.downsampling": downsampling, **chosen}
    )
    batch = settings.training.batch_size
    pairs = few_slices(patients, settings, side // 2 if kind == HALF else side, BATCHES * batch)
    epoch = pipeline(kind, widths, pairs, settings).epoch
    seconds = statistics.median(in_turn({"epoch": epoch}, repeats=3, warm_up=2)["epoch"]) / BATCHES
    slices = sum(patient.slices for patient in patients) / len(patients)
    return {
        "seconds a step": seconds,
        "patients a second": batch / slices / seconds,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()

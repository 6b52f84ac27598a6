"""Memory of trainings that read the same 25 patients on one node: one copy, or one for each.

    python benchmarks/speed/memory.py --data data/phantom --out runs/speed/memory.json

1, 2 and 10 processes build `SlicePairDataset` of the same prepared patients and read every batch several times. While
all hold them the proportional set size of each is read from `/proc/PID/smaps_rollup`: a page that n processes share
counts as 1/n in each, so that the sum is what the node holds. What the same processes held together before that is
taken off: after their imports and one batch of one patient, with which libraries set themselves up. Before either
measurement freed memory is handed back to the system, so that what a batch took and gave back is not counted: it is the
same for any number of patients. The patients are prepared, and averaged over blocks, before any process starts. Linux
with glibc only. Nothing is timed.

`--patients` are taken from `--data`, or from a phantom that is made first.
"""

import argparse
import ctypes
import gc
import multiprocessing
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from figures import Figure, add_options, ratios, tell

from jointnet.data.cache import CachedPatient, prepare
from jointnet.data.dataset import SlicePairDataset
from jointnet.data.folder import find_patients
from jointnet.phantom.writer import write_phantom

MOST_RATIO = 1.3
PASSES = 3
BATCH = 8
NEIGHBOURS = 1


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=1)
    parser.add_argument("--data", type=Path, help="folder of scans; a phantom where there is none")
    parser.add_argument("--patients", type=int, default=25)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 10])
    parser.add_argument("--downsampling", type=int, nargs="+", default=[2, 1])
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = options.data, Path(scratch, "cache")
        if folder is None:
            folder = Path(scratch, "phantom")
            write_phantom(folder, patients=options.patients)
        cached = prepare(list(find_patients(folder).values())[: options.patients], cache)
        for downsampling in options.downsampling:
            SlicePairDataset(cached, downsampling, NEIGHBOURS, "cpu")
            megabytes: dict[int, tuple[float, ...]] = {}
            for count in options.processes:
                megabytes[count] = tuple(_held_mb(count, cached, downsampling) for _ in range(options.repeats))
                figures.append(Figure(f"{count} processes, downsampling {downsampling}", megabytes[count], "MB"))
            first, last = options.processes[0], options.processes[-1]
            figures.append(
                Figure(
                    f"{last} processes / {first}, downsampling {downsampling}",
                    ratios(megabytes[last], megabytes[first]),
                    "x",
                    most=MOST_RATIO,
                )
            )
    tell(figures, options, patients=options.patients, passes=PASSES, batch=BATCH)


def _held_mb(count: int, cached: Sequence[CachedPatient], downsampling: int) -> float:
    """Return the MB that `count` processes together hold for the patients."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    started = [context.Process(target=_training, args=(theirs, cached, downsampling)) for _, theirs in pipes]
    for process in started:
        process.start()
    held = []
    for step in ("read", "end"):  # each process starts the step when all are ready
        for ours, _ in pipes:
            ours.recv()
        held.append(sum(_proportional_mb(process.pid) for process in started))
        for ours, _ in pipes:
            ours.send(step)
    for process in started:
        process.join()
    return held[1] - held[0]


def _training(pipe: Connection, cached: Sequence[CachedPatient], downsampling: int) -> None:
    """Read all batches of the patients several times, as a trial does, and hold the patients until the end message."""
    torch.set_num_threads(1)
    one = SlicePairDataset(cached[:1], downsampling, NEIGHBOURS, "cpu")
    one.batch(torch.arange(BATCH))
    _hand_back()
    pipe.send("ready")
    pipe.recv()
    pairs = SlicePairDataset(cached, downsampling, NEIGHBOURS, "cpu")
    for _ in range(PASSES):
        for indices in torch.randperm(len(pairs)).split(BATCH):
            pairs.batch(indices)
    _hand_back()
    pipe.send("read")
    pipe.recv()


def _hand_back() -> None:
    """Return freed memory to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _proportional_mb(pid: int | None) -> float:
    """Return the proportional set size of a process in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/smaps_rollup: must have a line Pss")


if __name__ == "__main__":
    main()

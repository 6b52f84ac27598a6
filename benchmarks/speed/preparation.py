"""Time 45 patients from gzip files to the cache, ours against MONAI's and TorchIO's pipelines on the same cores.

    python benchmarks/speed/preparation.py --data data/phantom --out runs/speed/preparation.json

All read the same files, resample all four scans of a patient onto its common grid, scale intensities between the 1st
and 99th percentile, map labels to class codes, and write `images.npy` (16-bit floats) and `labels.npy` for each
patient. The peers interpolate images linearly in all three axes, as they do; ours takes the nearest slice. The peers
do not check headers, hash files or name errors, and are told the grid, so nothing of ours is in their time.

- MONAI: `LoadImaged`, `EnsureChannelFirstd`, `SpatialResample` onto the grid's affine and shape, bilinear or nearest,
  `ScaleIntensityRangePercentilesd`, `MapLabelValued`.
- TorchIO: `Subject`, `Resample` onto the grid's affine and shape, linear or nearest, `RescaleIntensity`, `RemapLabels`.

Each peer is tried with each number of DataLoader worker processes in `--workers`: 0, in this process with all threads,
and by default as many as there are cores, one thread each; the fastest counts, and all are shown. Then ours again:
from a full cache, and two processes that start at once on an empty one. Start-up of Python and imports are in none of
the times but that of `imports`. Without `--data` a phantom of `--patients` patients is made first. MONAI and TorchIO
are optional.
"""

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Figure, add_options, in_turn, ratios, tell
from torch.utils.data import DataLoader, Dataset

from jointnet.common_grid import SIZE_PX
from jointnet.data import cache
from jointnet.data.folder import PatientFiles, find_patients
from jointnet.data.grid import Stack, common_grid
from jointnet.data.preparation import CEILING, PERCENTILES
from jointnet.data.scan_file import read_header
from jointnet.phantom.writer import write_phantom
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

MOST_RATIO = 0.5
MOST_SECONDS_AGAIN = 1.0
SCANS, LABELS = ("cine", "lge"), ("cine_label", "lge_label")
VALUES = {0: 0, **{value: CLASS_INDEX[name] for name, value in LABEL_VALUE.items()}}


@dataclass(frozen=True)
class Asked:
    """A patient as a peer's input: files, affine and shape of the grid, and output folder of the arrays."""

    files: PatientFiles
    affine: np.ndarray
    shape: tuple[int, int, int]
    out: Path


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=3)
    parser.add_argument("--data", type=Path, help="folder of scans; a phantom where there is none")
    parser.add_argument("--patients", type=int, default=45)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, torch.get_num_threads()], help="of the peers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.data
        if folder is None:
            folder = Path(scratch, "phantom")
            write_phantom(folder, patients=options.patients)
        files = list(find_patients(folder).values())[: options.patients]
        figures = _ours_and_peers(files, Path(scratch), options.workers, options.repeats)
        figures += _again(files, Path(scratch), options.repeats)
    figures += _at_once(files, options.repeats) + _imports(options.repeats)
    tell(figures, options, patients=len(files), torch_threads=torch.get_num_threads())


def _ours_and_peers(files: Sequence[PatientFiles], scratch: Path, workers: Sequence[int], repeats: int) -> list[Figure]:
    """Measure our preparation and the installed peers in turn, after a warm-up of two patients each."""
    for way in _ways(files[:2], scratch, workers).values():
        way()
    seconds = in_turn(_ways(files, scratch, workers), repeats, warm_up=0)
    figures = [Figure(f"{way}, {len(files)} patients", tuple(times), "s") for way, times in seconds.items()]
    for name in PEERS:
        own = [times for way, times in seconds.items() if way.startswith(name)]
        if own:
            fastest = min(own, key=statistics.median)
            figures.append(Figure(f"jointnet / {name}", ratios(seconds["jointnet"], fastest), "x", most=MOST_RATIO))
    return figures


def _ways(files: Sequence[PatientFiles], scratch: Path, workers: Sequence[int]) -> dict[str, Callable[[], object]]:
    """Return the functions to time, by name: ours, and each peer with each number of workers."""
    ways: dict[str, Callable[[], object]] = {"jointnet": lambda: cache.prepare(files, _emptied(scratch / "empty"))}
    for name, pipeline in PEERS.items():
        try:
            transform = pipeline()
        except ImportError:
            print(f"{name} is not installed and left out")
            continue
        asked = [_asked(patient, scratch / name) for patient in files]
        for count in workers:
            ways[f"{name}, {count} workers"] = _with_workers(transform, asked, count)
    return ways


def _again(files: Sequence[PatientFiles], scratch: Path, repeats: int) -> list[Figure]:
    """Measure a start with a full cache."""
    cache.prepare(files, scratch / "empty")
    times = in_turn({"": lambda: cache.prepare(files, scratch / "empty")}, repeats)[""]
    return [Figure(f"jointnet from the cache, {len(files)} patients", tuple(times), "s", most=MOST_SECONDS_AGAIN)]


def _at_once(files: Sequence[PatientFiles], repeats: int) -> list[Figure]:
    """Start two processes at once with an empty cache, and count how often a patient was prepared."""
    seconds, counts = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as empty, multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(_ready, range(2), chunksize=1)
            found = pool.starmap(_timed, [(files, Path(empty))] * 2, chunksize=1)
        seconds.append(max(each for each, _ in found))
        counts.append(sum(count for _, count in found) / len(files))
    return [
        Figure("two processes at once, until both are done", tuple(seconds), "s"),
        Figure("preparations of a patient by two at once", tuple(counts), "x", most=1),
    ]


def _imports(repeats: int) -> list[Figure]:
    """Measure the time that a new Python process needs until it can prepare a patient."""
    command = [sys.executable, "-c", "import jointnet.data.cache"]
    times = in_turn({"": lambda: subprocess.run(command, check=True)}, repeats)[""]
    return [Figure("imports", tuple(times), "s")]


def _ready(_: int) -> None:
    """Wait, so that both processes have imported this module before either begins."""
    time.sleep(0.5)


def _timed(files: Sequence[PatientFiles], folder: Path) -> tuple[float, int]:
    """Return the seconds that this process needs, and the number of patients that it prepared itself."""
    prepared: list[int] = []
    prepare_patient = cache.prepare_patient

    def counted(patient: PatientFiles) -> Any:
        prepared.append(patient.patient)
        return prepare_patient(patient)

    cache.prepare_patient = counted
    started = time.perf_counter()
    cache.prepare(files, folder)
    return time.perf_counter() - started, len(prepared)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _asked(files: PatientFiles, out: Path) -> Asked:
    """Return the peer's input for a patient."""
    stacks = [Stack(header.affine, header.shape) for header in map(read_header, (files.cine, files.lge))]
    grid = common_grid(*stacks)
    if grid is None:
        raise ValueError(f"{files.lge}: must overlap {files.cine}")
    return Asked(files, grid.affine, (SIZE_PX, SIZE_PX, grid.slices), out / str(files.patient))


class _Patients(Dataset):
    """A dataset for the loader's workers: an item runs the pipeline on a patient and writes the arrays."""

    def __init__(self, transform: Callable[[Asked], dict[str, np.ndarray]], asked: Sequence[Asked]) -> None:
        self.transform, self.asked = transform, asked

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, number: int) -> int:
        asked = self.asked[number]
        arrays = self.transform(asked)
        asked.out.mkdir(parents=True, exist_ok=True)
        images = np.stack([arrays[name] for name in SCANS]).clip(0, CEILING).astype(np.float16)
        np.save(asked.out / "images.npy", images)
        np.save(asked.out / "labels.npy", np.stack([arrays[name] for name in LABELS]).astype(np.uint8))
        return number


def _with_workers(
    transform: Callable[[Asked], dict[str, np.ndarray]], asked: Sequence[Asked], workers: int
) -> Callable[[], object]:
    loader = DataLoader(_Patients(transform, asked), batch_size=None, num_workers=workers)
    return lambda: list(loader)


def monai_pipeline() -> Callable[[Asked], dict[str, np.ndarray]]:
    """Return MONAI's pipeline for a patient, which returns (row, column, slice) arrays by role."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        MapLabelValued,
        ScaleIntensityRangePercentilesd,
        SpatialResample,
    )

    roles = (*SCANS, *LABELS)
    load = Compose([LoadImaged(roles), EnsureChannelFirstd(roles)])
    resample = {role: SpatialResample(mode="bilinear" if role in SCANS else "nearest") for role in roles}
    scale = Compose(
        [
            ScaleIntensityRangePercentilesd(SCANS, *PERCENTILES, b_min=0.0, b_max=1.0),
            MapLabelValued(LABELS, list(VALUES), list(VALUES.values())),
        ]
    )

    def transform(asked: Asked) -> dict[str, np.ndarray]:
        loaded = load({role: getattr(asked.files, role) for role in roles})
        affine = torch.from_numpy(asked.affine)
        on_grid = {
            role: resample[role](loaded[role], dst_affine=affine, spatial_size=asked.shape, padding_mode="zeros")
            for role in roles
        }
        return {role: np.asarray(image)[0] for role, image in scale(on_grid).items()}

    return transform


def torchio_pipeline() -> Callable[[Asked], dict[str, np.ndarray]]:
    """Return TorchIO's pipeline for a patient, which returns (row, column, slice) arrays by role."""
    import torchio

    rescale = torchio.RescaleIntensity(out_min_max=(0, 1), percentiles=PERCENTILES)
    remap = torchio.RemapLabels(VALUES)

    def transform(asked: Asked) -> dict[str, np.ndarray]:
        subject = torchio.Subject(
            {role: torchio.ScalarImage(getattr(asked.files, role)) for role in SCANS}
            | {role: torchio.LabelMap(getattr(asked.files, role)) for role in LABELS}
        )
        on_grid = remap(rescale(torchio.Resample((asked.shape, asked.affine))(subject)))
        return {role: on_grid[role].numpy()[0] for role in (*SCANS, *LABELS)}

    return transform


PEERS = {"MONAI": monai_pipeline, "TorchIO": torchio_pipeline}

if __name__ == "__main__":
    main()

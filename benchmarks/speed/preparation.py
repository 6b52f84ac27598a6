"""Time 45 patients from gzip files to the cache, ours against MONAI's and TorchIO's pipelines on the same cores.

    python benchmarks/speed/preparation.py [--data DIR] [--patients 45] [--workers 0 2] [--repeats 3]

All read the same files, resample the four scans of a patient onto its common grid, scale intensities between the 1st
and 99th percentile, map label values to class indices, and write `images.npy` (16-bit floats) and `labels.npy` for each
patient. The peers interpolate images linearly in all three axes; ours takes the nearest slice. The peers do not check
headers or hash files, and get the grid as an input. Each peer is timed with each number of DataLoader worker processes
in `--workers` (0: this process with all threads); its fastest counts. Then ours again from a full cache. Imports are in
none of the times. Without `--data` a phantom is written first. MONAI and TorchIO are optional.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timing import Figure, add_options, in_turn, print_figures, ratios
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
class PeerInput:
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
    print_figures(figures, options, patients=len(files), torch_threads=torch.get_num_threads())


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
        given = [_peer_input(patient, scratch / name) for patient in files]
        for count in workers:
            ways[f"{name}, {count} workers"] = _with_workers(transform, given, count)
    return ways


def _again(files: Sequence[PatientFiles], scratch: Path, repeats: int) -> list[Figure]:
    """Measure a start with a full cache."""
    cache.prepare(files, scratch / "empty")
    times = in_turn({"": lambda: cache.prepare(files, scratch / "empty")}, repeats)[""]
    return [Figure(f"jointnet from the cache, {len(files)} patients", tuple(times), "s", most=MOST_SECONDS_AGAIN)]


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _peer_input(files: PatientFiles, out: Path) -> PeerInput:
    """Return the peer's input for a patient."""
    stacks = [Stack(header.affine, header.shape) for header in map(read_header, (files.cine, files.lge))]
    grid = common_grid(*stacks)
    if grid is None:
        raise ValueError(f"{files.lge}: must overlap {files.cine}")
    return PeerInput(files, grid.affine, (SIZE_PX, SIZE_PX, grid.slices), out / str(files.patient))


class _Patients(Dataset):
    """A dataset for the loader's workers: an item runs the pipeline on a patient and writes the arrays."""

    def __init__(self, transform: Callable[[PeerInput], dict[str, np.ndarray]], given: Sequence[PeerInput]) -> None:
        self.transform, self.given = transform, given

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, number: int) -> int:
        given = self.given[number]
        arrays = self.transform(given)
        given.out.mkdir(parents=True, exist_ok=True)
        images = np.stack([arrays[name] for name in SCANS]).clip(0, CEILING).astype(np.float16)
        np.save(given.out / "images.npy", images)
        np.save(given.out / "labels.npy", np.stack([arrays[name] for name in LABELS]).astype(np.uint8))
        return number


def _with_workers(
    transform: Callable[[PeerInput], dict[str, np.ndarray]], given: Sequence[PeerInput], workers: int
) -> Callable[[], object]:
    loader = DataLoader(_Patients(transform, given), batch_size=None, num_workers=workers)
    return lambda: list(loader)


def monai_pipeline() -> Callable[[PeerInput], dict[str, np.ndarray]]:
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

    def transform(given: PeerInput) -> dict[str, np.ndarray]:
        loaded = load({role: getattr(given.files, role) for role in roles})
        affine = torch.from_numpy(given.affine)
        on_grid = {
            role: resample[role](loaded[role], dst_affine=affine, spatial_size=given.shape, padding_mode="zeros")
            for role in roles
        }
        return {role: np.asarray(image)[0] for role, image in scale(on_grid).items()}

    return transform


def torchio_pipeline() -> Callable[[PeerInput], dict[str, np.ndarray]]:
    """Return TorchIO's pipeline for a patient, which returns (row, column, slice) arrays by role."""
    import torchio

    rescale = torchio.RescaleIntensity(out_min_max=(0, 1), percentiles=PERCENTILES)
    remap = torchio.RemapLabels(VALUES)

    def transform(given: PeerInput) -> dict[str, np.ndarray]:
        subject = torchio.Subject(
            {role: torchio.ScalarImage(getattr(given.files, role)) for role in SCANS}
            | {role: torchio.LabelMap(getattr(given.files, role)) for role in LABELS}
        )
        on_grid = remap(rescale(torchio.Resample((given.shape, given.affine))(subject)))
        return {role: on_grid[role].numpy()[0] for role in (*SCANS, *LABELS)}

    return transform


PEERS = {"MONAI": monai_pipeline, "TorchIO": torchio_pipeline}

if __name__ == "__main__":
    main()

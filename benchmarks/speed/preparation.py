"""Time 45 patients from gzip files to the cache, ours against MONAI's pipeline on the same cores.

    python benchmarks/speed/preparation.py [--data DIR] [--patients 45] [--workers 0 2] [--repeats 3]

All read the same files, resample the four scans of a patient onto its common grid, scale intensities between the 1st
and 99th percentile, map label values to class indices, and write `images.npy` (16-bit floats) and `labels.npy` for each
patient. MONAI interpolates images linearly in all three axes; ours takes the nearest slice. MONAI does not check
headers or hash files, and gets the grid as an input. It is timed with each number of DataLoader worker processes in
`--workers` (0: this process with all threads); the fastest counts. Then ours again from a full cache. Imports are in
none of the times. Without `--data` a phantom is written first.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from timing import Figure, create_parser, in_turn, print_figures, ratios
from torch.utils.data import DataLoader, Dataset

from jointnet.common_grid import SIZE_PX
from jointnet.data.folder import find_patients
from jointnet.phantom.writer import write_phantom
from jointnet.preparation import cache
from jointnet.preparation.grid import Stack, common_grid
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.prepared_patient import CEILING, PERCENTILES
from jointnet.preparation.scan_file import read_header
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

MOST_RATIO = 0.5
MOST_SECONDS_AGAIN = 1.0
SCANS, LABELS = ("cine", "lge"), ("cine_label", "lge_label")
VALUES = {0: 0, **{value: CLASS_INDEX[name] for name, value in LABEL_VALUE.items()}}


class GridInput(NamedTuple):
    """A patient's files, affine and shape of the common grid, and output folder of the arrays."""

    files: PatientFiles
    affine: np.ndarray
    shape: tuple[int, int, int]
    out: Path


def main() -> None:
    """Measure and print the figures."""
    parser = create_parser(__doc__, repeats=3)
    parser.add_argument("--data", type=Path, help="folder of scans; a phantom where there is none")
    parser.add_argument("--patients", type=int, default=45)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, torch.get_num_threads()], help="of MONAI")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, place = options.data or Path(scratch, "phantom"), Path(scratch)
        if options.data is None:
            write_phantom(folder, patients=options.patients)
        files = list(find_patients(folder).values())[: options.patients]
        for function in timed_functions(files[:2], place, options.workers).values():
            function()
        seconds = in_turn(timed_functions(files, place, options.workers), options.repeats, warm_up=0)
        cache.prepare(files, place / "empty")
        again = in_turn({"": lambda: cache.prepare(files, place / "empty")}, options.repeats)[""]
    fastest = min((times for name, times in seconds.items() if name != "jointnet"), key=statistics.median)
    figures = [
        *(Figure(f"{name}, {len(files)} patients", tuple(times), "s") for name, times in seconds.items()),
        Figure("jointnet / MONAI", ratios(seconds["jointnet"], fastest), "x", most=MOST_RATIO),
        Figure(f"jointnet from the cache, {len(files)} patients", tuple(again), "s", most=MOST_SECONDS_AGAIN),
    ]
    print_figures(figures, options, patients=len(files), torch_threads=torch.get_num_threads())


def timed_functions(
    files: Sequence[PatientFiles], scratch: Path, workers: Sequence[int]
) -> dict[str, Callable[[], object]]:
    """Return the functions to time, by name: ours with an empty cache, and MONAI with each number of workers."""

    def ours() -> None:
        shutil.rmtree(scratch / "empty", ignore_errors=True)
        cache.prepare(files, scratch / "empty")

    given = [grid_input(patient, scratch / "MONAI") for patient in files]
    loaders = {count: DataLoader(Patients(given), batch_size=None, num_workers=count) for count in workers}
    peers = {f"MONAI, {count} workers": lambda loader=loader: list(loader) for count, loader in loaders.items()}
    return {"jointnet": ours, **peers}


def grid_input(files: PatientFiles, out: Path) -> GridInput:
    """Return MONAI's input for a patient."""
    stacks = [Stack(header.affine, header.shape) for header in map(read_header, (files.cine, files.lge))]
    grid = common_grid(*stacks)
    if grid is None:
        raise ValueError(f"{files.lge}: must overlap {files.cine}")
    return GridInput(files, grid.affine, (SIZE_PX, SIZE_PX, grid.slices), out / str(files.patient))


class Patients(Dataset):
    """A dataset for the loader's workers: an item runs MONAI's pipeline on a patient and writes the arrays."""

    def __init__(self, given: Sequence[GridInput]) -> None:
        self.transform, self.given = monai_pipeline(), given

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


def monai_pipeline() -> Callable[[GridInput], dict[str, np.ndarray]]:
    """Return MONAI's pipeline for a patient, which returns (row, column, slice) arrays by role."""
    try:
        from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, MapLabelValued, SpatialResample
        from monai.transforms import ScaleIntensityRangePercentilesd as ScalePercentiles
    except ImportError:
        sys.exit("MONAI is not installed: pip install -e '.[benchmark]'")
    roles = (*SCANS, *LABELS)
    load = Compose([LoadImaged(roles), EnsureChannelFirstd(roles)])
    resample = {role: SpatialResample(mode="bilinear" if role in SCANS else "nearest") for role in roles}
    labels = MapLabelValued(LABELS, list(VALUES), list(VALUES.values()))
    scale = Compose([ScalePercentiles(SCANS, *PERCENTILES, b_min=0.0, b_max=1.0), labels])

    def transform(given: GridInput) -> dict[str, np.ndarray]:
        loaded = load({role: getattr(given.files, role) for role in roles})
        affine = torch.from_numpy(given.affine)
        on_grid = {
            role: resample[role](loaded[role], dst_affine=affine, spatial_size=given.shape, padding_mode="zeros")
            for role in roles
        }
        return {role: np.asarray(image)[0] for role, image in scale(on_grid).items()}

    return transform


if __name__ == "__main__":
    main()

"""What a folder holds, patient by patient, for who looks before training: geometry, labels, overlap and every fault.

The faults are those that training finds, by the same functions; all else here is a description and refuses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label

from jointnet.faults import DataFaultError
from jointnet.geometry import SIZE_PX
from jointnet.measurable import measurable, shown_structures
from jointnet.scans.folder import PatientFiles, check_headers
from jointnet.scans.grid import CommonGrid, Stack, common_grid
from jointnet.scans.preparation import prepare_patient, read_image, read_label, voxel_faults
from jointnet.scans.scan_file import ScanHeader, read_header
from jointnet.structures import CODE, FILE_VALUE, STRUCTURES

RASTER = 32
"""Points along either side of a slice that are asked whether the other scan reaches them."""


@dataclass(frozen=True)
class LabelFacts:
    """What a manual segmentation holds.

    Attributes:
        voxels: by value in the file, those of the known labels that occur.
        pieces: connected components by structure, neighbours touching by a corner at least.
        slices: slices in which anything is labelled.
        lv_slices: slices with an LV blood pool.
        enclosed: those of them in which the myocardium encloses it.
        in_field: share of the labelled voxels inside the common grid's rows and columns; None without a grid.
        on_grid: share of them that is also inside its slices.
    """

    voxels: dict[int, int]
    pieces: dict[str, int]
    slices: int
    lv_slices: int
    enclosed: int
    in_field: float | None
    on_grid: float | None


@dataclass(frozen=True)
class ScanFacts:
    """Where a scan lies: voxels, their distances in mm, slices, and the axes' directions such as `LPS`."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    slices: int
    orientation: str
    label: LabelFacts | None


@dataclass(frozen=True)
class PatientFacts:
    """One patient.

    Attributes:
        patient: the number in the files' names.
        files: which of `cine`, `lge`, `cine_label` and `lge_label` there are.
        cine, lge: None where the scan is missing or its header is at fault.
        cine_slices_reached: slices of cine that LGE reaches anywhere; None without both.
        grid_slices: slices of the common grid; None without both.
        both_fraction: share of the common grid that both scans show; None where training would refuse the patient.
        shown: structures that both segmentations show in one slice of the common grid; None without segmentations, and
            where training would refuse the patient.
        faults: all of them, each naming its file.
    """

    patient: int
    files: tuple[str, ...]
    cine: ScanFacts | None
    lge: ScanFacts | None
    cine_slices_reached: int | None
    grid_slices: int | None
    both_fraction: float | None
    shown: tuple[str, ...] | None
    faults: tuple[str, ...]


def inspect_patient(patient: int, files: Mapping[str, Path], complete: PatientFiles | None) -> PatientFacts:
    """Look at one patient.

    Args:
        patient: the number.
        files: what there is, by role.
        complete: the same as training takes it; None where a file is missing or there twice.
    """
    both_fraction, shown = None, None
    if complete is None:
        faults = [fault for role, path in files.items() for fault in _file_faults(role, path)]
    else:
        faults = check_headers([complete])
        try:
            if faults:
                faults += voxel_faults(complete, faults)
            else:
                _, labels, description = prepare_patient(complete)
                both_fraction = description["both_fraction"]
                if complete.cine_label is not None and complete.lge_label is not None:
                    shown = shown_structures(measurable(labels))
        except DataFaultError as error:
            faults += error.faults
    headers = {role: header for role, path in files.items() if (header := _sound_header(path)) is not None}
    stacks = {role: Stack(headers[role].affine, headers[role].shape) for role in ("cine", "lge") if role in headers}
    grid = common_grid(stacks["cine"], stacks["lge"]) if len(stacks) == 2 else None
    scans = {role: _scan_facts(headers[role], headers.get(f"{role}_label"), grid) for role in stacks}
    return PatientFacts(
        patient=patient,
        files=tuple(files),
        cine=scans.get("cine"),
        lge=scans.get("lge"),
        cine_slices_reached=slices_reached(stacks["cine"], stacks["lge"]) if len(stacks) == 2 else None,
        grid_slices=grid.slices if grid else None,
        both_fraction=both_fraction,
        shown=shown,
        faults=tuple(faults),
    )


def slices_reached(scan: Stack, other: Stack) -> int:
    """Give the number of a scan's slices of which another scan reaches a point at least."""
    sides = [np.unique(np.linspace(0, length - 1, RASTER).round()) for length in scan.shape[:2]]
    points = np.stack(np.meshgrid(*sides, np.arange(float(scan.shape[2])), indexing="ij"), -1)
    voxels = other.voxels(scan.world(points))
    inside = ((voxels >= -0.5) & (voxels <= np.array(other.shape) - 0.5)).all(-1)
    return int(np.asarray(inside).any((0, 1)).sum())


def enclosed_slices(codes: NDArray[np.uint8]) -> tuple[int, int]:
    """Give the slices of class codes (I, J, K) with an LV blood pool, and those where the myocardium encloses it.

    It does where no path of pixels that touch by their sides leads from the pool to the edge past the myocardium.
    """
    with_lv = [index for index in range(codes.shape[2]) if (codes[:, :, index] == CODE["lv"]).any()]
    closed = 0
    for index in with_lv:
        plane = codes[:, :, index]
        closed += bool(binary_fill_holes(plane == CODE["myo"])[plane == CODE["lv"]].all())
    return len(with_lv), closed


def label_facts(codes: NDArray[np.uint8], stack: Stack, grid: CommonGrid | None) -> LabelFacts:
    """Describe class codes (I, J, K) that lie where `stack` says."""
    counts = {name: int((codes == CODE[name]).sum()) for name in STRUCTURES}
    touching = np.ones((3, 3, 3), bool)
    in_field = on_grid = None
    if grid is not None and codes.any():
        grid_of_world = np.linalg.inv(grid.affine)
        points = stack.world(np.argwhere(codes).astype(float)) @ grid_of_world[:3, :3].T + grid_of_world[:3, 3]
        rows, columns, slices = points.T
        field = (np.abs(rows - (SIZE_PX - 1) / 2) <= SIZE_PX / 2) & (np.abs(columns - (SIZE_PX - 1) / 2) <= SIZE_PX / 2)
        within = (slices >= -0.5) & (slices <= grid.slices - 0.5)
        in_field, on_grid = float(field.mean()), float((field & within).mean())
    with_lv, closed = enclosed_slices(codes)
    return LabelFacts(
        voxels={FILE_VALUE[name]: count for name, count in counts.items() if count},
        pieces={name: int(label(codes == CODE[name], touching)[1]) for name, count in counts.items() if count},
        slices=int(codes.any((0, 1)).sum()),
        lv_slices=with_lv,
        enclosed=closed,
        in_field=in_field,
        on_grid=on_grid,
    )


def _scan_facts(scan: ScanHeader, manual: ScanHeader | None, grid: CommonGrid | None) -> ScanFacts:
    read = None if manual is None else read_label(manual.path, [])
    stack = Stack(scan.affine, scan.shape)
    if manual is not None and manual.shape != scan.shape:
        read = None
    return ScanFacts(
        shape=scan.shape,
        spacing_mm=tuple(round(float(distance), 4) for distance in stack.spacing_mm),
        slices=scan.shape[2],
        orientation="".join(nib.aff2axcodes(scan.affine)),
        label=None if read is None else label_facts(read, stack, grid),
    )


def _sound_header(path: Path) -> ScanHeader | None:
    try:
        return read_header(path)
    except DataFaultError:
        return None


def _file_faults(role: str, path: Path) -> list[str]:
    """Name the faults of a file whose patient is not complete."""
    faults: list[str] = []
    (read_label if role.endswith("_label") else read_image)(path, faults)
    return faults

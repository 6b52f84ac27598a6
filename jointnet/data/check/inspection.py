"""Inspection of a folder before training: geometry, labels, overlap and all errors of its patients.

The errors are those that training reports, found by the same functions. All other values are descriptive.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from jointnet.data.check.facts import FolderFacts, PatientFacts, ScanFacts, scans_without_labels, structures_not_whole
from jointnet.data.check.label_facts import label_facts
from jointnet.data.description import SCANS, Dataset, load_dataset
from jointnet.data.folder import complete_patients, files_by_patient, not_read
from jointnet.data.patient_roles import roles_of
from jointnet.errors import DataError
from jointnet.evaluate.metrics import defined_metrics, labelled_structures, shared_structures_cut
from jointnet.patient_names import in_natural_order, items_in_order
from jointnet.preparation.counted_structures import drawn_structures
from jointnet.preparation.grid import CommonGrid, Stack, common_grid
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.preparation.prepared_patient import prepare_patient, read_image, read_label, voxel_errors
from jointnet.preparation.scan_file import ScanHeader, read_header
from jointnet.structures import STRUCTURES

RASTER = 32
"""Number of points along each side of a slice at which coverage by the other scan is checked."""


def inspect_folder(
    folder: Path,
    unlabelled: Sequence[str] = (),
    only: Sequence[str] | None = None,
    dataset: Dataset | None = None,
) -> FolderFacts:
    """Inspect all patients of a folder.

    Args:
        folder: the folder.
        unlabelled: patients that need no manual segmentations.
        only: patients to look at; all if None.
        dataset: the folder's description; that of its `dataset.toml` if None, or the challenge's layout.

    Raises:
        SettingsError: with all errors of the folder's `dataset.toml`.
        DataError: if there is no such folder, or no patient in it.
    """
    dataset = load_dataset(folder) if dataset is None else dataset
    files = files_by_patient(folder, dataset, only)
    complete, errors = complete_patients(folder, dataset, files, unlabelled)
    absent = in_natural_order(set(only or ()) - set(files.patients))
    errors += [f"{folder}: must hold patient {number}, got no file of it" for number in absent]
    patients = [
        inspect_patient(name, own, complete.get(name), dataset, files.frames.get(name))
        for name, own in items_in_order(files.patients)
    ]
    lacking = [] if dataset.file is None else scans_without_labels(folder, patients)
    roles = roles_of((own for name, own in complete.items() if name not in unlabelled), dataset.structures).text()
    parts = structures_not_whole(folder, patients, dataset.structures)
    warnings = (*not_read(folder, dataset, files), *lacking, *roles, *parts)
    return FolderFacts(dataset.name, tuple(patients), tuple(errors), warnings)


def inspect_patient(
    patient: str, files: Mapping[str, Path], complete: PatientFiles | None, dataset: Dataset, frame: int | None
) -> PatientFacts:
    """Return the description of one patient.

    Args:
        patient: the patient's name.
        files: the existing files by role.
        complete: the files as training reads them; None if a file is missing or there twice.
        dataset: the description of the folder.
        frame: the frame of the cine, counted from 0; None if none is stated.
    """
    both_fraction, shown = None, None
    cut: list[tuple[int, str]] = []
    undrawn: list[tuple[str, str]] = []
    if complete is None:
        errors = [line for role, path in files.items() for line in _file_errors(role, path, dataset, frame)]
    elif errors := check_headers([complete]):
        errors += voxel_errors(complete, errors)
    else:
        try:
            prepared = prepare_patient(complete)
            both_fraction = prepared.description["both_fraction"]
            drawn = zip(SCANS, complete.scans, drawn_structures(prepared.labels), strict=True)
            undrawn = [
                (role, name)
                for role, scan, shows in drawn
                for name, is_drawn in zip(STRUCTURES, shows, strict=True)
                if scan.label is not None and name in dataset.structures and not is_drawn
            ]
            if complete.cine_label is not None and complete.lge_label is not None:
                shown = labelled_structures(defined_metrics(prepared.labels, prepared.field))
                cut = shared_structures_cut(prepared.labels, prepared.field)
        except DataError as error:
            errors += error.errors
    headers = {role: header for role, path in files.items() if (header := _sound_header(role, path, frame)) is not None}
    stacks = {role: Stack(headers[role].affine, headers[role].shape) for role in SCANS if role in headers}
    both = (stacks["cine"], stacks["lge"]) if len(stacks) == 2 else None
    grid = None if both is None else common_grid(*both)
    scans = {role: _scan_facts(role, headers, dataset, frame, grid) for role in stacks}
    return PatientFacts(
        patient=patient,
        files=tuple(files),
        cine=scans.get("cine"),
        lge=scans.get("lge"),
        cine_slices_reached=None if both is None else slices_reached(*both),
        grid_slices=grid.slices if grid else None,
        both_fraction=both_fraction,
        shown=shown,
        cut=tuple(cut),
        undrawn=tuple(undrawn),
        errors=tuple(errors),
    )


def slices_reached(scan: Stack, other: Stack) -> int:
    """Return the number of slices of a scan that the other scan covers in at least one point."""
    sides = [np.unique(np.linspace(0, length - 1, RASTER).round()) for length in scan.shape[:2]]
    points = np.stack(np.meshgrid(*sides, np.arange(float(scan.shape[2])), indexing="ij"), -1)
    voxels = other.voxels(scan.world(points))
    inside = ((voxels >= -0.5) & (voxels <= np.array(other.shape) - 0.5)).all(-1)
    return int(np.asarray(inside).any((0, 1)).sum())


def _scan_facts(
    role: str, headers: Mapping[str, ScanHeader], dataset: Dataset, frame: int | None, grid: CommonGrid | None
) -> ScanFacts:
    scan, manual = headers[role], headers.get(f"{role}_label")
    values = dataset.cine_values if role == "cine" else dataset.lge_values
    same_grid = manual is not None and manual.shape == scan.shape
    labels = read_label(manual.path, [], values, _frame_of(role, frame)) if manual is not None and same_grid else None
    stack = Stack(scan.affine, scan.shape)
    return ScanFacts(
        shape=scan.shape,
        spacing_mm=tuple(round(float(distance), 4) for distance in stack.spacing_mm),
        slices=scan.shape[2],
        orientation="".join(nib.aff2axcodes(scan.affine)),
        label=None if labels is None else label_facts(labels, stack, grid, values),
    )


def _frame_of(role: str, frame: int | None) -> int | None:
    """Return the frame in a file of a role: that of the cine, in files of the cine."""
    return frame if role in ("cine", "cine_label") else None


def _sound_header(role: str, path: Path, frame: int | None) -> ScanHeader | None:
    try:
        return read_header(path, _frame_of(role, frame), label=role.endswith("_label"))
    except DataError:
        return None


def _file_errors(role: str, path: Path, dataset: Dataset, frame: int | None) -> list[str]:
    """Return the errors in a file of an incomplete patient."""
    errors: list[str] = []
    if role.endswith("_label"):
        values = dataset.cine_values if role == "cine_label" else dataset.lge_values
        read_label(path, errors, values, _frame_of(role, frame))
    else:
        read_image(path, errors, _frame_of(role, frame))
    return errors

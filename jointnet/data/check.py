"""Inspection of a folder before training: geometry, labels, overlap and all errors of the patients, and their table.

The errors are those that training reports, found by the same functions. All other values are descriptive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from jointnet.data import PAPER_SPLITS, proposed_splits, suffices
from jointnet.data.description import SCANS, Dataset, load_dataset
from jointnet.data.folder import complete_patients, files_by_patient, not_read
from jointnet.data.label_facts import LabelFacts, label_facts
from jointnet.data.roles import roles_of
from jointnet.errors import DataError
from jointnet.evaluate.metrics import defined_metrics, labelled_structures, shared_structures_cut
from jointnet.patient_names import in_natural_order, items_in_order, names_text
from jointnet.preparation.cut_structures import left_out_text
from jointnet.preparation.drawn_structures import drawn_structures
from jointnet.preparation.grid import CommonGrid, Stack, common_grid
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.preparation.prepared_patient import prepare_patient, read_image, read_label, voxel_errors
from jointnet.preparation.scan_file import ScanHeader, read_header
from jointnet.structures import STRUCTURES

RASTER = 32
"""Number of points along each side of a slice at which coverage by the other scan is checked."""
HEADINGS = (
    "patient",
    "scan",
    "voxels",
    "mm",
    "axes",
    "labels",
    "slices",
    "LV enclosed",
    "pieces",
    "on grid",
    "reached",
)
LEAST_WIDTHS = (8, 5, 13, 18, 5, 12, 7, 12, 9, 8, 8)


@dataclass(frozen=True)
class ScanFacts:
    """The geometry of a scan (shape, voxel spacing in mm, slices, axis codes such as `LPS`) and its segmentation."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    slices: int
    orientation: str
    label: LabelFacts | None


@dataclass(frozen=True)
class PatientFacts:
    """The description of one patient.

    Attributes:
        patient: the name.
        files: which of `cine`, `lge`, `cine_label` and `lge_label` exist.
        cine, lge: the scans; None if a scan is missing or its header is invalid.
        cine_slices_reached: number of cine slices that LGE covers at least in part; None unless both scans exist.
        grid_slices: number of slices of the common grid; None unless both scans exist and overlap.
        both_fraction: share of the common grid that both scans cover; None if training would refuse the patient.
        shown: structures that count in a slice of the common grid: both segmentations show them, and the common field
            does not cut them; None without segmentations or if training would refuse the patient.
        cut: slice of the common grid (from 0) and name of each structure that is left out of losses and metrics: both
            segmentations show it, and the common field cuts it.
        undrawn: scan and structure that a segmentation never shows in the common grid, so that it counts as not drawn.
        errors: all error messages; each names its file.
    """

    patient: str
    files: tuple[str, ...]
    cine: ScanFacts | None
    lge: ScanFacts | None
    cine_slices_reached: int | None
    grid_slices: int | None
    both_fraction: float | None
    shown: tuple[str, ...] | None
    cut: tuple[tuple[int, str], ...]
    undrawn: tuple[tuple[str, str], ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class FolderFacts:
    """The description of a folder.

    Attributes:
        name: the name that the folder's description gives; "" if none.
        patients: the patients in natural order.
        name_errors: errors in the file names.
        warnings: files whose names are nearly right or fit no pattern, structures that some patients lack, and
            structures that the common field cuts.
    """

    name: str
    patients: tuple[PatientFacts, ...]
    name_errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def errors(self) -> tuple[str, ...]:
        """All error messages."""
        return (*self.name_errors, *(error for patient in self.patients for error in patient.errors))

    @property
    def usable(self) -> int:
        """Number of patients that training accepts: those with valid scans and both label files."""
        return len(_usable(self.patients))

    def content(self) -> dict[str, Any]:
        """Return the content of the JSON report. It contains no text from file headers, only numbers."""
        return {
            "name": self.name,
            "patients": [asdict(patient) for patient in self.patients],
            "errors": list(self.errors),
            "labelled_without_error": self.usable,
            "splits": {split: suffices(self.usable, split) for split in PAPER_SPLITS},
            "splits_that_fit": list(proposed_splits(self.usable)),
            "remarks": list(self.warnings),
        }

    def table(self) -> str:
        """Return a text table with one line for each scan of each patient."""
        lines: list[tuple[str, ...]] = [HEADINGS]
        for patient in self.patients:
            reached = patient.cine_slices_reached
            for name, scan in (("cine", patient.cine), ("LGE", patient.lge)):
                number = patient.patient if name == "cine" else ""
                if scan is None:
                    state = "invalid" if name.lower() in patient.files else "missing"
                    lines.append((number, name, state))
                    continue
                share = f"{reached}/{scan.slices}" if name == "cine" and reached is not None else ""
                lines.append((number, name, *_cells(scan), share))
        columns = zip_longest(*lines, fillvalue="")
        widths = [max(least, *map(len, cells)) for least, cells in zip(LEAST_WIDTHS, columns, strict=True)]
        return "\n".join(" ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def splits_text(self) -> str:
        """Return a sentence about the splits for which there are enough patients."""
        paper = ", ".join(f"{split} {'yes' if suffices(self.usable, split) else 'no'}" for split in PAPER_SPLITS)
        fitting = " ".join(proposed_splits(self.usable))
        return (
            f"{self.usable} labelled patients without error. Enough for the paper's splits "
            f"(training/validation/test): {paper}. "
            + (f"To use all of them: --splits {fitting}" if fitting else "A study needs at least 4 patients")
        )


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
    rare = _rare_structures(folder, patients, dataset.structures)
    lacking = [] if dataset.file is None else _without_labels(folder, patients)
    roles = roles_of((own for name, own in complete.items() if name not in unlabelled), dataset.structures).text()
    return FolderFacts(
        dataset.name,
        tuple(patients),
        tuple(errors),
        (*not_read(folder, dataset, files), *lacking, *roles, *_undrawn(patients), *rare, *_cut(folder, patients)),
    )


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
    else:
        errors = check_headers([complete])
        try:
            if errors:
                errors += voxel_errors(complete, errors)
            else:
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
    stacks = {role: Stack(headers[role].affine, headers[role].shape) for role in ("cine", "lge") if role in headers}
    grid = common_grid(stacks["cine"], stacks["lge"]) if len(stacks) == 2 else None
    scans = {role: _scan_facts(role, headers, dataset, frame, grid) for role in stacks}
    return PatientFacts(
        patient=patient,
        files=tuple(files),
        cine=scans.get("cine"),
        lge=scans.get("lge"),
        cine_slices_reached=slices_reached(stacks["cine"], stacks["lge"]) if len(stacks) == 2 else None,
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


def _without_labels(folder: Path, patients: Sequence[PatientFacts]) -> list[str]:
    """Return a warning for each scan that has no segmentation in some patients."""
    warnings = []
    for scan, title in (("cine", "cine"), ("lge", "LGE")):
        without = [patient.patient for patient in patients if f"{scan}_label" not in patient.files]
        if without:
            count = f"{len(without)} of {len(patients)} patients"
            warnings.append(f"{folder}: {title} has no segmentation in {count} ({', '.join(without)})")
    return warnings


def _rare_structures(folder: Path, patients: Sequence[PatientFacts], structures: Sequence[str]) -> list[str]:
    """Return a warning for each structure that not all usable patients show in both segmentations of a slice."""
    shown = {patient.patient: patient.shown for patient in _usable(patients) if patient.shown is not None}
    warnings = []
    for structure in structures:
        showing = [number for number, own in shown.items() if structure in own]
        if len(showing) < len(shown):
            warnings.append(
                f"{folder}: both segmentations of a slice show {structure} in {len(showing)} of {len(shown)} patients "
                f"({', '.join(showing) or 'none'}); training, validation and test patients each need one"
            )
    return warnings


def _undrawn(patients: Sequence[PatientFacts]) -> list[str]:
    """Return a warning for each structure that a scan's segmentation never shows in some patients."""
    found: dict[tuple[str, str], list[str]] = {}
    for patient in patients:
        for scan, structure in patient.undrawn:
            found.setdefault((structure, scan), []).append(patient.patient)
    return [
        f"{structure} counts as not drawn, not as background, in {scan} of {len(names)} patients, which never show it: "
        f"{names_text(names)}"
        for (structure, scan), names in sorted(found.items())
    ]


def _cut(folder: Path, patients: Sequence[PatientFacts]) -> list[str]:
    """Return a warning if the common field cuts structures."""
    cut = {patient.patient: len(patient.cut) for patient in patients if patient.cut}
    return [f"{folder}: {left_out_text(sum(cut.values()), len(cut))} ({', '.join(cut)})"] if cut else []


def _usable(patients: Sequence[PatientFacts]) -> list[PatientFacts]:
    labels = {"cine_label", "lge_label"}
    return [patient for patient in patients if patient.both_fraction is not None and labels <= set(patient.files)]


def _cells(scan: ScanFacts) -> tuple[str, ...]:
    geometry = ("x".join(map(str, scan.shape)), " ".join(f"{mm:.2f}" for mm in scan.spacing_mm), scan.orientation)
    if scan.label is None:
        return (*geometry, "", "", "", "", "")
    label = scan.label
    pieces = " ".join(str(label.pieces.get(name, 0)) for name in STRUCTURES)
    on_grid = "" if label.on_grid is None else f"{100 * label.on_grid:.0f} %"
    labels = " ".join(label.voxels)
    return (*geometry, labels, str(label.slices), f"{label.enclosed}/{label.lv_slices}", pieces, on_grid)

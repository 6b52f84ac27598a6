"""What the inspection of a folder found: the description of its patients, as a table, as JSON and in sentences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointnet.data import PAPER_SPLITS, proposed_splits, suffices
from jointnet.data.check.label_facts import LabelFacts
from jointnet.patient_names import names_text
from jointnet.preparation.counted_structures import left_out_text
from jointnet.structures import STRUCTURES
from jointnet.system.terminal import in_columns

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


@dataclass(frozen=True)
class ScanFacts:
    """The geometry of a scan (shape, voxel spacing in mm, slices, axis codes such as `LPS`) and its segmentation."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    slices: int
    orientation: str
    label: LabelFacts | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the table about the scan alone."""
        geometry = "x".join(map(str, self.shape)), " ".join(f"{mm:.2f}" for mm in self.spacing_mm), self.orientation
        if self.label is None:
            return (*geometry, "", "", "", "", "")
        label = self.label
        pieces = " ".join(str(label.pieces.get(name, 0)) for name in STRUCTURES)
        on_grid = "" if label.on_grid is None else f"{100 * label.on_grid:.0f} %"
        counts = str(label.slices), f"{label.enclosed}/{label.lv_slices}"
        return (*geometry, " ".join(label.voxels), *counts, pieces, on_grid)


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

    @property
    def usable(self) -> bool:
        """Whether training accepts the patient, with both segmentations."""
        return self.both_fraction is not None and {"cine_label", "lge_label"} <= set(self.files)

    @property
    def partly(self) -> bool:
        """Whether training accepts the patient, with one segmentation: the patient can only train."""
        return self.both_fraction is not None and len({"cine_label", "lge_label"} & set(self.files)) == 1

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The two lines of the table."""
        if self.cine is None:
            cine: tuple[str, ...] = ("invalid" if "cine" in self.files else "missing",)
        else:
            reached = self.cine_slices_reached
            cine = (*self.cine.cells, "" if reached is None else f"{reached}/{self.cine.slices}")
        lge = ("invalid" if "lge" in self.files else "missing",) if self.lge is None else self.lge.cells
        return [(self.patient, "cine", *cine), ("", "LGE", *lge)]


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
        return sum(patient.usable for patient in self.patients)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that use all patients, if there are enough to validate and test on; else those with both labels."""
        everyone = proposed_splits(self.usable + sum(patient.partly for patient in self.patients))
        held_out = [sum(int(part) for part in split.split("/")[1:]) for split in everyone]
        return everyone if max(held_out, default=0) <= self.usable else proposed_splits(self.usable)

    def content(self) -> dict[str, Any]:
        """Return the content of the JSON report. It contains no text from file headers, only numbers."""
        return {
            "name": self.name,
            "patients": [asdict(patient) for patient in self.patients],
            "errors": list(self.errors),
            "labelled_without_error": self.usable,
            "splits": {split: suffices(self.usable, split) for split in PAPER_SPLITS},
            "splits_that_fit": list(self.splits),
            "remarks": list(self.warnings),
        }

    def table(self) -> str:
        """Return a text table with one line for each scan of each patient."""
        return in_columns([HEADINGS, *(line for patient in self.patients for line in patient.lines)])

    def splits_text(self) -> str:
        """Return a sentence about the splits for which there are enough patients."""
        paper = ", ".join(f"{split} {'yes' if suffices(self.usable, split) else 'no'}" for split in PAPER_SPLITS)
        fitting = " ".join(self.splits)
        return (
            f"{self.usable} labelled patients without error. Enough for the paper's splits "
            f"(training/validation/test): {paper}. "
            + (f"To use all of them: --splits {fitting}" if fitting else "A study needs at least 4 patients")
        )


def scans_without_labels(folder: Path, patients: Sequence[PatientFacts]) -> list[str]:
    """Return a warning for each scan that has no segmentation in some patients."""
    warnings = []
    for scan, title in (("cine", "cine"), ("lge", "LGE")):
        without = [patient.patient for patient in patients if f"{scan}_label" not in patient.files]
        if without:
            count = f"{len(without)} of {len(patients)} patients"
            warnings.append(f"{folder}: {title} has no segmentation in {count} ({', '.join(without)})")
    return warnings


def structures_not_whole(folder: Path, patients: Sequence[PatientFacts], structures: Sequence[str]) -> list[str]:
    """Return a warning for each structure that is not drawn, not in both segmentations, or cut in some patients."""
    undrawn: dict[tuple[str, str], list[str]] = {}
    for patient in patients:
        for scan, structure in patient.undrawn:
            undrawn.setdefault((structure, scan), []).append(patient.patient)
    warnings = [
        f"{structure} counts as not drawn, not as background, in {scan} of {len(names)} patients, which never show it: "
        f"{names_text(names)}"
        for (structure, scan), names in sorted(undrawn.items())
    ]
    shown = {patient.patient: patient.shown for patient in patients if patient.usable and patient.shown is not None}
    for structure in structures:
        showing = [name for name, own in shown.items() if structure in own]
        if len(showing) < len(shown):
            warnings.append(
                f"{folder}: both segmentations of a slice show {structure} in {len(showing)} of {len(shown)} patients "
                f"({', '.join(showing) or 'none'}); training, validation and test patients each need one"
            )
    if cut := {patient.patient: len(patient.cut) for patient in patients if patient.cut}:
        warnings.append(f"{folder}: {left_out_text(sum(cut.values()), len(cut))} ({', '.join(cut)})")
    return warnings

"""The files of a patient, and the check of their headers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from jointnet.errors import DataError
from jointnet.preparation.grid import least_corner_distance_mm
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.preparation.scan_file import ScanHeader, read_header

AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class PatientFiles:
    """The files of one patient, and what is in them.

    Attributes:
        patient: the patient's name.
        cine, lge: the scans.
        cine_label, lge_label: the manual segmentations; None for one that is not there or not used.
        cine_values, lge_values: the label values of the manual segmentations.
        cine_frame: the frame of a 4D cine and of a 4D segmentation of it, counted from 0; None for 3D files.
        unlabelled: scan (`cine` or `lge`) and structure that was not drawn, although the scan has a segmentation.
    """

    patient: str
    cine: Path
    lge: Path
    cine_label: Path | None = None
    lge_label: Path | None = None
    cine_values: LabelValues = CHALLENGE_VALUES
    lge_values: LabelValues = CHALLENGE_VALUES
    cine_frame: int | None = None
    unlabelled: frozenset[tuple[str, str]] = frozenset()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files of the patient, scans first."""
        return tuple(path for path in (self.cine, self.lge, self.cine_label, self.lge_label) if path is not None)

    @property
    def scans(self) -> tuple["ScanFiles", "ScanFiles"]:
        """The cine and the LGE."""
        cine_undrawn, lge_undrawn = (
            frozenset(structure for scan, structure in self.unlabelled if scan == name) for name in ("cine", "lge")
        )
        return (
            ScanFiles(self.cine, self.cine_label, self.cine_values, self.cine_frame, cine_undrawn),
            ScanFiles(self.lge, self.lge_label, self.lge_values, None, lge_undrawn),
        )


class ScanFiles(NamedTuple):
    """One scan of a patient, with the names of `PatientFiles`; `undrawn` are the structures that were not drawn."""

    image: Path
    label: Path | None
    values: LabelValues = CHALLENGE_VALUES
    frame: int | None = None
    undrawn: frozenset[str] = frozenset()


def check_headers(files: Iterable[PatientFiles]) -> list[str]:
    """Return all errors in the headers of these patients. No voxels are read."""
    errors: list[str] = []
    for patient in files:
        for scan in patient.scans:
            label = scan.label
            image = _header(scan.image, scan.frame, errors)
            manual = image if label is None else _header(label, scan.frame, errors, label=True)
            if image is None or manual is None:
                continue
            if image.shape != manual.shape:
                errors.append(f"{label}: must have its image's grid, {image.shape} voxels, got {manual.shape}")
                continue
            distance_mm = min(
                least_corner_distance_mm(image.shape, one.affine, other.bounds)
                for one, other in ((image, manual), (manual, image))
            )
            if distance_mm > AFFINE_TOLERANCE_MM:
                errors.append(f"{label}: must have its image's grid; a corner of it lies {distance_mm:.2f} mm off")
    return errors


def _header(path: Path, frame: int | None, errors: list[str], label: bool = False) -> ScanHeader | None:
    """Return a file's header; if it is invalid, add its errors to `errors` and return None."""
    try:
        return read_header(path, frame, label)
    except DataError as error:
        errors += error.errors
        return None

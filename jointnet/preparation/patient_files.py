"""The files of a patient, and the check of their headers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jointnet.errors import DataError
from jointnet.preparation.grid import least_corner_distance_mm
from jointnet.preparation.scan_file import ScanHeader, read_header

AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class PatientFiles:
    """The files of one patient: both scans, and both manual segmentations or None for those that are not used."""

    patient: int
    cine: Path
    lge: Path
    cine_label: Path | None = None
    lge_label: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files of the patient, scans first."""
        return tuple(path for path in (self.cine, self.lge, self.cine_label, self.lge_label) if path is not None)


def check_headers(files: Iterable[PatientFiles]) -> list[str]:
    """Return all errors in the headers of these patients. No voxels are read."""
    errors: list[str] = []
    for patient in files:
        for scan, label in ((patient.cine, patient.cine_label), (patient.lge, patient.lge_label)):
            image = _header(scan, errors)
            manual = image if label is None else _header(label, errors)
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


def _header(path: Path, errors: list[str]) -> ScanHeader | None:
    """Return a file's header; if it is invalid, add its errors to `errors` and return None."""
    try:
        return read_header(path)
    except DataError as error:
        errors += error.errors
        return None

"""Finding the scans of a folder in the layout of MS-CMRSeg 2019, and checking names and headers.

Files are `patient{N}_C0.nii.gz`, `patient{N}_LGE.nii.gz` and their `..._manual.nii.gz`, in any subfolder. T2 is
ignored. Nothing here reads a voxel.
"""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from jointnet.faults import DataFaultError, shown
from jointnet.scans.placement import least_corner_distance_mm
from jointnet.scans.scan_file import ScanHeader, read_header

NAME = re.compile(r"patient([0-9]+)_(C0|LGE)(_manual)?\.nii(\.gz)?")
ROLES = {("C0", None): "cine", ("LGE", None): "lge", ("C0", "_manual"): "cine_label", ("LGE", "_manual"): "lge_label"}
LARGEST_PATIENT = 1_000_000
"""Numbers up to here are patients' numbers."""
AFFINE_TOLERANCE_MM = 1e-2


@dataclass(frozen=True)
class PatientFiles:
    """The files of one patient: both scans and both manual segmentations, or None where there are to be none."""

    patient: int
    cine: Path
    lge: Path
    cine_label: Path | None = None
    lge_label: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that there are, scans first."""
        return tuple(path for path in (self.cine, self.lge, self.cine_label, self.lge_label) if path is not None)


def find_patients(folder: Path) -> dict[int, PatientFiles]:
    """Find the patients of a folder by their files' names, in numerical order; no file is opened.

    Raises:
        DataFaultError: where the folder is missing or holds no patient, a patient lacks a file, or has one twice.
    """
    patients, faults = scan_folder(folder)
    if faults:
        raise DataFaultError(faults)
    return patients


def scan_folder(
    folder: Path,
    unlabelled: Collection[int] = (),
    only: Collection[int] | None = None,
    labels_needed: bool = True,
) -> tuple[dict[int, PatientFiles], list[str]]:
    """Give the complete patients of a folder, as `find_patients` does, and the faults in its files' names.

    Args:
        folder: in the challenge's layout.
        unlabelled: patients who need no manual segmentations; those they have are left aside.
        only: patients to look at; all where None. What the others lack is no fault.
        labels_needed: where False, no other patient needs any either, and takes what there is.

    Raises:
        DataFaultError: where the folder is missing or holds no patient at all.
    """
    folder = Path(folder)
    found, faults = files_by_patient(folder, only)
    complete = {}
    for patient, files in sorted(found.items()):
        roles = [role for role in ROLES.values() if patient not in unlabelled or not role.endswith("_label")]
        if not labels_needed:
            roles = [role for role in roles if role in files or not role.endswith("_label")]
        if missing := [file_name(patient, role) for role in roles if role not in files]:
            faults.append(f"{folder}: patient {patient} lacks {', '.join(missing)}; add or remove the patient")
        else:
            complete[patient] = PatientFiles(patient, **{role: files[role] for role in roles})
    return complete, faults


def files_by_patient(folder: Path, only: Collection[int] | None = None) -> tuple[dict[int, dict[str, Path]], list[str]]:
    """Give the files of each patient of a folder by role, complete or not, and what is wrong with the files' names.

    Links to files are followed, links to folders are not, so that none leads out of the folder or round in circles.

    Raises:
        DataFaultError: where the folder is missing, cannot be read, or holds no patient at all.
    """
    try:
        there = folder.is_dir()
    except OSError:  # a name that none can have
        there = False
    if not there:
        raise DataFaultError(f"{folder}: must be a folder with MS-CMRSeg scans; there is no such folder")
    found: dict[int, dict[str, Path]] = {}
    faults: list[str] = []
    unread: list[OSError] = []
    paths = sorted(Path(here, name) for here, _, names in os.walk(folder, onerror=unread.append) for name in names)
    faults += [f"{error.filename}: must be a readable folder: {error.strerror}" for error in unread]
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        number = int(match[1])
        if number > LARGEST_PATIENT:
            faults.append(f"{path}: must have a patient's number up to {LARGEST_PATIENT}")
            continue
        if only is not None and number not in only:
            continue
        role = ROLES[match[2], match[3]]
        files = found.setdefault(number, {})
        if role in files:
            faults.append(f"{path}: patient {match[1]} must have one {role} file, {files[role]} is another")
        files[role] = path
    if not found:
        rule = "must hold files named patientN_C0.nii.gz, patientN_LGE.nii.gz and ..._manual.nii.gz"
        raise DataFaultError([*faults, f"{folder}: {rule}"])
    return found, faults


def file_name(patient: int, role: str) -> str:
    """Give the challenge's file name of a role, e.g. `patient3_C0_manual.nii.gz` of `cine_label`."""
    (sequence, manual), _ = next(item for item in ROLES.items() if item[1] == role)
    return f"patient{patient}_{sequence}{manual or ''}.nii.gz"


def select(patients: dict[int, PatientFiles], wanted: Iterable[int]) -> list[PatientFiles]:
    """Give the files of the wanted patients, in that order.

    Raises:
        DataFaultError: where one of them is not in the folder.
    """
    wanted = list(wanted)
    if missing := [number for number in wanted if number not in patients]:
        raise DataFaultError(f"patients {shown(missing)} must be in the folder, which holds {sorted(patients)}")
    return [patients[number] for number in wanted]


def check_headers(files: Iterable[PatientFiles]) -> list[str]:
    """Name every fault in the headers of these patients: no voxel is read."""
    faults: list[str] = []
    for patient in files:
        for scan, label in ((patient.cine, patient.cine_label), (patient.lge, patient.lge_label)):
            image = _header(scan, faults)
            manual = image if label is None else _header(label, faults)
            if image is None or manual is None:
                continue
            if image.shape != manual.shape:
                faults.append(f"{label}: must have its image's grid, {image.shape} voxels, got {manual.shape}")
                continue
            distance_mm = min(
                least_corner_distance_mm(image.shape, one.affine, other.bounds)
                for one, other in ((image, manual), (manual, image))
            )
            if distance_mm > AFFINE_TOLERANCE_MM:
                faults.append(f"{label}: must have its image's grid; a corner of it lies {distance_mm:.2f} mm off")
    return faults


def _header(path: Path, faults: list[str]) -> ScanHeader | None:
    """Read a header; where it is at fault note that."""
    try:
        return read_header(path)
    except DataFaultError as error:
        faults += error.faults
        return None

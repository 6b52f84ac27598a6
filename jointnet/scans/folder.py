"""Finding the scans of a folder in the layout of MS-CMRSeg 2019, and checking names and headers.

Files are `patient{N}_C0.nii.gz`, `patient{N}_LGE.nii.gz` and their `..._manual.nii.gz`, in any subfolder. T2 is
ignored. A name that differs from these by case or separators only is not read either, but it is named. Nothing here
reads a voxel.
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
NEARLY = re.compile(r"patient([0-9]+)(c0|lge)(manual)?nii(?:gz)?")
"""A name without its separators and in lower case that somebody may have meant for such a one."""
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
    found, faults, overlooked = files_by_patient(folder, only)
    complete = {}
    for patient, files in sorted(found.items()):
        roles = [role for role in ROLES.values() if patient not in unlabelled or not role.endswith("_label")]
        if not labels_needed:
            there = {role for role in roles if role in files or (patient, role) in overlooked}
            roles = [role for role in roles if role in there or not role.endswith("_label")]
        if missing := [role for role in roles if role not in files]:
            lacking = ", ".join(file_name(patient, role) for role in missing)
            near = [path.name for role in missing for path in overlooked.get((patient, role), ())]
            hint = f" (there is {', '.join(near)}: is that what is meant?)" if near else ""
            faults.append(f"{folder}: patient {patient} lacks {lacking}{hint}; add or remove the patient")
        else:
            complete[patient] = PatientFiles(patient, **{role: files[role] for role in roles})
    return complete, faults


def files_by_patient(
    folder: Path, only: Collection[int] | None = None
) -> tuple[dict[int, dict[str, Path]], list[str], dict[tuple[int, str], list[Path]]]:
    """Return the files of each patient of a folder, complete or not, faults in the names, and what is overlooked.

    Links to files are followed, links to folders are not, so that none leads out of the folder or round in circles. A
    link and the file that it points to are one file.

    Returns:
        The files by patient and role, none of a patient both of whose scans are overlooked; the faults; and by patient
        and role what is overlooked, because its name is only nearly right, or because it is no file, such as a link to
        one that is gone.

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
    overlooked: dict[tuple[int, str], list[Path]] = {}
    faults: list[str] = []
    unread: list[OSError] = []
    paths = sorted(Path(here, name) for here, _, names in os.walk(folder, onerror=unread.append) for name in names)
    faults += [f"{error.filename}: must be a readable folder: {error.strerror}" for error in unread]
    for path in paths:
        nearly = None if path.name.startswith(".") else NEARLY.fullmatch(re.sub(r"[\W_]", "", path.name.lower()))
        if nearly is None:
            continue
        number, role = int(nearly[1]), ROLES[nearly[2].upper(), "_manual" if nearly[3] else None]
        read = NAME.fullmatch(path.name) is not None and path.is_file()
        if read and number > LARGEST_PATIENT:
            faults.append(f"{path}: must have a patient's number up to {LARGEST_PATIENT}")
            continue
        if only is not None and number not in only:
            continue
        if not read:
            overlooked.setdefault((number, role), []).append(path)
            continue
        files = found.setdefault(number, {})
        known = files.get(role)
        if known is None:
            files[role] = path
        elif path.samefile(known):
            files[role] = path if known.is_symlink() else known
        else:
            faults.append(f"{path}: patient {nearly[1]} must have one {role} file, {known} is another")
    if not found:
        rule = "must hold files named patientN_C0.nii.gz, patientN_LGE.nii.gz and ..._manual.nii.gz"
        near = next((path.name for paths in overlooked.values() for path in paths), None)
        raise DataFaultError([*faults, f"{folder}: {rule}" + (f", got {near}" if near else "")])
    for number, role in overlooked:
        if role == "cine" and (number, "lge") in overlooked:  # somebody meant a patient
            found.setdefault(number, {})
    return found, faults, overlooked


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

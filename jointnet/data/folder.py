"""Finding the scans in a folder with the layout of MS-CMRSeg 2019, and checking their names.

Files are `patient{N}_C0.nii.gz`, `patient{N}_LGE.nii.gz` and their `..._manual.nii.gz`, in any subfolder. T2 is
ignored. A file whose name differs from these only in case or separators is not read, but reported. No file is opened.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jointnet.errors import DataError
from jointnet.patient_names import in_natural_order, items_in_order, names_text, near_names_text
from jointnet.preparation.patient_files import PatientFiles

NAME = re.compile(r"patient([0-9]+)_(C0|LGE)(_manual)?\.nii(\.gz)?")
NEARLY = re.compile(r"patient([0-9]+)(c0|lge)(manual)?nii(?:gz)?")
"""Matches file names that are nearly right, in lower case and without separators."""
ROLES = {("C0", None): "cine", ("LGE", None): "lge", ("C0", "_manual"): "cine_label", ("LGE", "_manual"): "lge_label"}


class FolderFiles(NamedTuple):
    """The files found in a folder.

    Attributes:
        patients: files by patient and role, complete or not. A patient whose cine and LGE are both overlooked has none.
        errors: errors in the file names.
        overlooked: paths by patient and role whose names are only nearly right, or that are not files, such as broken
            links.
    """

    patients: dict[str, dict[str, Path]]
    errors: list[str]
    overlooked: dict[tuple[str, str], list[Path]]


def find_patients(folder: Path) -> dict[str, PatientFiles]:
    """Return the patients of a folder by name, in natural order, from the file names. No file is opened.

    Raises:
        DataError: if the folder is missing or holds no patient, or a patient lacks a file or has one twice.
    """
    patients, errors = scan_folder(folder)
    if errors:
        raise DataError(errors)
    return patients


def scan_folder(
    folder: Path,
    unlabelled: Collection[str] = (),
    only: Collection[str] | None = None,
    labels_needed: bool = True,
) -> tuple[dict[str, PatientFiles], list[str]]:
    """Return the complete patients of a folder, as `find_patients` does, and the errors in the file names.

    Args:
        folder: folder in the challenge's layout.
        unlabelled: patients that need no manual segmentations. Segmentations that they have are not used.
        only: patients to look at; all if None. Missing files of other patients are no errors.
        labels_needed: whether the other patients need manual segmentations. If False, those that exist are used.

    Raises:
        DataError: if the folder is missing or holds no patient at all.
    """
    return complete_patients(folder, files_by_patient(folder, only), unlabelled, labels_needed)


def complete_patients(
    folder: Path, folder_files: FolderFiles, unlabelled: Collection[str] = (), labels_needed: bool = True
) -> tuple[dict[str, PatientFiles], list[str]]:
    """Return the complete patients of the files found in a folder, and all errors in the file names.

    Args are those of `scan_folder`.
    """
    complete, errors = {}, list(folder_files.errors)
    for patient, files in items_in_order(folder_files.patients):
        roles = [role for role in ROLES.values() if patient not in unlabelled or not role.endswith("_label")]
        if not labels_needed:
            there = {role for role in roles if role in files or (patient, role) in folder_files.overlooked}
            roles = [role for role in roles if role in there or not role.endswith("_label")]
        if missing := [role for role in roles if role not in files]:
            lacking = ", ".join(file_name(patient, role) for role in missing)
            near = [path.name for role in missing for path in folder_files.overlooked.get((patient, role), ())]
            hint = f" (there is {', '.join(near)}: rename it if it is meant)" if near else ""
            errors.append(f"{folder}: patient {patient} lacks {lacking}{hint}; add or remove the patient")
        else:
            cine_label, lge_label = (files[role] if role in roles else None for role in ("cine_label", "lge_label"))
            complete[patient] = PatientFiles(patient, files["cine"], files["lge"], cine_label, lge_label)
    return complete, errors


def files_by_patient(folder: Path, only: Collection[str] | None = None) -> FolderFiles:
    """Return the files of all patients of a folder.

    Links to files are followed. Links to folders are not, so that no link leads out of the folder or into a loop. A
    link and its target count as one file.

    Raises:
        DataError: if the folder is missing, cannot be read, or holds no patient at all.
    """
    try:
        there = folder.is_dir()
    except OSError:  # such as a name that is too long
        there = False
    if not there:
        raise DataError(f"{folder}: must be a folder with MS-CMRSeg scans; there is no such folder")
    patients: dict[str, dict[str, Path]] = {}
    overlooked: dict[tuple[str, str], list[Path]] = {}
    errors: list[str] = []
    unread: list[OSError] = []
    others: set[str] = set()
    paths = sorted(Path(here, name) for here, _, names in os.walk(folder, onerror=unread.append) for name in names)
    errors += [f"{error.filename}: must be a readable folder: {error.strerror}" for error in unread]
    for path in paths:
        nearly = None if path.name.startswith(".") else NEARLY.fullmatch(re.sub(r"[\W_]", "", path.name.lower()))
        if nearly is None:
            continue
        number, role = str(int(nearly[1])), ROLES[nearly[2].upper(), "_manual" if nearly[3] else None]
        read = NAME.fullmatch(path.name) is not None and path.is_file()
        if only is not None and number not in only:
            others.add(number)
            continue
        if not read:
            overlooked.setdefault((number, role), []).append(path)
            continue
        files = patients.setdefault(number, {})
        first = files.get(role)
        if first is None:
            files[role] = path
        elif path.samefile(first):
            files[role] = path if first.is_symlink() else first
        else:
            errors.append(f"{path}: patient {nearly[1]} must have one {role} file, {first} is another")
    if others and only and not patients and not overlooked:
        raise DataError([*errors, f"{folder}: {_absent_text(in_natural_order(only), others)}"])
    if not patients:
        rule = "must hold files named patientN_C0.nii.gz, patientN_LGE.nii.gz and ..._manual.nii.gz"
        near = next((path.name for paths in overlooked.values() for path in paths), None)
        raise DataError([*errors, f"{folder}: {rule}" + (f", got {near}" if near else "")])
    for number, role in overlooked:
        if role == "cine" and (number, "lge") in overlooked:  # probably meant as a patient
            patients.setdefault(number, {})
    return FolderFiles(patients, errors, overlooked)


def file_name(patient: str, role: str) -> str:
    """Return the challenge's file name of a role, e.g. `patient3_C0_manual.nii.gz` for `cine_label`."""
    (sequence, manual), _ = next(item for item in ROLES.items() if item[1] == role)
    return f"patient{patient}_{sequence}{manual or ''}.nii.gz"


def select(
    patients: dict[str, PatientFiles], wanted: Iterable[str], known_errors: Sequence[str] = ()
) -> list[PatientFiles]:
    """Return the files of the wanted patients, in the order of `wanted`.

    Args:
        patients: the complete patients of a folder.
        wanted: the patients' names.
        known_errors: errors already found in the folder. They are raised together with the error found here.

    Raises:
        DataError: if a wanted patient is missing.
    """
    wanted = list(wanted)
    missing = [number for number in wanted if number not in patients]
    if not missing:
        return [patients[number] for number in wanted]
    errors = list(known_errors)
    if absent := [number for number in missing if not any(f": patient {number} lacks " in line for line in errors)]:
        errors.append(_absent_text(absent, patients))
    raise DataError(errors)


def _absent_text(absent: Sequence[str], there: Collection[str]) -> str:
    """Return the error that wanted patients are not in the folder, with names that may be meant."""
    known = in_natural_order(there)
    near = near_names_text(absent, known)
    return f"patients {names_text(absent)} must be in the folder, which holds {names_text(known)}{near}"

"""Finding the scans in a folder with the layout of MS-CMRSeg 2019, and checking their names.

Files are `patient{N}_C0.nii.gz`, `patient{N}_LGE.nii.gz` and their `..._manual.nii.gz`, in any subfolder. T2 is
ignored. A file whose name differs from these only in case or separators is not read, but reported. No file is opened.
"""

import re
from collections.abc import Collection
from pathlib import Path

from jointnet.data.description import FILE
from jointnet.data.found_files import FolderFiles, absent_text, add_file, folder_paths, is_scan_like
from jointnet.errors import DataError
from jointnet.patient_names import in_natural_order

NAME = re.compile(r"patient([0-9]+)_(C0|LGE)(_manual)?\.nii(\.gz)?")
NEARLY = re.compile(r"patient([0-9]+)(c0|lge)(manual)?nii(?:gz)?")
"""Matches file names that are nearly right, in lower case and without separators."""
T2 = re.compile(r"patient[0-9]+_T2\b", re.IGNORECASE)
ROLE_OF = {("C0", None): "cine", ("LGE", None): "lge", ("C0", "_manual"): "cine_label", ("LGE", "_manual"): "lge_label"}


def challenge_files(folder: Path, only: Collection[str] | None = None) -> FolderFiles:
    """Return the files of all patients of a folder.

    Links to files are followed.

    Raises:
        DataError: if the folder cannot be read, or holds no patient at all.
    """
    patients: dict[str, dict[str, Path]] = {}
    overlooked: dict[tuple[str, str], list[Path]] = {}
    unmatched: list[Path] = []
    errors: list[str] = []
    others: set[str] = set()
    for path in folder_paths(folder, errors):
        nearly = None if path.name.startswith(".") else NEARLY.fullmatch(re.sub(r"[\W_]", "", path.name.lower()))
        if nearly is None:
            if is_scan_like(path) and not T2.match(path.name):
                unmatched.append(path)
            continue
        number, role = str(int(nearly[1])), ROLE_OF[nearly[2].upper(), "_manual" if nearly[3] else None]
        read = NAME.fullmatch(path.name) is not None and path.is_file()
        if only is not None and number not in only:
            others.add(number)
            continue
        if not read:
            overlooked.setdefault((number, role), []).append(path)
            continue
        add_file(patients.setdefault(number, {}), role, path, nearly[1], errors)
    if others and only and not patients and not overlooked:
        raise DataError([*errors, f"{folder}: {absent_text(in_natural_order(only), others)}"])
    if not patients:
        rule = "must hold files named patientN_C0.nii.gz, patientN_LGE.nii.gz and ..._manual.nii.gz"
        near = next((path.name for paths in overlooked.values() for path in paths), None)
        advice = f"; a {FILE} says what other names mean: python -m jointnet.data init {folder}"
        raise DataError([*errors, f"{folder}: {rule}" + (f", got {near}" if near else "") + advice])
    for number, role in overlooked:
        if role == "cine" and (number, "lge") in overlooked:  # probably meant as a patient
            patients.setdefault(number, {})
    return FolderFiles(patients, errors, overlooked, tuple(unmatched), {})


def challenge_file_name(patient: str, role: str) -> str:
    """Return the challenge's file name of a role, e.g. `patient3_C0_manual.nii.gz` for `cine_label`."""
    (sequence, manual), _ = next(item for item in ROLE_OF.items() if item[1] == role)
    return f"patient{patient}_{sequence}{manual or ''}.nii.gz"

"""The files found in a folder, by patient and role."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from jointnet.errors import DataError
from jointnet.patient_names import in_natural_order, names_text, near_names_text

MOST_SHOWN = 5
SCAN_LIKE = re.compile(r"[._ -]?nii([._ -]?gz)?$", re.IGNORECASE)
"""The end of a name that is, or nearly is, that of a NIfTI file."""


class FolderFiles(NamedTuple):
    """The files found in a folder.

    Attributes:
        patients: files by patient and role, complete or not. A patient whose cine and LGE are both overlooked has none.
        errors: errors in the file names.
        overlooked: paths by patient and role whose names are only nearly right, or that are not files, such as broken
            links.
        unmatched: NIfTI files whose names do not fit any role, not even nearly, in order.
        frames: the frame of each patient's cine, counted from 0, if the folder's description states it.
    """

    patients: dict[str, dict[str, Path]]
    errors: list[str]
    overlooked: dict[tuple[str, str], list[Path]]
    unmatched: tuple[Path, ...]
    frames: dict[str, int]


def folder_paths(folder: Path, errors: list[str]) -> list[Path]:
    """Return all paths of a folder that are not folders, sorted.

    Links to folders are not followed, so that no link leads out of the folder or into a loop. Folders that cannot be
    read are added to `errors`.

    Raises:
        DataError: if there is no such folder.
    """
    if not os.path.isdir(folder):  # noqa: PTH112  `Path.is_dir` raises an error for a name that is too long
        raise DataError(f"{folder}: must be a folder with scans; there is no such folder")
    unread: list[OSError] = []
    paths = sorted(Path(here, name) for here, _, names in os.walk(folder, onerror=unread.append) for name in names)
    errors += [f"{error.filename}: must be a readable folder: {error.strerror}" for error in unread]
    return paths


def add_file(files: dict[str, Path], role: str, path: Path, patient: str, errors: list[str]) -> None:
    """Add a file to those of a patient. A link and its target count as one file; a second file is an error."""
    first = files.get(role)
    if first is None:
        files[role] = path
    elif path.samefile(first):
        files[role] = path if first.is_symlink() else first
    else:
        errors.append(f"{path}: patient {patient} must have one {role} file, {first} is another")


def is_scan_like(path: Path) -> bool:
    """Return whether a file is, by its name, a NIfTI file, or nearly."""
    return SCAN_LIKE.search(path.name) is not None and not path.name.startswith(".")


def unmatched_text(folder: Path, files: FolderFiles) -> str:
    """Return a sentence about the NIfTI files that fit no pattern; "" if there is none."""
    count = len(files.unmatched)
    if not count:
        return ""
    shown = ", ".join(path.relative_to(folder).as_posix() for path in files.unmatched[:MOST_SHOWN])
    rule = "NIfTI file fits no pattern and is not read" if count == 1 else "NIfTI files fit no pattern and are not read"
    return f"{folder}: {count} {rule}: {shown}{', ...' * (count > MOST_SHOWN)}"


def absent_text(absent: Sequence[str], there: Collection[str]) -> str:
    """Return the error that wanted patients are not in the folder, with names that may be meant."""
    known = in_natural_order(there)
    near = near_names_text(absent, known)
    return f"patients {names_text(absent)} must be in the folder, which holds {names_text(known)}{near}"

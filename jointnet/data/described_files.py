"""Finding the scans of a folder by the patterns of its description. No scan is opened."""

from collections.abc import Collection
from pathlib import Path

from jointnet.data.description import SCANS, Dataset
from jointnet.data.ed_frame import ed_frame, ed_table
from jointnet.data.found_files import FolderFiles, absent_text, add_file, folder_paths, is_scan_like
from jointnet.data.patterns import ED, ID, filled, literal_length, loose_text, match, nearly_matches
from jointnet.errors import DataError, short_repr
from jointnet.patient_names import in_natural_order, name_error, normal_name


def described_files(folder: Path, dataset: Dataset, only: Collection[str] | None = None) -> FolderFiles:
    """Return the files of all patients of a folder by the patterns of its description.

    If several patterns fit a file, the one with the most text besides its placeholders is used. Links to files are
    followed, and a link and its target count as one file. Hidden files and folders are left out.

    Args:
        folder: the folder.
        dataset: the folder's description.
        only: patients to look at; all if None.

    Raises:
        DataError: if the folder holds no patient at all.
    """
    errors: list[str] = []
    others: set[str] = set()
    patients: dict[str, dict[str, Path]] = {}
    of_frame: dict[str, dict[str, Path]] = {}
    unmatched: list[tuple[Path, str]] = []
    broken: dict[tuple[str, str], list[Path]] = {}
    in_order = sorted(dataset.patterns.items(), key=lambda item: -literal_length(item[1]))
    for path in folder_paths(folder, errors):
        relative = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in relative.split("/")):
            continue
        fitting = {role: found for role, pattern in in_order if (found := match(pattern, relative)) is not None}
        if not fitting:
            if is_scan_like(path):
                unmatched.append((path, relative))
            continue
        first = next(iter(fitting))
        roles = [role for role in fitting if dataset.patterns[role] == dataset.patterns[first]]
        text, number = fitting[first]
        patient = normal_name(text)
        if rule := name_error(patient):
            errors.append(
                f"{path}: {{id}} of files.{first} is the patient's name, which {rule}, got {short_repr(text)}"
            )
            continue
        if only is not None and patient not in only:
            others.add(patient)
            continue
        for role in roles:
            if not path.is_file():
                broken.setdefault((patient, role), []).append(path)
            elif number is not None:
                add_file(of_frame.setdefault(patient, {}), _of_frame(role, number), path, patient, errors)
            else:
                add_file(patients.setdefault(patient, {}), role, path, patient, errors)
    frames = _ed_frames(folder, dataset, patients, of_frame, errors)
    overlooked, rest = _near(dataset, patients, unmatched, only)
    for key, paths in broken.items():
        overlooked.setdefault(key, []).extend(paths)
    if others and only and not patients and not overlooked:
        raise DataError([*errors, f"{folder}: {absent_text(in_natural_order(only), others)}"])
    if not patients:
        near = next((path for paths in overlooked.values() for path in paths), rest[0] if rest else None)
        expected = " and ".join(dataset.patterns[scan] for scan in SCANS)
        shown = f"got {near.relative_to(folder)}" if near else "got no NIfTI file"
        raise DataError([*errors, f"{folder}: must hold files named {expected}, as {dataset.file} says, {shown}"])
    return FolderFiles(patients, errors, overlooked, tuple(rest), frames)


def _ed_frames(
    folder: Path,
    dataset: Dataset,
    patients: dict[str, dict[str, Path]],
    of_frame: dict[str, dict[str, Path]],
    errors: list[str],
) -> dict[str, int]:
    """Return the frame by patient, counted from 0, and add the files of that frame to those of the patients."""
    if dataset.frame is None:
        return {}
    frames: dict[str, int] = {}
    table = ed_table(folder) if dataset.frame == "ed" else None
    for patient in in_natural_order((*patients, *of_frame)):
        own = of_frame.get(patient, {})
        beside = patients.get(patient, {}).get("cine") or next(iter(own.values()), None)
        if beside is None:
            continue
        frame = ed_frame(patient, beside, table, errors) if dataset.frame == "ed" else dataset.frame
        if frame is None:
            continue
        frames[patient], number = frame, frame + 1
        for role in (role for role, pattern in dataset.patterns.items() if ED in pattern):
            others = [path.name for key, path in own.items() if key.startswith(_of_frame(role, ""))]
            if (path := own.get(_of_frame(role, number))) is not None:
                patients.setdefault(patient, {})[role] = path
            elif others:
                rule = f"must hold the {role} file of frame {number}, counted from 1"
                errors.append(f"{beside.parent}: {rule}, got {', '.join(others)}")
    return frames


def _of_frame(role: str, number: object) -> str:
    return f"{role} of frame {number}"


def _near(
    dataset: Dataset,
    patients: dict[str, dict[str, Path]],
    unmatched: list[tuple[Path, str]],
    only: Collection[str] | None,
) -> tuple[dict[tuple[str, str], list[Path]], list[Path]]:
    """Return the files whose names are nearly right by patient and role, and the other files without a pattern.

    The patient is `{id}` where it is none of those that have files.
    """
    known = {loose_text(name): name for name in (*patients, *(only or ()))}
    overlooked: dict[tuple[str, str], list[Path]] = {}
    rest: list[Path] = []
    for path, relative in unmatched:
        near = {
            role: found for role, pattern in dataset.patterns.items() if (found := nearly_matches(pattern, relative))
        }
        for role, found in near.items():
            if (patient := known.get(found)) is not None or only is None:
                overlooked.setdefault((ID if patient is None else patient, role), []).append(path)
        if not near:
            rest.append(path)
    return overlooked, rest


def described_file_name(dataset: Dataset, patient: str, role: str) -> str:
    """Return the name that a patient's file of a role must have, relative to the folder."""
    return filled(dataset.patterns[role], patient).removeprefix("**/").replace(ED, "NN")

"""The patients of a folder of scans, found as the folder's description says."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from jointnet.data.challenge_files import challenge_file_name, challenge_files
from jointnet.data.described_files import described_file_name, described_files
from jointnet.data.description import ROLES, Dataset, load_dataset
from jointnet.data.found_files import FolderFiles, absent_text, unmatched_text
from jointnet.errors import DataError
from jointnet.patient_names import in_natural_order, items_in_order, natural_key
from jointnet.preparation.patient_files import PatientFiles


def find_patients(folder: Path) -> dict[str, PatientFiles]:
    """Return the patients of a folder by name, in natural order. No scan is opened.

    Raises:
        SettingsError: with all errors of the folder's `dataset.toml`.
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
    dataset: Dataset | None = None,
) -> tuple[dict[str, PatientFiles], list[str]]:
    """Return the complete patients of a folder, as `find_patients` does, and the errors in the file names.

    Args:
        folder: the folder.
        unlabelled: patients that need no manual segmentations. Segmentations that they have are not used.
        only: patients to look at; all if None. Missing files of other patients are no errors.
        labels_needed: whether the other patients need manual segmentations, where the folder has no description. If
            False, those that exist are used.
        dataset: the folder's description; that of its `dataset.toml` if None, or the challenge's layout.

    Raises:
        SettingsError: with all errors of the folder's `dataset.toml`.
        DataError: if the folder is missing or holds no patient at all.
    """
    dataset = load_dataset(folder) if dataset is None else dataset
    return complete_patients(folder, dataset, files_by_patient(folder, dataset, only), unlabelled, labels_needed)


def complete_patients(
    folder: Path,
    dataset: Dataset,
    folder_files: FolderFiles,
    unlabelled: Collection[str] = (),
    labels_needed: bool = True,
) -> tuple[dict[str, PatientFiles], list[str]]:
    """Return the complete patients of the files found in a folder, and all errors in the file names.

    A scan without a segmentation is unlabelled where the folder has a description. In the challenge's layout, where
    every scan has one, it is an error: the download may be incomplete. Args are those of `scan_folder`.
    """
    labels_needed = labels_needed and dataset.file is None
    complete, errors = {}, list(folder_files.errors)
    for patient, files in items_in_order(folder_files.patients):
        roles = [role for role in ROLES if patient not in unlabelled or not role.endswith("_label")]
        if not labels_needed:
            there = {role for role in roles if role in files or (patient, role) in folder_files.overlooked}
            roles = [role for role in roles if role in there or not role.endswith("_label")]
        if missing := [role for role in roles if role not in files]:
            lacking = ", ".join(file_name(dataset, patient, role) for role in missing)
            near = [path.name for role in missing for path in folder_files.overlooked.get((patient, role), ())]
            hint = f" (there is {', '.join(near)}: rename it if it is meant)" if near else ""
            if dataset.file is None and not hint and set(missing) <= {"cine_label", "lge_label"}:
                hint = f"; if nobody drew it, describe the folder (python -m jointnet.data init {folder} --write)"
            errors.append(f"{folder}: patient {patient} lacks {lacking}{hint}; add or remove the patient")
        else:
            cine_label, lge_label = (files[role] if role in roles else None for role in ("cine_label", "lge_label"))
            complete[patient] = PatientFiles(
                patient,
                files["cine"],
                files["lge"],
                cine_label,
                lge_label,
                cine_values=dataset.cine_values,
                lge_values=dataset.lge_values,
                cine_frame=folder_files.frames.get(patient),
                unlabelled=dataset.unlabelled_of(patient),
            )
    return complete, errors


def files_by_patient(folder: Path, dataset: Dataset, only: Collection[str] | None = None) -> FolderFiles:
    """Return the files of all patients of a folder.

    Raises:
        DataError: if the folder is missing, cannot be read, or holds no patient at all.
    """
    if not dataset.in_challenge_layout or dataset.frame == "ed":
        found = described_files(folder, dataset, only)
    else:
        found = challenge_files(folder, only)
        found = found._replace(frames={} if dataset.frame is None else dict.fromkeys(found.patients, dataset.frame))
    if only is None and (unknown := {patient for *_, patient in dataset.unlabelled} - found.patients.keys()):
        text = absent_text(in_natural_order(unknown), found.patients)
        found.errors.append(f"{dataset.file}: unlabelled: {text}")
    return found


def file_name(dataset: Dataset, patient: str, role: str) -> str:
    """Return the name that a patient's file of a role must have."""
    if dataset.in_challenge_layout:
        return challenge_file_name(patient, role)
    return described_file_name(dataset, patient, role)


def not_read(folder: Path, dataset: Dataset, files: FolderFiles) -> list[str]:
    """Return a warning for each file whose name is only nearly right, and one for all NIfTI files of other names."""
    in_order = sorted(files.overlooked.items(), key=lambda item: (natural_key(item[0][0]), item[0][1]))
    near = [
        f"{path}: must be a file named {file_name(dataset, patient, role)} to be read"
        for (patient, role), paths in in_order
        for path in paths
    ]
    return [*near, *([text] if (text := unmatched_text(folder, files)) else [])]


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
        errors.append(absent_text(absent, patients))
    raise DataError(errors)

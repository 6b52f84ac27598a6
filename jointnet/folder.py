"""Finding the scans of a folder in the layout of MS-CMRSeg 2019, and checking names and headers.

Files are `patient{N}_C0.nii.gz`, `patient{N}_LGE.nii.gz` and their `..._manual.nii.gz`, in any subfolder. T2 is
ignored. Nothing here reads a voxel.
"""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from jointnet.faults import DataFaultError

NAME = re.compile(r"patient(\d+)_(C0|LGE)(_manual)?\.nii(\.gz)?")
ROLES = {("C0", None): "cine", ("LGE", None): "lge", ("C0", "_manual"): "cine_label", ("LGE", "_manual"): "lge_label"}
LARGEST_VOXELS = 512 * 1024 * 1024 // 8
"""A scan that claims more voxels than this is refused before memory is asked for."""
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
    if not folder.is_dir():
        raise DataFaultError(f"{folder}: must be a folder with MS-CMRSeg scans; there is no such folder")
    found: dict[int, dict[str, Path]] = {}
    faults = []
    for path in sorted(folder.rglob("patient*.nii*")):
        match = NAME.fullmatch(path.name)
        if match is None or not path.is_file() or (only is not None and int(match[1]) not in only):
            continue
        role = ROLES[match[2], match[3]]
        files = found.setdefault(int(match[1]), {})
        if role in files:
            faults.append(f"{path}: patient {match[1]} must have one {role} file, {files[role]} is another")
        files[role] = path
    if not found:
        rule = "must hold files named patientN_C0.nii.gz, patientN_LGE.nii.gz and ..._manual.nii.gz"
        raise DataFaultError(f"{folder}: {rule}")
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
        raise DataFaultError(f"patients {missing} must be in the folder, which holds {sorted(patients)}")
    return [patients[number] for number in wanted]


def check_headers(files: Iterable[PatientFiles]) -> list[str]:
    """Name every fault in the headers of these patients: no voxel is read."""
    faults = []
    for patient in files:
        for scan, label in ((patient.cine, patient.cine_label), (patient.lge, patient.lge_label)):
            image = _header(scan)
            manual = image if label is None else _header(label)
            if isinstance(image, str) or isinstance(manual, str):
                faults += [fault for fault in (image, manual) if isinstance(fault, str)]
                continue
            (shape, affine), (label_shape, label_affine) = image, manual
            if shape != label_shape:
                faults.append(f"{label}: must have its image's grid, {shape} voxels, got {label_shape}")
            elif (distance := corner_distance_mm(shape, affine, label_affine)) > AFFINE_TOLERANCE_MM:
                faults.append(f"{label}: must have its image's grid; a corner of it lies {distance:.2f} mm off")
    return faults


def corner_distance_mm(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Give the largest distance in mm between the corners of a grid under two affines (4, 4)."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give a shape without trailing axes of length 1 behind the third."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(length) for length in shape)


def _header(path: Path) -> tuple[tuple[int, ...], np.ndarray] | str:
    """Give the shape and the affine of a file, or its fault."""
    try:
        image = nib.load(path)
    except Exception as error:  # nibabel raises whatever its parsers meet: all of it means that the file is no scan
        return f"{path}: must be a readable NIfTI file: {' '.join(str(error).split())[:160]}"
    if not isinstance(image, nib.Nifti1Pair):
        return f"{path}: must be a NIfTI file, got {type(image).__name__}"
    shape = volume_shape(image.shape)
    if len(shape) != 3 or min(shape) < 1:
        return f"{path}: must be a volume with three axes, got shape {image.shape}"
    if math.prod(shape) > LARGEST_VOXELS:
        return f"{path}: must have at most {LARGEST_VOXELS} voxels, its header claims shape {image.shape}"
    if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
        return f"{path}: must place its voxels in the world by a qform or an sform, both codes are 0"
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        return f"{path}: must have an invertible affine, got {affine[:3].round(3).tolist()}"
    return shape, affine

"""Atomic writing of the phantom's folder."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jointnet.errors import DataError, SettingsError
from jointnet.phantom.patient import patient_files, patient_paths
from jointnet.system.atomic_file import make_folder_once

PHANTOM_VERSION = 1
"""Increased whenever the same seed gives different files."""
MARKER = "phantom.json"
WORKERS = 2
"""Number of threads. They run in parallel because numpy, zlib and scipy release the interpreter lock."""


def write_phantom(folder: Path, patients: int = 45, seed: int = 0) -> None:
    """Write synthetic patients in the layout of MS-CMRSeg 2019.

    The files are written to a temporary folder beside `folder`, which is renamed when it is complete. A patient's files
    depend only on the seed and the patient's number.

    Args:
        folder: The output folder. It must be absent, empty, or contain exactly this phantom (then nothing is done).
        patients: Number of patients, numbered from 1.
        seed: Seed of the patients.

    Raises:
        SettingsError: If the number of patients or the seed is out of range.
        DataError: If the folder contains anything else.
    """
    errors = []
    if patients < 1:
        errors.append(f"patients: must be at least 1, got {patients}")
    if seed < 0:
        errors.append(f"seed: must not be negative, got {seed}")
    if errors:
        raise SettingsError(errors)
    folder = Path(folder).absolute()
    marker = {"phantom_version": PHANTOM_VERSION, "patients": patients, "seed": seed}
    if _already_there(folder, marker):
        return

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{folder}: cannot be created, because a part of its path is a file") from None

    def fill(draft: Path) -> None:
        for path in patient_paths(1):
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(WORKERS)
        try:
            list(pool.map(lambda number: _write_patient(draft, seed, number), range(1, patients + 1)))
        finally:
            pool.shutdown(cancel_futures=True)
        (draft / MARKER).write_text(json.dumps(marker, sort_keys=True) + "\n", encoding="utf-8")

    lock = folder.with_name(f".{folder.name}.lock")
    make_folder_once(folder, fill, lock, is_there=lambda: _already_there(folder, marker))


def _write_patient(draft: Path, seed: int, number: int) -> None:
    for path, content in patient_files(seed, number).items():
        (draft / path).write_bytes(content)


def _already_there(folder: Path, marker: dict[str, Any]) -> bool:
    """Return whether the folder contains exactly this phantom; False if it is absent or empty.

    Raises:
        DataError: if the folder contains anything else, or is a file.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder, but is a file")
    if not any(folder.iterdir()):
        return False
    try:
        present = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{folder}: must be absent, empty or a phantom, but has no readable {MARKER}") from None
    if present != marker:
        raise DataError(f"{folder}: must hold the requested phantom, {marker}, but holds {present}")
    numbers = range(1, marker["patients"] + 1)
    missing = [path for number in numbers for path in patient_paths(number) if not (folder / path).is_file()]
    if missing:
        raise DataError(f"{folder}: {len(missing)} of the phantom's files are missing, the first is {missing[0]}")
    return True

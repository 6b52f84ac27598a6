"""The on-disk cache of prepared patients, read memory-mapped by all trials on a node.

A cached patient is a folder. Its name is the digest of the patient's files and of the preparation rules, so a changed
file or rule creates a new folder. Folders are created atomically.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SIZE_PX, SLICE_MM
from jointnet.errors import DataError
from jointnet.preparation.counted_structures import drawn_structures
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.preparation.prepared_patient import (
    NETWORK_ARRAYS_VERSION,
    PREPARATION_VERSION,
    NetworkArrays,
    network_arrays,
    prepare_patient,
    voxel_errors,
)
from jointnet.system.atomic_file import make_folder_once
from jointnet.system.file_version import once_per_version
from jointnet.system.home import writable_home
from jointnet.system.lock import POLL_SECONDS, LockedError
from jointnet.system.terminal import print_to_stderr

RULES = f"preparation {PREPARATION_VERSION}, {SIZE_PX} px of {PIXEL_MM} mm, slices of {SLICE_MM} mm"
MOST_THREADS = 8
"""Largest number of patients that one process prepares in parallel. Each takes about 100 MB of memory."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class CachedPatient:
    """One patient on the common grid.

    Attributes:
        patient: the name.
        path: the folder of the cached arrays.
        digest: hash of the patient's files and of the preparation rules.
    """

    patient: str
    path: Path
    digest: str

    def images(self) -> NDArray[np.float16]:
        """Return the images (slice, 2, row, column), cine first and LGE second, memory-mapped read-only."""
        return np.load(self.path / "images.npy", mmap_mode="r")

    def labels(self) -> NDArray[np.uint8]:
        """Return the class indices (slice, 2, row, column) of `structures.CLASS_INDEX`, memory-mapped read-only."""
        return np.load(self.path / "labels.npy", mmap_mode="r")

    def field(self) -> NDArray[np.bool_]:
        """Return the common field (slice, row, column), True where both scans cover the pixel, memory-mapped."""
        return np.load(self.path / "field.npy", mmap_mode="r")

    def labelled(self) -> NDArray[np.bool_]:
        """Return which structures of `structures.STRUCTURES` are labelled in each image, (2, structures), cine first.

        It is False for all structures of a scan without a manual segmentation.
        """
        return drawn_structures(np.asarray(self.labels()))

    def network_arrays(self, block: int) -> NetworkArrays:
        """Return images, class counts and common field at a network's resolution, memory-mapped read-only.

        The first call creates the files in the patient's folder, so that all trainings on a node share one copy in the
        page cache. If the folder is not writable, the arrays are kept in memory instead.

        Args:
            block: side in pixels of the blocks over which images are averaged and labels counted.
        """
        kept = self.path / f"network-v{NETWORK_ARRAYS_VERSION}-block{block}"
        if not kept.is_dir():
            if not os.access(self.path, os.W_OK):
                return network_arrays(self.images(), self.labels(), self.field(), block)
            make_folder_once(kept, partial(self._write_network_arrays, block), self.path.with_suffix(".lock"))
        counts = np.load(kept / "counts.npy", mmap_mode="r")
        if block == 1:
            return NetworkArrays(self.images(), counts, self.field())
        return NetworkArrays(np.load(kept / "images.npy", mmap_mode="r"), counts, np.load(kept / "field.npy", "r"))

    def _write_network_arrays(self, block: int, folder: Path) -> None:
        arrays = network_arrays(self.images(), self.labels(), self.field(), block)
        if block > 1:
            np.save(folder / "images.npy", arrays.images)
            np.save(folder / "field.npy", arrays.field)
        np.save(folder / "counts.npy", arrays.counts)

    @property
    def slices(self) -> int:
        """Number of slices on the common grid."""
        return int(self.labels().shape[0])


def default_cache() -> Path:
    """Return the cache folder: `JOINTNET_CACHE`, or `jointnet` in the user's own cache folder.

    Raises:
        OSError: if `JOINTNET_CACHE` is not set and the user has neither a home nor a temporary folder.
    """
    if named := os.environ.get("JOINTNET_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or writable_home() / ".cache").absolute() / "jointnet"


def prepare(
    files: Sequence[PatientFiles],
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    known_errors: Sequence[str] = (),
) -> list[CachedPatient]:
    """Return the patients on the common grid and prepare those that are not in the cache.

    If several processes request the same patients at once, each patient is prepared by one of them.

    Args:
        files: the patients' files.
        cache_dir: the cache folder; `default_cache()` if None.
        progress: called with (number of finished patients, total number of patients).
        known_errors: errors already found in the folder. They are raised together with those found here.

    Raises:
        DataError: with all errors of all patients.
    """
    cache_dir = default_cache() if cache_dir is None else Path(cache_dir).absolute()
    cache_dir.mkdir(parents=True, exist_ok=True)
    errors = [*known_errors, *check_headers(files)]
    headers = tuple(errors)
    outcomes: dict[int, CachedPatient | DataError] = {}

    def finish(number: int, outcome: CachedPatient | DataError) -> None:
        outcomes[number] = outcome
        if progress:
            progress(len(outcomes), len(files))

    missing: dict[int, CachedPatient] = {}
    for number, patient in enumerate(files):
        try:
            if any(line.startswith(f"{path}:") for line in headers for path in patient.paths):
                raise DataError(voxel_errors(patient, headers))
            cached = _keyed(patient, cache_dir)
        except DataError as error:
            finish(number, error)
            continue
        if cached.path.is_dir():
            finish(number, cached)
        else:
            missing[number] = cached
    named: set[tuple[str, int]] = set()
    while left := [number for number in missing if number not in outcomes]:
        locked_patients: list[LockedError] = []
        for number, outcome in zip(left, in_parallel(_make, [(files[n], missing[n]) for n in left]), strict=True):
            if isinstance(outcome, LockedError):
                locked_patients.append(outcome)
            else:
                finish(number, outcome)
        if len(locked_patients) == len(left):  # other processes prepare all patients that remain
            for locked in locked_patients:
                if locked.owner and (process := (locked.owner.host, locked.owner.pid)) not in named:
                    named.add(process)
                    print_to_stderr(f"Waiting for patients that are being prepared by {locked}")
            time.sleep(POLL_SECONDS)
    finished = [outcome for _, outcome in sorted(outcomes.items())]
    errors += [line for outcome in finished if isinstance(outcome, DataError) for line in outcome.errors]
    if errors:
        raise DataError(errors)
    return [outcome for outcome in finished if isinstance(outcome, CachedPatient)]


def fingerprint(cached: Iterable[CachedPatient]) -> str:
    """Return a digest of the names and contents of a set of patients. It does not depend on their order."""
    return _fingerprint((patient.patient, patient.digest) for patient in cached)


def fingerprint_of_files(files: Iterable[PatientFiles]) -> str:
    """Return the same digest as `fingerprint`, computed from the patients' files without preparing them.

    Raises:
        DataError: if a file cannot be read.
    """
    return _fingerprint((patient.patient, _digest(patient)) for patient in files)


def _fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    lines = sorted(f"{name} {digest}" for name, digest in digests)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _keyed(files: PatientFiles, cache_dir: Path) -> CachedPatient:
    """Return the patient's cache entry, whether or not its folder exists yet."""
    digest = _digest(files)
    return CachedPatient(files.patient, cache_dir / digest, digest)


def _make(items: tuple[PatientFiles, CachedPatient]) -> CachedPatient | DataError | LockedError:
    """Prepare a patient. Return it, the error in its files, or the error that another process holds its lock."""
    files, patient = items

    def fill(part: Path) -> None:
        prepared = prepare_patient(files)
        np.save(part / "images.npy", prepared.images)
        np.save(part / "labels.npy", prepared.labels)
        np.save(part / "field.npy", prepared.field)
        (part / "description.json").write_text(json.dumps(prepared.description, indent=1))

    try:
        make_folder_once(patient.path, fill, patient.path.with_suffix(".lock"), wait=False)
    except (DataError, LockedError) as error:
        return error
    return patient


def in_parallel(make: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `make(item)` for each item of `items`, in order, computed in parallel threads.

    The number of threads is that of torch in this process: all cores by default, a Ray worker's share, or the value of
    `OMP_NUM_THREADS`. Most of a preparation runs in ISA-L and numpy, which release the GIL.
    """
    threads = min(torch.get_num_threads(), MOST_THREADS, len(items))
    if threads < 2:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(make, items)


def _digest(files: PatientFiles) -> str:
    """Return the digest of a patient's files and of the preparation rules, the name of the patient in the cache.

    A description of the files changes the digest only where it differs from the challenge's rules.
    """
    digest = hashlib.sha256(RULES.encode())
    for path in files.paths:
        digest.update(_file_digest(path))
    described = (
        _values_text(files.cine_values),
        _values_text(files.lge_values),
        files.cine_frame,
        sorted(files.unlabelled),
        [label is None for label in (files.cine_label, files.lge_label)],
    )
    challenge = _values_text(CHALLENGE_VALUES)
    if described not in [(challenge, challenge, None, [], [absent, absent]) for absent in (False, True)]:
        digest.update(repr(described).encode())
    return digest.hexdigest()[:24]


def _values_text(values: LabelValues) -> str:
    """Return the part of the label values that changes the prepared labels, in a fixed order."""
    return repr((sorted((name, sorted(own)) for name, own in values.structures), sorted(values.ignored)))


@once_per_version
def _file_digest(path: Path) -> bytes:
    """Return the SHA-256 of a file.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: must be readable: {error.strerror or error}") from None

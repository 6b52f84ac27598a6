"""What the files of a folder hold: headers of all, and voxels of label files only."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jointnet.data.init.names import Series
from jointnet.data.init.values import MOST_VALUES
from jointnet.data.patterns import ENDINGS, normal
from jointnet.errors import DataError
from jointnet.preparation.patient_files import AFFINE_TOLERANCE_MM
from jointnet.preparation.scan_file import ScanHeader, read_header, read_voxels

MOST_COMPARED = 5
"""Number of patients in which grids are compared and the arrangement of labels is looked at."""
INFO = "Info.cfg"
"""ACDC's file beside a 4D cine, which names the ED frame."""


@dataclass(frozen=True)
class Found:
    """The files of a folder.

    Attributes:
        scans: NIfTI file by its path in the folder, in composed Unicode and with `/` between names.
        others: number of other files by suffix.
    """

    scans: Mapping[str, Path]
    others: Mapping[str, int]


def find_files(folder: Path) -> Found:
    """Return the files of a folder and of its subfolders. Links to folders are not followed, hidden files not read.

    Raises:
        DataError: if there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder with scans; there is no such folder")
    unread: list[OSError] = []
    paths = sorted(
        Path(here, name)
        for here, _, names in os.walk(folder, onerror=unread.append)
        for name in names
        if not name.startswith(".")
    )
    if unread:
        raise DataError(f"{error.filename}: must be a readable folder: {error.strerror}" for error in unread)
    scans = {normal(path.relative_to(folder).as_posix()): path for path in paths if path.name.endswith(ENDINGS)}
    others = Counter(path.suffix.lower() or "no suffix" for path in paths if not path.name.endswith(ENDINGS))
    return Found(scans, others)


class Headers:
    """The headers of a folder's files.

    Attributes:
        files: file by path in the folder.
        errors: error by path of each file whose header is invalid.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files
        self.errors: dict[str, str] = {}

    def __getitem__(self, path: str) -> ScanHeader | None:
        """Return a file's header, that of the first frame; None if it is invalid."""
        return self.frame(path, 0)

    def frame(self, path: str, frame: int) -> ScanHeader | None:
        """Return a file's header for a frame, counted from 0, or for the only one; None if it is invalid."""
        try:
            return read_header(self.files[path], frame, label=True)
        except DataError as error:
            self.errors[path] = error.errors[0]
            return None


def label_patterns(series: Sequence[Series], headers: Headers) -> set[str]:
    """Return the patterns of the series that are label files, by one file of each, or by its name if unreadable."""
    found = set()
    for one in series:
        readable = (header for path in one.files.values() if (header := headers[path]) is not None)
        values = _whole_values(next(readable, None))
        if "label" in one.kinds if values is None else 0 <= values <= MOST_VALUES:
            found.add(one.pattern)
    return found


def _whole_values(header: ScanHeader | None) -> int | None:
    """Return the number of values of a file, -1 if they are not whole numbers, and None if it cannot be read."""
    try:
        voxels = None if header is None else read_voxels(header)
    except DataError:
        return None
    if voxels is None:
        return None
    values = np.unique(voxels)
    return len(values) if np.isfinite(values).all() and (np.abs(values - np.rint(values)) < 1e-3).all() else -1


def pairs_on_one_grid(series: Sequence[Series], labels: Collection[str], headers: Headers) -> set[tuple[str, str]]:
    """Return the pairs of patterns of scans and labels whose files have one grid in all of some patients."""
    pairs = set()
    for scan in (one for one in series if one.pattern not in labels):
        for label in (one for one in series if one.pattern in labels):
            shared = [patient for patient in scan.files if patient in label.files]
            compared = [
                (headers[scan.files[name]], headers[label.files[name]]) for name in spread(shared, MOST_COMPARED)
            ]
            same = [_same_grid(one, other) for one, other in compared if one is not None and other is not None]
            if same and all(same):
                pairs.add((scan.pattern, label.pattern))
    return pairs


def _same_grid(one: ScanHeader, other: ScanHeader) -> bool:
    return one.shape == other.shape and np.allclose(one.affine, other.affine, atol=AFFINE_TOLERANCE_MM)


def read_labels(header: ScanHeader) -> NDArray[np.int64]:
    """Return the label values (I, J, K) of a file, rounded.

    Raises:
        DataError: if the file cannot be read, or holds values that are not finite.
    """
    voxels = read_voxels(header)
    if not np.isfinite(voxels).all():
        raise DataError(f"{header.path}: must hold label values, got values that are not finite")
    return np.rint(voxels).astype(np.int64)


def spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the names, evenly spread."""
    if len(names) <= most:
        return list(names)
    return [names[place] for place in np.linspace(0, len(names) - 1, most).round().astype(int)]


def all_have_info(files: Iterable[Path]) -> bool:
    """Return whether each file has an `Info.cfg` beside it."""
    return all(file.with_name(INFO).is_file() for file in files)

"""What the files of a folder hold: headers of all, and voxels of label files only."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jointnet.data.description import LARGEST_VALUE
from jointnet.data.found_files import folder_paths
from jointnet.data.init.label_meaning import MOST_VALUES
from jointnet.data.init.series import Series
from jointnet.data.patterns import ENDINGS, normal
from jointnet.errors import DataError, short_repr
from jointnet.preparation.patient_files import AFFINE_TOLERANCE_MM
from jointnet.preparation.scan_file import ScanHeader, read_header, read_voxels

MOST_COMPARED = 5
"""Number of patients in which grids are compared and the arrangement of labels is looked at."""


class ScanFiles:
    """The NIfTI files of a folder and of its subfolders. Links to folders are not followed, hidden files not read.

    Attributes:
        folder: the folder.
        files: file by its path in the folder, in composed Unicode and with `/` between names.
        others: the number of other files by suffix, as text.
        errors: error by path of each file whose header is invalid.
    """

    def __init__(self, folder: Path) -> None:
        """Find the files.

        Raises:
            DataError: if there is no such folder, it cannot be read, or it has no scan.
        """
        unread: list[str] = []
        paths = [path for path in folder_paths(folder, unread) if not path.name.startswith(".")]
        if unread:
            raise DataError(unread)
        found = [path for path in paths if path.name.endswith(ENDINGS)]
        unwritable = [path for path in found if not _is_text(path.relative_to(folder))]
        others = Counter(path.suffix.lower() or "no suffix" for path in paths if not path.name.endswith(ENDINGS))
        self.folder = folder
        self.files = {normal(path.relative_to(folder).as_posix()): path for path in found if path not in unwritable}
        self.others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items())) or "no file"
        rule = "a scan's name must be in UTF-8, so it is left out"
        self.errors = {str(path): f"{folder}: {rule}, got {short_repr(path.name)}" for path in unwritable}
        if not self.files:
            got = f"{len(unwritable)} whose names are not UTF-8" if unwritable else self.others
            raise DataError(f"{folder}: must hold scans in NIfTI files (.nii, .nii.gz), got {got}")

    def header(self, path: str, frame: int = 0) -> ScanHeader | None:
        """Return a file's header for a frame, counted from 0, or for the only one; None if it is invalid."""
        try:
            return read_header(self.files[path], frame, label=True)
        except DataError as error:
            self.errors[path] = error.errors[0]
            return None

    def voxels(self, path: str, frame: int = 0) -> NDArray[np.float32] | None:
        """Return the voxels (I, J, K) of a file; None if it cannot be read."""
        header = self.header(path, frame)
        try:
            return None if header is None else read_voxels(header)
        except DataError:
            return None

    def labels(self, path: str, frame: int = 0) -> NDArray[np.int64] | None:
        """Return the label values (I, J, K) of a file, rounded; None if it cannot be read or holds no label values."""
        voxels = self.voxels(path, frame)
        return (
            None if voxels is None or not (np.abs(voxels) <= LARGEST_VALUE).all() else np.rint(voxels).astype(np.int64)
        )


def _is_text(path: Path) -> bool:
    """Return whether a path can be written in a TOML file."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def label_patterns(series: Sequence[Series], scans: ScanFiles) -> set[str]:
    """Return the patterns of the series that are label files, by one file of each, or by its name if unreadable."""
    found = set()
    for one in series:
        path = next((path for path in one.files.values() if scans.header(path) is not None), None)
        voxels = None if path is None else scans.voxels(path)
        if "label" in one.kinds if voxels is None else _are_labels(np.unique(voxels)):
            found.add(one.pattern)
    return found


def _are_labels(values: NDArray[np.float32]) -> bool:
    whole = (np.abs(values) <= LARGEST_VALUE).all() and (np.abs(values - np.rint(values)) < 1e-3).all()
    return len(values) <= MOST_VALUES and bool(whole)


def pairs_on_one_grid(series: Sequence[Series], labels: Collection[str], scans: ScanFiles) -> set[tuple[str, str]]:
    """Return the pairs of patterns of scans and labels whose files have one grid in all of some patients."""
    pairs = set()
    for scan in (one for one in series if one.pattern not in labels):
        for label in (one for one in series if one.pattern in labels):
            shared = [patient for patient in scan.files if patient in label.files]
            compared = [
                (scans.header(scan.files[name]), scans.header(label.files[name]))
                for name in spread(shared, MOST_COMPARED)
            ]
            same = [_same_grid(one, other) for one, other in compared if one is not None and other is not None]
            if same and all(same):
                pairs.add((scan.pattern, label.pattern))
    return pairs


def _same_grid(one: ScanHeader, other: ScanHeader) -> bool:
    return one.shape == other.shape and np.allclose(one.affine, other.affine, atol=AFFINE_TOLERANCE_MM)


def spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most `most` of the names, evenly spread."""
    places = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[place] for place in places]

"""The output folder of a pair. Files are written atomically, and the record that lists them is written last."""

from collections.abc import Mapping
from pathlib import Path

from jointnet.predict.pair import (
    CINE,
    CINE_LABELS,
    DISPLACEMENT,
    INVERSE_LABELS,
    LGE_LABELS,
    REGISTERED,
    SHEET,
    SLICES,
    UNREGISTERED,
    UNREGISTERED_LABELS,
)
from jointnet.predict.pair import TRANSFORMS as TRANSFORMS_JSON
from jointnet.system.atomic_file import write_whole

RECORD = "provenance.json"
ROWS = "slices.csv"
NAMES = (
    *(CINE, UNREGISTERED, REGISTERED, DISPLACEMENT),
    *(CINE_LABELS, UNREGISTERED_LABELS, LGE_LABELS, INVERSE_LABELS),
    *(TRANSFORMS_JSON, SLICES, SHEET, ROWS),
)
"""All possible files of a pair, except the record and the transforms in `transforms/`."""


def write_results(folder: Path, files: Mapping[str, bytes], record: bytes) -> None:
    """Write a pair's files and remove the files of an earlier prediction that this one does not have.

    The old record is removed first and the new one written last, so a folder with a record is complete.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if a name is not one of a pair's files.
    """
    for name in files:
        if name not in NAMES and not (Path(name).parent == Path("transforms") and Path(name).match("cine_slice_*.tfm")):
            raise ValueError(f"must be the name of a pair's file, got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for path in [*(folder / name for name in NAMES), *folder.glob("transforms/cine_slice_*.tfm")]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)
    write_whole(folder / RECORD, record)

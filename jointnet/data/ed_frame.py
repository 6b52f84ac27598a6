"""The end-diastolic frame of 4D cines, as data sets state it: ACDC beside each cine, M&Ms in one table.

ACDC's `Info.cfg` has a line such as `ED: 1`, counted from 1. M&Ms' table, a CSV file in the folder, has the columns
`External code`, the patient, and `ED`, counted from 0.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jointnet.errors import short_repr
from jointnet.patient_names import normal_name

INFO = "Info.cfg"
LARGEST_INFO = 64 * 1024
CODE, ED = "External code", "ED"
"""The columns of the table."""
LARGEST_TABLE = 1024 * 1024
SINCE = 'since [cine] frame is "ed"'


class EdTable(NamedTuple):
    """The table of a folder: its file, and the text of the column `ED` by patient."""

    file: Path
    frames: Mapping[str, str]


def ed_table(folder: Path) -> EdTable | None:
    """Return the first CSV file in a folder, by name, that has the columns of the table; None if there is none."""
    for path in sorted(folder.glob("*.csv")):
        try:
            if not path.is_file() or path.stat().st_size > LARGEST_TABLE:
                continue
            text = path.read_bytes().decode("utf-8-sig", errors="replace")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except (OSError, csv.Error):
            continue
        if rows and {CODE, ED} <= rows[0].keys():
            return EdTable(path, {normal_name(row[CODE] or ""): (row[ED] or "").strip() for row in rows})
    return None


def ed_frame(patient: str, cine: Path, table: EdTable | None, errors: list[str]) -> int | None:
    """Return the end-diastolic frame of a patient's cine, counted from 0. If it is not stated, add an error.

    Args:
        patient: the patient's name.
        cine: the cine. An `Info.cfg` beside it is used instead of the table.
        table: the folder's table, if it has one.
        errors: the error is added.
    """
    info = cine.with_name(INFO)
    if table is None or info.exists():
        return _of_info(info, errors)
    text = table.frames.get(patient)
    if text is not None and re.fullmatch(r"[0-9]{1,6}", text):
        return int(text)
    rule = f"must have a row with {CODE} {patient} and a whole number from 0 in {ED}, {SINCE}"
    errors.append(f"{table.file}: {rule}, got {'no such row' if text is None else short_repr(text)}")
    return None


def _of_info(path: Path, errors: list[str]) -> int | None:
    """Return the frame that `Info.cfg` states, counted from 0."""
    rule = f'{path}: must have a line such as "ED: 1", {SINCE}'
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_INFO).decode("utf-8", errors="replace")
    except OSError as error:
        errors.append(
            f"{rule}; it cannot be read: {error.strerror}. A CSV file in the folder with the columns {CODE} and {ED} "
            "would do as well"
        )
        return None
    found = re.search(r"^\s*ED\s*[:=]\s*([0-9]{1,6})\s*$", text, re.MULTILINE)
    if found is None or int(found[1]) < 1:
        errors.append(f"{rule}, counted from 1" + (f", got {found[0].strip()}" if found else ""))
        return None
    return int(found[1]) - 1

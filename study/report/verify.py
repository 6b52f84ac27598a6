"""Verification of a written report against values recomputed from the store, and against its copy in the store."""

from collections.abc import Mapping
from pathlib import Path

from study.report.parsed import cells


def differences(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Compare written files with their expected content and return one line per difference.

    Args:
        folder: the written report.
        expected: the content of each text file by its name, recomputed from the store.
    """
    found = []
    for name, text in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name}: is missing")
            continue
        found += _file_differences(name, text, path.read_text(encoding="utf-8"))
    return found


def stored_differences(folder: Path, stored: Mapping[str, bytes]) -> list[str]:
    """Compare a written report with its copy in the store, byte by byte, and return one line per differing file."""
    written = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found = [
        f"{name}: is in the store's copy of the report and not in {folder}" for name in stored.keys() - written.keys()
    ]
    found += [f"{name}: is not in the store's copy of the report" for name in written.keys() - stored.keys()]
    both = written.keys() & stored.keys()
    return sorted(found) + [
        f"{name}: differs from the store's copy of the report" for name in sorted(both) if written[name] != stored[name]
    ]


def _file_differences(name: str, expected: str, written: str) -> list[str]:
    """Return one line per differing value with its table, row and column, including values that only one side has."""
    wanted, held = cells(name, expected), cells(name, written)
    found = []
    for place in [*wanted, *(place for place in held if place not in wanted)]:
        first, second = wanted.get(place), held.get(place)
        if first != second:
            found.append(f"{name}: {_told(place)}: written {_quoted(second)}, the store gives {_quoted(first)}")
    return found


def _told(place: tuple[str, str, str]) -> str:
    table, row, column = place
    named = f"{table}, " if table else ""
    row = row if row.startswith(("row ", "line ", "item ")) else f"row {row!r}"
    return f"{named}{row}, column {column!r}"


def _quoted(value: str | None) -> str:
    return "nothing" if value is None else repr(value[:200])

"""Verification of a written report against a fresh rendering from the store, and against its copy in the store."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

_VARIABLE = re.compile(
    r"<(style|script)\b.*?</\1>"
    r'|<(p|span) class="(?:[^"]* )?local(?: [^"]*)?">.*?</\2>'  # time of writing, addresses on this machine
    r'|(?<= src=")[^"]*|(?<= srcset=")[^"]*'  # pictures are not drawn again
    r'|(?<= href=")[^"#]*',  # address of the tracking server, before the part that names a run
    re.DOTALL,
)
"""The parts of the page that may differ from a fresh rendering."""
_SECTION = re.compile(r'<section aria-labelledby="([^"]+)"')
_SEPARATORS = re.compile(r"[\s<>|&]+")
_MOST_CHARACTERS = 200


def differences(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Compare written files with their expected content and return one line per difference.

    Args:
        folder: the written report.
        expected: the content of each text file by its name, rendered from the store.
    """
    found = []
    for name, text in expected.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name}: is missing")
            continue
        compare = _csv_differences if name.endswith(".csv") else _line_differences
        for place, written, rendered in compare(path.read_bytes().decode("utf-8", "backslashreplace"), text):
            found.append(f"{name}: {place}: written {_quoted(written)}, the store gives {_quoted(rendered)}")
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


Difference = tuple[str, str | None, str | None]
"""Place, written text, and text rendered from the store; None where one side has nothing there."""


def _csv_differences(written: str, rendered: str) -> Iterator[Difference]:
    """Compare two CSV files cell by cell and yield each difference with its row (1 below the header) and column."""
    try:
        held, wanted = (list(csv.reader(io.StringIO(text))) for text in (written, rendered))
    except csv.Error:  # not a CSV file any more, such as one with a quote too many
        yield from _line_differences(written, rendered)
        return
    header = wanted[0] if wanted else []
    for number, (first, second) in enumerate(zip_longest(held, wanted, fillvalue=())):
        for place, (one, other) in enumerate(zip_longest(first, second)):
            if one != other:
                column = repr(header[place]) if place < len(header) else str(place + 1)
                yield f"row {number}, column {column}", one, other


def _line_differences(written: str, rendered: str) -> Iterator[Difference]:
    """Compare two texts line by line and yield each run of differing words with its section and line number."""
    held, wanted = _lines(written), _lines(rendered)
    matcher = SequenceMatcher(None, [line for _, line in held], [line for _, line in wanted])
    for kind, start, end, begin, stop in matcher.get_opcodes():
        if kind == "equal":
            continue
        for first, second in zip_longest(held[start:end], wanted[begin:stop]):
            if first is None or second is None:
                place, text = first or second
                yield (place, text, None) if second is None else (f"{place} of the new report", None, text)
            else:
                yield from ((first[0], *words) for words in _word_differences(first[1], second[1]))


def _lines(text: str) -> list[tuple[str, str]]:
    """Return the lines that are not empty, each with its place, without the parts of a page that may differ."""
    kept = _VARIABLE.sub(lambda part: "\n" * part[0].count("\n"), text)
    lines, section = [], ""
    for number, line in enumerate(kept.splitlines(), start=1):
        if named := _SECTION.search(line):
            section = f"section {named[1]}, "
        if line.strip():
            lines.append((f"{section}line {number}", line.strip()))
    return lines


def _word_differences(written: str, rendered: str) -> Iterator[tuple[str | None, str | None]]:
    """Yield the runs of words that differ; the whole lines where only the characters between words differ."""
    held, wanted = _SEPARATORS.split(written), _SEPARATORS.split(rendered)
    if held == wanted:
        yield written, rendered
    for kind, start, end, begin, stop in SequenceMatcher(None, held, wanted, autojunk=False).get_opcodes():
        if kind != "equal":
            yield " ".join(held[start:end]) or None, " ".join(wanted[begin:stop]) or None


def _quoted(value: str | None) -> str:
    return "nothing" if value is None else repr(value[:_MOST_CHARACTERS])

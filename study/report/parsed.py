"""Parsers that read written report files back into named cells. They share no code with the writers."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

Place = tuple[str, str, str]
"""Table, row and column of a value."""


def cells(name: str, text: str) -> dict[Place, str]:
    """Return every value of a written file by table, row and column. Text outside tables is read line by line.

    Args:
        name: the file's name. Its ending selects the parser: csv, md, tex or html.
        text: the file's content.
    """
    reader = {"csv": _csv, "md": _markdown, "tex": _latex, "html": _html}[name.rpartition(".")[2]]
    found: dict[Place, str] = {}
    for place, value in reader(text):
        table, row, column = place
        number = 1
        while (table, row, column) in found:  # several rows may have the same heading
            number += 1
            row = f"{place[1]} ({number})"
        found[table, row, column] = value
    return found


def _csv(text: str) -> Iterator[tuple[Place, str]]:
    header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    yield ("", "row 0", "header"), ",".join(header)
    for number, line in enumerate(lines, start=1):
        for place, value in enumerate(line):
            column = header[place] if place < len(header) else f"column {place + 1}"
            yield ("", f"row {number}", column), value


def _markdown(text: str) -> Iterator[tuple[Place, str]]:
    yield from _lined(text, lambda line: line.startswith("|"), lambda line: re.split(r"(?<!\\)\|", line)[1:-1])


def _latex(text: str) -> Iterator[tuple[Place, str]]:
    yield from _lined(
        text, lambda line: line.endswith(r"\\"), lambda line: re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
    )


def _lined(text: str, is_row, split) -> Iterator[tuple[Place, str]]:  # type: ignore[no-untyped-def]
    """Read tables with one line per row and the header first, and the text lines between the tables."""
    header: list[str] = []
    table = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not is_row(line):
            if header and not line.startswith("\\"):
                header = []
            if line.strip():
                yield ("", f"line {number}", "text"), line.strip()
            continue
        values = [value.strip() for value in split(line)]
        if not header:
            header, table = [value or "row" for value in values], table + 1
            yield (f"table {table}", "header", "all"), " | ".join(values)
            continue
        for place, value in enumerate(values):
            column = header[place] if place < len(header) else f"column {place + 1}"
            yield (f"table {table}", values[0] or f"line {number}", column), value


def _html(text: str) -> Iterator[tuple[Place, str]]:
    page = _Page()
    page.feed(text)
    page.close()
    yield from page.found


@dataclass
class _Table:
    name: str
    header: list[str] = field(default_factory=list)
    row: list[str] = field(default_factory=list)


class _Page(HTMLParser):
    """HTML parser that collects table cells, the text of each section, and some attributes (links, ids, classes)."""

    _SILENT = ("style", "script")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Place, str]] = []
        self._section, self._cell, self._skipped = "head", "", 0
        self._table: _Table | None = None
        self._open: list[tuple[str, bool]] = []
        self._words = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        local = "local" in values.get("class", "").split()
        if tag not in ("meta", "img", "source", "br", "link"):
            self._open.append((tag, local or tag in self._SILENT))
            self._skipped += local or tag in self._SILENT
        if tag == "section":
            self._section = values.get("aria-labelledby", "section")
        if tag == "table":
            self._table = _Table(values.get("id", "table"))
        if self._table and tag == "tr":
            self._table.row = []
        if tag in ("td", "th"):
            self._cell = ""
        if self._skipped:
            return
        for name in ("href", "alt", "id", "class"):  # of a link, only the part after "#" counts: the server may change
            if values.get(name):
                value = values[name].partition("#")[2] if name == "href" else values[name]
                self._say(f"{tag} {name}", value)

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            name, silent = self._open.pop()
            self._skipped -= silent
            if name == tag:
                break
        if self._table and tag in ("td", "th"):
            self._table.row.append(" ".join(self._cell.split()))
        if self._table and tag == "tr":
            self._row(self._table)
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if self._skipped or not data.strip():
            return
        if self._table and self._open and any(name in ("td", "th") for name, _ in self._open):
            self._cell += data
        else:
            self._say("words", " ".join(data.split()))

    def _row(self, table: _Table) -> None:
        if not table.header:
            table.header = table.row
            self.found.append(((table.name, "header", "all"), " | ".join(table.row)))
            return
        for place, value in enumerate(table.row):
            column = table.header[place] if place < len(table.header) else f"column {place + 1}"
            self.found.append(((table.name, table.row[0], column), value))

    def _say(self, what: str, value: str) -> None:
        self._words += 1
        self.found.append(((f"section {self._section}", f"item {self._words}", what), value))

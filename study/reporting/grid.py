"""A table as it is shown, in any format: words in cells, with the run that each comes from."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GridCell:
    """One cell.

    Attributes:
        text: what it says; empty for nothing.
        marks: stars behind it.
        best: whether it is the best of its column.
        source: key of the runs that it comes from, see `study.reporting.links`; empty for none.
    """

    text: str
    marks: str = ""
    best: bool = False
    source: str = ""


@dataclass(frozen=True)
class GridRow:
    """One line: its heading and its cells.

    Attributes:
        sources: keys of the runs that it comes from.
        role: `before` for the line that others are held against, `detail` for one that belongs to the line above it.
        anchors: ids by which a page links to the line.
    """

    heading: str
    cells: tuple[GridCell, ...]
    sources: tuple[str, ...] = ()
    role: str = ""
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table; `name` is its id on the page and the stem of its files, `corner` the heading of the row headings."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    corner: str = ""
    note: str = ""


def line(words: Sequence[str], *sources: str, anchors: Sequence[str] = ()) -> GridRow:
    """Give a line of plain words, the first its heading; with one source its cells come from there, too."""
    own = sources[0] if len(sources) == 1 else ""
    cells = tuple(GridCell(text, source=own if text else "") for text in words[1:])
    return GridRow(words[0], cells, sources, anchors=tuple(anchors))

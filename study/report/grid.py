"""A table of texts, independent of the output format. Each cell refers to the runs that it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GridCell:
    """One cell.

    Attributes:
        text: the text, possibly empty.
        marks: significance stars, shown after the text.
        best: whether it is the best value of its column.
        source: key of the runs that it comes from, see `study.report.links`; empty for none.
    """

    text: str
    marks: str = ""
    best: bool = False
    source: str = ""


@dataclass(frozen=True)
class GridRow:
    """One row: its heading and its cells.

    Attributes:
        sources: keys of the runs that it comes from.
        role: `before` for the row before registration, `detail` for a row that belongs to the row above it.
        anchors: ids by which a page links to the row.
    """

    heading: str
    cells: tuple[GridCell, ...]
    sources: tuple[str, ...] = ()
    role: str = ""
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table. `name` is its id on the page and the stem of its files; `corner` is the title of the first column."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[GridRow, ...]
    corner: str = ""
    note: str = ""


def line(words: Sequence[str], *sources: str, anchors: Sequence[str] = ()) -> GridRow:
    """Create a row of plain texts, the first of which is the heading. A single source also applies to the cells."""
    own = sources[0] if len(sources) == 1 else ""
    cells = tuple(GridCell(text, source=own if text else "") for text in words[1:])
    return GridRow(words[0], cells, sources, anchors=tuple(anchors))

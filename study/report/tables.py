"""Tables of texts, and how they are written as Markdown, LaTeX and terminal text."""

import io
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

CODE = "`([^`]+)`"
"""The pattern of code in a text, as in Markdown."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: the text, possibly empty.
        marks: significance stars, shown after the text.
        best: whether it is the best value of its column.
        source: key of the runs that it comes from, see `study.report.page.RunLinks`; empty for none.
    """

    text: str
    marks: str = ""
    best: bool = False
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its heading and its cells.

    Attributes:
        sources: keys of the runs that it comes from.
        role: `before` for the row before registration, `detail` for a row that belongs to the row above it.
        anchors: ids by which a page links to the row.
    """

    heading: str
    cells: tuple[Cell, ...]
    sources: tuple[str, ...] = ()
    role: str = ""
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: its id on the page and the stem of its files.
        header: the titles of the columns after the first.
        corner: the title of the first column.
        in_paper: whether it is also written to files of its own, as Markdown and LaTeX.
        tall: whether it is so long that it scrolls in a box of its own; it is left out of Markdown.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    corner: str = ""
    note: str = ""
    in_paper: bool = False
    tall: bool = False


def text_row(words: Sequence[str], *sources: str, anchors: Sequence[str] = ()) -> Row:
    """Create a row of plain texts, the first of which is the heading. A single source also applies to the cells."""
    own = sources[0] if len(sources) == 1 else ""
    cells = tuple(Cell(text, source=own if text else "") for text in words[1:])
    return Row(words[0], cells, sources, anchors=tuple(anchors))


def with_patients(headings: Sequence[str], patients: Sequence[Collection[int]]) -> tuple[str, ...]:
    """Return the headings of columns, with the number of patients where columns differ in it.

    Args:
        headings: a heading for each column.
        patients: for each column, the numbers of patients that its cells are over.
    """
    counts = [sorted({count for count in column if count}) for column in patients]
    if len({tuple(column) for column in counts if column}) < 2:
        return tuple(headings)
    return tuple(
        f"{heading}, n = {' to '.join(map(str, dict.fromkeys((column[0], column[-1]))))}" if column else heading
        for heading, column in zip(headings, counts, strict=True)
    )


def text_frame(table: Table) -> pd.DataFrame:
    """Return a table as a frame of texts."""
    lines = [[row.heading, *(cell.text for cell in row.cells)] for row in table.rows]
    return pd.DataFrame(lines, columns=[table.corner, *table.header])


def number(value: float, digits: int = 2) -> str:
    """Return a number with `digits` decimals, or `n/a` for NaN."""
    if math.isnan(value):
        return "n/a"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def number_or_empty(value: float, digits: int = 2) -> str:
    """Return a number with `digits` decimals, or an empty text for NaN."""
    return "" if math.isnan(value) else number(value, digits)


def interval(value: float | None, low: float, high: float, digits: int = 2) -> str:
    """Return a value and its interval as `-1.20 [-2.01, -0.39]`, without the parts that are NaN."""
    parts = [] if value is None or math.isnan(value) else [number(value, digits)]
    if not (math.isnan(low) or math.isnan(high)):
        parts.append(f"[{number(low, digits)}, {number(high, digits)}]")
    return " ".join(parts)


def p_value(value: float) -> str:
    """Return a p value with four decimals (`< 0.0001` below that), or an empty text for NaN."""
    if math.isnan(value):
        return ""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def markdown(table: Table) -> str:
    """Return the table as Markdown, with the best value of each column in bold."""

    def cell(part: Cell) -> str:
        text = f"**{markdown_text(part.text)}**" if part.best else markdown_text(part.text) or "-"
        return text + markdown_text(part.marks)

    lines = [[table.corner, *table.header], ["---", *["---:"] * len(table.header)]]
    lines += [[markdown_text(row.heading), *(cell(part) for part in row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex(table: Table) -> str:
    """Return the table as LaTeX (`booktabs`), with the best value of each column in bold."""

    def cell(part: Cell) -> str:
        text = latex_text(part.text) or "--"
        marked = rf"\textbf{{{text}}}" if part.best else text
        return marked + (f"$^{{{part.marks}}}$" if part.marks else "")

    body = [" & ".join([latex_text(row.heading), *(cell(part) for part in row.cells)]) + r" \\" for row in table.rows]
    head = " & ".join([latex_text(table.corner), *(latex_text(title) for title in table.header)]) + r" \\"
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)} {latex_text(table.note)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.header)}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def terminal(table: Table, width: int, colour: bool = False) -> str:
    """Return the table as text, `width` characters wide.

    `>` and bold type (where `colour` is set) mark the best value of each column. A row is named after its arm, which
    is shorter than its heading.
    """
    drawn = RichTable(title=table.caption, title_justify="left", title_style="", box=SIMPLE_HEAD)
    drawn.add_column("")
    for title in table.header:
        drawn.add_column(title.replace(" (mm)", ""), justify="right")
    for row in table.rows:
        drawn.add_row(
            Text("" if row.role == "detail" else " ".join(row.sources) or row.heading),
            *(_terminal_cell(part) for part in row.cells),
        )
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False).print(drawn)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def markdown_text(text: str) -> str:
    """Escape the characters that Markdown reads as emphasis, cell border or tag."""
    return text.replace("*", r"\*").replace("|", r"\|").replace("<", "&lt;")


def latex_text(text: str) -> str:
    """Escape the characters that LaTeX reads as markup, and set code, between backticks, in typewriter type."""
    replacements = {"\\": r"\textbackslash{}", **{mark: f"\\{mark}" for mark in "&%$#_{}"}, "<": "$<$", ">": "$>$"}
    escaped = "".join(replacements.get(letter, letter) for letter in text)
    return re.sub(CODE, lambda code: rf"\texttt{{{code[1].replace('--', '-{}-')}}}", escaped)


def _terminal_cell(part: Cell) -> Text:
    text = f"{'>' if part.best else ''}{part.text or '-'}{part.marks}"
    return Text(text, style="bold" if part.best else "")

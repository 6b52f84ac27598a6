"""A table in Markdown, in LaTeX and on a terminal, the best of each column marked."""

import io

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from study.reporting.tables import Cell, Table


def markdown(table: Table) -> str:
    """Write the table in Markdown, the best of each column in bold."""

    def cell(part: Cell | None) -> str:
        if part is None:
            return "-"
        text = f"**{part.text}**" if part.best else part.text
        return text + part.stars.replace("*", r"\*")

    head = ["", *(column.heading for column in table.columns)]
    lines = [head, ["---", *["---:"] * len(table.columns)]]
    lines += [[row.label, *(cell(part) for part in row.cells)] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex(table: Table, note: str = "") -> str:
    """Write the table for LaTeX (`booktabs`), the best of each column in bold."""

    def cell(part: Cell | None) -> str:
        if part is None:
            return "--"
        text = rf"\textbf{{{part.text}}}" if part.best else part.text
        return text + (f"$^{{{part.stars}}}$" if part.stars else "")

    body = [" & ".join([latex_text(row.label), *(cell(part) for part in row.cells)]) + r" \\" for row in table.rows]
    head = " & ".join(["", *(latex_text(column.heading) for column in table.columns)]) + r" \\"
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)} {latex_text(note)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def terminal(table: Table, width: int, colour: bool = False) -> str:
    """Write the table as text `width` characters wide; the best of each column carries `>`, and bold in colour."""
    units = ", ".join(sorted({column.unit for column in table.columns if column.unit}))
    title = f"{table.caption} Mean (SD) over {table.unit}" + (f", {units}." if units else ".")
    grid = RichTable(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD)
    grid.add_column("")
    for column in table.columns:
        grid.add_column(column.title, justify="right")
    for row in table.rows:
        texts = [Text("-") if part is None else _terminal_cell(part) for part in row.cells]
        grid.add_row(Text(row.key), *texts)
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False).print(grid)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def latex_text(text: str) -> str:
    """Escape what LaTeX would read as markup."""
    replacements = {"\\": r"\textbackslash{}", **{mark: f"\\{mark}" for mark in "&%$#_{}"}, "<": "$<$", ">": "$>$"}
    return "".join(replacements.get(letter, letter) for letter in text)


def _terminal_cell(part: Cell) -> Text:
    return Text(f"{'>' if part.best else ''}{part.text}{part.stars}", style="bold" if part.best else "")

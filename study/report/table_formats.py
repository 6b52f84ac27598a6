"""Tables written as Markdown, LaTeX and terminal text, with the best value of each column marked."""

import io

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from study.report.grid import Grid, GridCell


def markdown(grid: Grid) -> str:
    """Return the table as Markdown, with the best value of each column in bold."""

    def cell(part: GridCell) -> str:
        text = f"**{markdown_text(part.text)}**" if part.best else markdown_text(part.text) or "-"
        return text + markdown_text(part.marks)

    lines = [[grid.corner, *grid.header], ["---", *["---:"] * len(grid.header)]]
    lines += [[markdown_text(row.heading), *(cell(part) for part in row.cells)] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex(grid: Grid) -> str:
    """Return the table as LaTeX (`booktabs`), with the best value of each column in bold."""

    def cell(part: GridCell) -> str:
        text = latex_text(part.text) or "--"
        marked = rf"\textbf{{{text}}}" if part.best else text
        return marked + (f"$^{{{part.marks}}}$" if part.marks else "")

    body = [" & ".join([latex_text(row.heading), *(cell(part) for part in row.cells)]) + r" \\" for row in grid.rows]
    head = " & ".join([latex_text(grid.corner), *(latex_text(title) for title in grid.header)]) + r" \\"
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(grid.caption)} {latex_text(grid.note)}}}",
        rf"\label{{tab:{grid.name}}}",
        rf"\begin{{tabular}}{{l{'r' * len(grid.header)}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    return "\n".join(lines) + "\n"


def terminal(grid: Grid, width: int, colour: bool = False) -> str:
    """Return the table as text, `width` characters wide.

    `>` and bold type (where `colour` is set) mark the best value of each column. A row is named after its arm, which
    is shorter than its heading.
    """
    shown = RichTable(title=grid.caption, title_justify="left", title_style="", box=SIMPLE_HEAD)
    shown.add_column("")
    for title in grid.header:
        shown.add_column(title.removesuffix(" (mm)"), justify="right")
    for row in grid.rows:
        shown.add_row(
            Text("" if row.role == "detail" else " ".join(row.sources) or row.heading),
            *(_terminal_cell(part) for part in row.cells),
        )
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colour, no_color=not colour, highlight=False).print(shown)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def markdown_text(text: str) -> str:
    """Escape the characters that Markdown reads as emphasis, cell border or tag."""
    return text.replace("*", r"\*").replace("|", r"\|").replace("<", "&lt;")


def latex_text(text: str) -> str:
    """Escape the characters that LaTeX reads as markup."""
    replacements = {"\\": r"\textbackslash{}", **{mark: f"\\{mark}" for mark in "&%$#_{}"}, "<": "$<$", ">": "$>$"}
    return "".join(replacements.get(letter, letter) for letter in text)


def _terminal_cell(part: GridCell) -> Text:
    text = f"{'>' if part.best else ''}{part.text or '-'}{part.marks}"
    return Text(text, style="bold" if part.best else "")

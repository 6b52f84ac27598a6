"""Tables of a study: per-slice rows -> patient means -> mean (SD) over patients, as CSV, Markdown, LaTeX and text."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from jointnet.faults import InputFaultError
from jointnet.structures import STRUCTURES
from study.statistics import PairedTest, mean_sd, paired_test

BEFORE = "before"
ROW_COLUMNS = ["patient", "slice", "structure", "metric", "before", "after", "lost"]
KEY = ["patient", "slice", "metric", "structure"]


@dataclass(frozen=True)
class Column:
    """One measured quantity: a metric of one structure, in mm or (Dice) without unit."""

    metric: str
    structure: str
    title: str
    unit: str = "mm"
    lower_is_better: bool = True


ENDPOINTS: tuple[tuple[str, str], ...] = (
    ("cd_mm", "lv"),
    ("asd_mm", "lv"),
    ("asd_mm", "myo"),
    ("cd_mm", "rv"),
    ("asd_mm", "rv"),
)
"""The five registration metrics, in the order of the paper's Table 1."""

STRUCTURE_TITLES = {"lv": "LV", "myo": "Myocardium", "rv": "RV"}
_METRIC_TITLES = {
    "cd_mm": "CD",
    "asd_mm": "ASD",
    "dice": "overlap",
    "dice_cine": "cine Dice",
    "dice_lge": "LGE Dice",
}


def _column(metric: str, structure: str) -> Column:
    title = f"{STRUCTURE_TITLES[structure]} {_METRIC_TITLES[metric]}"
    return Column(metric, structure, title) if metric.endswith("_mm") else Column(metric, structure, title, "", False)


REGISTRATION: tuple[Column, ...] = tuple(_column(*endpoint) for endpoint in ENDPOINTS)
OVERLAP: tuple[Column, ...] = tuple(_column("dice", structure) for structure in STRUCTURES)
SEGMENTATION: tuple[Column, ...] = tuple(
    _column(metric, structure) for metric in ("dice_cine", "dice_lge") for structure in STRUCTURES
)


@dataclass(frozen=True)
class Cell:
    """Mean and sample SD over units, in the column's unit; the test compares with before and is None there."""

    mean: float
    sd: float
    units: int
    best: bool
    worse: bool
    test: PairedTest | None
    digits: int = 2

    @property
    def stars(self) -> str:
        """The marks of the t-test against before, with `!` where the change is for the worse."""
        stars = self.test.stars if self.test else ""
        return f"{stars}!" if stars and self.worse else stars

    @property
    def text(self) -> str:
        """The cell as `2.18 (1.46)`."""
        return f"{number(self.mean, self.digits)} ({number(self.sd, self.digits)})"


@dataclass(frozen=True)
class Row:
    """One line of a table: before registration, or one arm; a cell is None where nothing was measured."""

    key: str
    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A table whose unit is `unit` (`patients` or `slices`)."""

    caption: str
    unit: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def number(value: float, digits: int = 2) -> str:
    """Give a number with so many decimals, `n/a` for NaN."""
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def patient_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Average per-slice rows over each patient's slices: `metric,structure,patient,slices,before,after,lost`."""
    groups = rows.groupby(["metric", "structure", "patient"], as_index=False)
    return groups.agg(
        slices=("slice", "size"), before=("before", "mean"), after=("after", "mean"), lost=("lost", "sum")
    )


def registration_ratio(rows: pd.DataFrame) -> float:
    """Give the objective on these rows: geometric mean over ENDPOINTS of after / before, each a mean over patients.

    1 is no better than doing nothing; NaN where one of the five was not measured or was 0 before.
    """
    means = patient_means(rows).groupby(["metric", "structure"])[["before", "after"]].mean()
    if any(endpoint not in means.index for endpoint in ENDPOINTS):
        return math.nan
    chosen = means.loc[list(ENDPOINTS)]
    if (chosen["before"] <= 0).any():
        return math.nan
    return float(np.exp(np.log(chosen["after"].clip(lower=1e-12) / chosen["before"]).mean()))


def lost_structures(rows: pd.DataFrame) -> int:
    """Count the structures of slices that registration moved out of view."""
    return len(rows.loc[rows["lost"].astype(bool), ["patient", "slice", "structure"]].drop_duplicates())


def check_rows(rows_of: Mapping[str, pd.DataFrame]) -> None:
    """Check that every registration value is there and that the arms agree on the values before registration.

    Raises:
        InputFaultError: naming each arm and the first value that differs.
    """
    faults = []
    reference: tuple[str, pd.Series] | None = None
    for arm, rows in rows_of.items():
        registration = rows[rows["metric"].isin(["cd_mm", "asd_mm", "dice"])]
        if not np.isfinite(registration[["before", "after"]].to_numpy(dtype=float)).all():
            faults.append(f"arm {arm}: its test rows hold a registration value that is not a finite number")
        before = registration.set_index(KEY)["before"].sort_index()
        if not before.index.is_unique:
            faults.append(f"arm {arm}: its test rows hold the same patient, slice, metric and structure twice")
            continue
        if reference is None:
            reference = (arm, before)
            continue
        faults.extend(_disagreement(reference[0], reference[1], arm, before))
    if faults:
        raise InputFaultError(faults)


def comparison(
    rows_of: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    columns: Sequence[Column],
    caption: str,
    unit: str = "patients",
    with_before: bool = True,
) -> Table:
    """Lay out before registration and each arm of `labels`, best value per column marked.

    Args:
        rows_of: per-slice test rows by arm; an arm of `labels` without rows has empty cells.
        labels: the arms in the order of the table, with their titles.
        columns: the metrics.
        caption: the table's title.
        unit: `patients` (each patient's slices averaged first, paired test) or `slices` (pooled, no test).
        with_before: whether there is a row before registration; the arms share it.
    """
    values_of = {arm: patient_means(rows) if unit == "patients" else rows for arm, rows in rows_of.items()}
    rows: list[Row] = []
    if with_before:
        shared = next(iter(values_of.values()), None)
        cells = tuple(None if shared is None else _cell(shared, column, unit, BEFORE) for column in columns)
        rows.append(Row(BEFORE, "Before registration", cells))
    for arm, label in labels.items():
        values = values_of.get(arm)
        cells = tuple(None if values is None else _cell(values, column, unit, "after") for column in columns)
        rows.append(Row(arm, label, cells))
    return Table(caption, unit, tuple(columns), _mark_best(rows, columns))


def tidy(tables: Sequence[Table]) -> pd.DataFrame:
    """Give the arms' cells one per line, unrounded, each with its value before and its tests."""
    lines = []
    for table in tables:
        before = next((row.cells for row in table.rows if row.key == BEFORE), (None,) * len(table.columns))
        for row in (row for row in table.rows if row.key != BEFORE):
            for column, start, cell in zip(table.columns, before, row.cells, strict=True):
                if cell is not None:
                    lines.append(_tidy_line(table, row, column, start, cell))
    return pd.DataFrame(lines, columns=TIDY_COLUMNS)


TIDY_COLUMNS = [
    *("arm", "metric", "structure", "unit", "n", "before_mean", "before_sd", "after_mean", "after_sd"),
    *("difference_mean", "difference_sd", "t", "p", "wilcoxon", "wilcoxon_p", "wilcoxon_method"),
    *("best", "stars", "reason"),
]


def markdown(table: Table) -> str:
    """Write the table in Markdown, the best of each column in bold."""

    def cell(part: Cell | None) -> str:
        if part is None:
            return "-"
        text = f"**{part.text}**" if part.best else part.text
        return text + part.stars.replace("*", r"\*")

    head = ["", *(heading(column) for column in table.columns)]
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
    head = " & ".join(["", *(latex_text(heading(column)) for column in table.columns)]) + r" \\"
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


def heading(column: Column) -> str:
    """Give the column's title with its unit."""
    return f"{column.title} ({column.unit})" if column.unit else column.title


def latex_text(text: str) -> str:
    """Escape what LaTeX would read as markup."""
    replacements = {"\\": r"\textbackslash{}", **{mark: f"\\{mark}" for mark in "&%$#_{}"}, "<": "$<$", ">": "$>$"}
    return "".join(replacements.get(letter, letter) for letter in text)


def _terminal_cell(part: Cell) -> Text:
    return Text(f"{'>' if part.best else ''}{part.text}{part.stars}", style="bold" if part.best else "")


def _cell(values: pd.DataFrame, column: Column, unit: str, side: str) -> Cell | None:
    """Summarise one metric on one side; only patients are tested: slices of a patient are not independent."""
    chosen = values[(values["metric"] == column.metric) & (values["structure"] == column.structure)]
    chosen = chosen[chosen[side].notna()]
    if chosen.empty:
        return None
    mean, sd = mean_sd(chosen[side].to_numpy(dtype=float))
    paired = unit == "patients" and side == "after" and bool(chosen[BEFORE].notna().all())
    test = paired_test(chosen[BEFORE].to_numpy(dtype=float), chosen[side].to_numpy(dtype=float)) if paired else None
    worse = test is not None and (test.difference > 0) == column.lower_is_better
    return Cell(mean, sd, len(chosen), best=False, worse=worse, test=test, digits=2 if column.unit else 3)


def _mark_best(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Mark the best mean of each column, before registration included; equal means are all best."""
    best = []
    for place, column in enumerate(columns):
        means = [cell.mean for row in rows if (cell := row.cells[place]) is not None]
        best.append((min if column.lower_is_better else max)(means, default=math.nan))
    return tuple(
        replace(row, cells=tuple(cell and replace(cell, best=cell.mean == top) for cell, top in pairs))
        for row in rows
        if (pairs := list(zip(row.cells, best, strict=True)))
    )


def _tidy_line(table: Table, row: Row, column: Column, before: Cell | None, after: Cell) -> list[object]:
    start = (before.mean, before.sd) if before else (math.nan, math.nan)
    head = [row.key, column.metric, column.structure, table.unit, after.units, *start, after.mean, after.sd]
    test = after.test
    if test is None:
        return [*head, *[math.nan] * 6, "", after.best, "", ""]
    ranks = [test.wilcoxon, test.wilcoxon_p, test.wilcoxon_method]
    return [*head, test.difference, test.difference_sd, test.t, test.p, *ranks, after.best, test.stars, test.reason]


def _disagreement(first: str, expected: pd.Series, second: str, found: pd.Series) -> list[str]:
    """Say where two arms' values before registration differ; they are the same scans, so they must not."""
    if not expected.index.equals(found.index):
        stray = expected.index.symmetric_difference(found.index)
        return [f"arms {first} and {second}: not tested on the same rows, e.g. {dict(zip(KEY, stray[0], strict=True))}"]
    differs = ~np.isclose(expected.to_numpy(dtype=float), found.to_numpy(dtype=float), rtol=1e-6, atol=1e-9)
    if not differs.any():
        return []
    place = int(np.argmax(differs))
    where = dict(zip(KEY, expected.index[place], strict=True))
    values = f"{expected.iloc[place]} against {found.iloc[place]}"
    return [f"arms {first} and {second}: differ before registration at {where}: {values} ({differs.sum()} rows in all)"]

"""Tables of a study: mean (SD) of each arm, the best of each column, and the change from before registration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from jointnet.evaluate.aggregation import ENDPOINTS, METRIC_TITLES
from jointnet.structures import STRUCTURE_TITLES, STRUCTURES
from study.report.statistics.comparisons import Comparison, comparison_line
from study.report.statistics.paired import mean_sd, significance_stars
from study.report.store.slice_rows import of_metric
from study.report.tables import Cell, Row, Table, number, with_patients

BEFORE = "before"


@dataclass(frozen=True)
class Column:
    """One measured quantity: a metric of one structure, in mm, or without unit for Dice."""

    metric: str
    structure: str
    title: str
    unit: str = "mm"
    lower_is_better: bool = True

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _column(metric: str, structure: str) -> Column:
    name = STRUCTURE_TITLES[structure]
    title = f"{name[0].upper()}{name[1:]} {METRIC_TITLES[metric]}"
    return Column(metric, structure, title) if metric.endswith("_mm") else Column(metric, structure, title, "", False)


REGISTRATION: tuple[Column, ...] = tuple(_column(*endpoint) for endpoint in ENDPOINTS)
OVERLAP: tuple[Column, ...] = tuple(_column("dice", structure) for structure in STRUCTURES)
SEGMENTATION: tuple[Column, ...] = tuple(
    _column(metric, structure) for metric in ("dice_cine", "dice_lge") for structure in STRUCTURES
)


@dataclass(frozen=True)
class MeanCell:
    """Mean and sample SD over patients or slices, in the column's unit.

    Attributes:
        units: number of patients or slices.
        best: whether the mean is the best of its column.
        change: the comparison with before registration; None in the row before registration and where nothing is
            tested.
        digits: number of decimals in texts.
    """

    mean: float
    sd: float
    units: int
    best: bool
    change: Comparison | None
    lower_is_better: bool = True
    digits: int = 2

    @property
    def stars(self) -> str:
        """The significance stars of the Holm-corrected t-test against before, with `!` for a change for the worse."""
        if self.change is None:
            return ""
        stars = significance_stars(self.change.holm_p)
        worse = (self.change.test.difference > 0) == self.lower_is_better
        return f"{stars}!" if stars and worse else stars

    @property
    def text(self) -> str:
        """The cell as `2.18 (1.46)`."""
        return f"{number(self.mean, self.digits)} ({number(self.sd, self.digits)})"

    @property
    def change_text(self) -> str:
        """The mean change from before with its 95 % t interval, as `-1.20 [-2.01, -0.39]`; empty without a test."""
        if self.change is None or self.change.test.patients == 0:
            return ""
        test = self.change.test
        bounds = "" if test.reason else f" [{number(test.low, self.digits)}, {number(test.high, self.digits)}]"
        return f"{number(test.difference, self.digits)}{bounds}"


@dataclass(frozen=True)
class MeanRow:
    """One row of a table: before registration, or one arm. A cell is None where nothing was measured."""

    key: str
    label: str
    cells: tuple[MeanCell | None, ...]


@dataclass(frozen=True)
class MeanTable:
    """A table of means over `unit` (`patients` or `slices`)."""

    name: str
    caption: str
    unit: str
    columns: tuple[Column, ...]
    rows: tuple[MeanRow, ...]


def mean_table(
    name: str,
    caption: str,
    values_of: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    columns: Sequence[Column],
    changes: Mapping[str, Sequence[Comparison]] | None = None,
    unit: str = "patients",
    with_before: bool = True,
) -> MeanTable:
    """Create a table with one row before registration and one row per arm, and mark the best value of each column.

    Args:
        name: the table's name.
        caption: the table's title.
        values_of: by arm, the patients returned by `study.report.store.slice_rows.over_folds`, or rows per slice
            where `unit` is `slices`. An arm of `labels` without values has empty cells.
        labels: the titles of the arms, in the order of the table.
        columns: the metrics.
        changes: by arm, its comparisons with before, one per column; None where nothing is tested.
        unit: `patients` or `slices`.
        with_before: whether there is a row before registration, which is the same for all arms.
    """
    rows: list[MeanRow] = []
    if with_before:
        shared = widest(values_of)
        cells = tuple(None if shared is None else _cell(shared, column, BEFORE, None) for column in columns)
        rows.append(MeanRow(BEFORE, "Before registration", cells))
    for arm, label in labels.items():
        values, own = values_of.get(arm), (changes or {}).get(arm)
        pairs = zip(columns, own if own is not None else len(columns) * [None], strict=True)
        rows.append(
            MeanRow(
                arm,
                label,
                tuple(None if values is None else _cell(values, one, "after", change) for one, change in pairs),
            )
        )
    return MeanTable(name, caption, unit, tuple(columns), _best_marked(rows, columns))


def widest(values_of: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Return the values of the row with the most patients, the first of equal ones; None where there are no rows.

    The values before registration are the same in all rows, but a row may lack a fold.
    """
    return max(values_of.values(), key=lambda values: values["patient"].nunique(), default=None)


def text_table(table: MeanTable, note: str = "", with_changes: bool = True) -> Table:
    """Return the table as texts: each arm's means and, if `with_changes`, the changes from before with intervals."""
    rows: list[Row] = []
    for row in table.rows:
        cells = (
            Cell("" if c is None else c.text, "" if c is None else c.stars, bool(c and c.best), row.key)
            for c in row.cells
        )
        rows.append(Row(row.label, tuple(cells), (row.key,), BEFORE if row.key == BEFORE else ""))
        if with_changes and any(cell and cell.change_text for cell in row.cells):
            changes = tuple(Cell("" if cell is None else cell.change_text, source=row.key) for cell in row.cells)
            rows.append(Row("change [95 % interval]", changes, (row.key,), "detail"))
    header = tuple(column.heading for column in table.columns)
    if table.unit == "patients":
        header = with_patients(header, [[cell.units for cell in column if cell] for column in _by_column(table)])
    return Table(table.name, table.caption, header, tuple(rows), "", note)


def _by_column(table: MeanTable) -> list[list[MeanCell | None]]:
    return [[row.cells[place] for row in table.rows] for place in range(len(table.columns))]


def csv_frame(tables: Sequence[MeanTable]) -> pd.DataFrame:
    """Return one line per arm and column, unrounded, with the value before and, where tested, the change."""
    lines = []
    for table in tables:
        before = next((row.cells for row in table.rows if row.key == BEFORE), (None,) * len(table.columns))
        for row in (row for row in table.rows if row.key != BEFORE):
            for column, start, cell in zip(table.columns, before, row.cells, strict=True):
                if cell is not None:
                    lines.append(_csv_line(table, row, column, start, cell))
    return pd.DataFrame(lines, columns=CSV_COLUMNS)


_CHANGE = ("difference", "difference_sd", "low", "high", "t", "p", "holm_p", "wilcoxon_p", "holm_wilcoxon_p", "reason")
CSV_COLUMNS = [
    *("arm", "metric", "structure", "unit", "n", "before_mean", "before_sd", "after_mean", "after_sd", "best", "stars"),
    *_CHANGE,
]


def _cell(values: pd.DataFrame, column: Column, side: str, change: Comparison | None) -> MeanCell | None:
    """Compute mean and SD of one metric before or after registration (`side`); None where there is no value."""
    chosen = of_metric(values, column.metric, column.structure)
    chosen = chosen[chosen[side].notna()]
    if chosen.empty:
        return None
    mean, sd = mean_sd(chosen[side].to_numpy(dtype=float))
    return MeanCell(mean, sd, len(chosen), False, change, column.lower_is_better, 2 if column.unit else 3)


def _best_marked(rows: Sequence[MeanRow], columns: Sequence[Column]) -> tuple[MeanRow, ...]:
    """Mark the best mean of each column, including the row before registration. Equal means are all marked."""
    best = []
    for place, column in enumerate(columns):
        means = [cell.mean for row in rows if (cell := row.cells[place]) is not None]
        best.append((min if column.lower_is_better else max)(means, default=math.nan))
    return tuple(
        replace(row, cells=tuple(cell and replace(cell, best=cell.mean == top) for cell, top in pairs))
        for row in rows
        if (pairs := list(zip(row.cells, best, strict=True)))
    )


def _csv_line(table: MeanTable, row: MeanRow, column: Column, before: MeanCell | None, after: MeanCell) -> list[object]:
    start = (before.mean, before.sd) if before else (math.nan, math.nan)
    head = [row.key, column.metric, column.structure, table.unit, after.units, *start, after.mean, after.sd]
    change = {} if after.change is None else comparison_line(after.change)
    return [
        *head,
        after.best,
        after.stars,
        *(change.get(name, "" if name == "reason" else math.nan) for name in _CHANGE),
    ]

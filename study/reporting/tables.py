"""Tables of a study: per-slice rows -> patient means -> mean (SD) over patients, best values and paired tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from jointnet.aggregation import ENDPOINTS
from jointnet.structures import STRUCTURES
from study.reporting.rows import per_patient
from study.reporting.statistics import PairedTest, mean_sd, paired_test

BEFORE = "before"


@dataclass(frozen=True)
class Column:
    """One measured quantity: a metric of one structure, in mm or (Dice) without unit."""

    metric: str
    structure: str
    title: str
    unit: str = "mm"
    lower_is_better: bool = True

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


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
    values_of = {arm: per_patient(rows) if unit == "patients" else rows for arm, rows in rows_of.items()}
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

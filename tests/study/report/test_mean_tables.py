"""Tables and their marks, from rows with known means."""

import math

import pytest
from known_rows import UNEVEN, rows_of, table_of

from study.report import mean_tables, tables

COLUMN = mean_tables.REGISTRATION[0]


def test_patients_count_alike_and_pooled_slices_do_not() -> None:
    rows = {"joint-25": rows_of(UNEVEN)}
    by_patient = table_of(rows, [COLUMN], {"joint-25": "Joint"})
    pooled = mean_tables.mean_table("t", "T", rows, {"joint-25": "Joint"}, [COLUMN], unit="slices")
    cell, slice_cell = by_patient.rows[1].cells[0], pooled.rows[1].cells[0]
    assert cell is not None and slice_cell is not None
    assert (cell.mean, cell.units) == (2.0, 2)  # (1 + 3) / 2
    assert cell.sd == pytest.approx(math.sqrt(2))
    assert (slice_cell.mean, slice_cell.units, slice_cell.change) == (2.5, 4, None)


def test_best_is_lowest_in_mm_and_highest_in_dice() -> None:
    worse, better = rows_of({1: [(3.0, 2.5)], 2: [(3.0, 2.6)]}), rows_of({1: [(3.0, 1.0)], 2: [(3.0, 1.5)]})
    table = table_of({"a": worse, "b": better}, [COLUMN], {"a": "A", "b": "B"})
    assert [row.cells[0].best for row in table.rows if row.cells[0]] == [False, False, True]
    dice = {"a": rows_of({1: [(0.5, 0.9)]}, "dice"), "b": rows_of({1: [(0.5, 0.4)]}, "dice")}
    table = table_of(dice, [mean_tables.OVERLAP[0]], {"a": "A", "b": "B"})
    assert [row.cells[0].best for row in table.rows if row.cells[0]] == [False, True, False]


def test_doing_nothing_can_be_best_and_a_significant_harm_says_so() -> None:
    harm = rows_of({patient: [(1.0, 2.0 + 0.01 * patient)] for patient in range(5)})
    table = table_of({"a": harm}, [COLUMN], {"a": "A"})
    before, after = (row.cells[0] for row in table.rows)
    assert before is not None and after is not None
    assert before.best and not after.best
    assert after.stars == "**!"
    assert "2.02 (0.02)**!" in tables.terminal(mean_tables.text_table(table), 80)
    assert r"2.02 (0.02)\*\*!" in tables.markdown(mean_tables.text_table(table))


def test_one_patient_is_shown_without_spread_or_test() -> None:
    rows = {"a": rows_of({7: [(3.0, 1.0), (3.0, 2.0)]})}
    table = table_of(rows, [COLUMN], {"a": "A"})
    cell = table.rows[1].cells[0]
    assert cell is not None and cell.change is not None
    assert cell.text == "1.50 (n/a)"
    line = mean_tables.csv_frame([table]).iloc[0]
    assert "one patient" in line["reason"] and math.isnan(line["p"])

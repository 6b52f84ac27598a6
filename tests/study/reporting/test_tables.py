"""Tables from rows whose means are known, their marks, their formats and the checks before them."""

import math

import pandas as pd
import pytest

from jointnet.faults import InputFaultError
from study import tables

COLUMN = tables.REGISTRATION[0]


def rows_of(values: dict[int, list[tuple[float, float]]], metric: str = "cd_mm", structure: str = "lv") -> pd.DataFrame:
    """Give rows from `(before, after)` of each patient's slices."""
    lines = [
        (patient, index, structure, metric, before, after, False)
        for patient, slices in values.items()
        for index, (before, after) in enumerate(slices)
    ]
    return pd.DataFrame(lines, columns=tables.ROW_COLUMNS)


UNEVEN = {1: [(4.0, 1.0)], 2: [(2.0, 2.0), (4.0, 3.0), (6.0, 4.0)]}


def test_patients_count_alike_and_pooled_slices_do_not() -> None:
    rows = {"joint-25": rows_of(UNEVEN)}
    by_patient = tables.comparison(rows, {"joint-25": "Joint"}, [COLUMN], "T")
    pooled = tables.comparison(rows, {"joint-25": "Joint"}, [COLUMN], "T", "slices")
    cell, slice_cell = by_patient.rows[1].cells[0], pooled.rows[1].cells[0]
    assert cell is not None and slice_cell is not None
    assert (cell.mean, cell.units) == (2.0, 2)  # (1 + 3) / 2
    assert cell.sd == pytest.approx(math.sqrt(2))
    assert (slice_cell.mean, slice_cell.units, slice_cell.test) == (2.5, 4, None)


def test_best_is_lowest_in_mm_and_highest_in_dice() -> None:
    worse, better = rows_of({1: [(3.0, 2.5)], 2: [(3.0, 2.6)]}), rows_of({1: [(3.0, 1.0)], 2: [(3.0, 1.5)]})
    table = tables.comparison({"a": worse, "b": better}, {"a": "A", "b": "B"}, [COLUMN], "T")
    assert [row.cells[0].best for row in table.rows if row.cells[0]] == [False, False, True]
    dice = {"a": rows_of({1: [(0.5, 0.9)]}, "dice"), "b": rows_of({1: [(0.5, 0.4)]}, "dice")}
    table = tables.comparison(dice, {"a": "A", "b": "B"}, [tables.OVERLAP[0]], "T")
    assert [row.cells[0].best for row in table.rows if row.cells[0]] == [False, True, False]


def test_doing_nothing_can_be_best_and_a_significant_harm_says_so() -> None:
    harm = rows_of({patient: [(1.0, 2.0 + 0.01 * patient)] for patient in range(5)})
    table = tables.comparison({"a": harm}, {"a": "A"}, [COLUMN], "T")
    before, after = (row.cells[0] for row in table.rows)
    assert before is not None and after is not None
    assert before.best and not after.best
    assert after.stars == "**!"
    assert "2.02 (0.02)**!" in tables.terminal(table, 80)
    assert r"2.02 (0.02)\*\*!" in tables.markdown(table)


def test_formats() -> None:
    rows = {"a_1": rows_of({patient: [(3.0, 1.0 + 0.1 * patient)] for patient in range(5)})}
    table = tables.comparison(rows, {"a_1": "A_1, 5% & more", "none": "No rows"}, [COLUMN], "Caption.")
    assert tables.markdown(table).splitlines() == [
        "|  | LV CD (mm) |",
        "| --- | ---: |",
        "| Before registration | 3.00 (0.00) |",
        r"| A_1, 5% & more | **1.20 (0.16)**\*\* |",
        "| No rows | - |",
    ]
    latex = tables.latex(table, "p < 0.05")
    assert r"A\_1, 5\% \& more & \textbf{1.20 (0.16)}$^{**}$ \\" in latex
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"p $<$ 0.05"))
    text = tables.terminal(table, 60)
    assert ">1.20 (0.16)**" in text and "\x1b" not in text
    assert "\x1b[1m" in tables.terminal(table, 60, colour=True)


def test_one_patient_is_shown_without_spread_or_test() -> None:
    rows = {"a": rows_of({7: [(3.0, 1.0), (3.0, 2.0)]})}
    table = tables.comparison(rows, {"a": "A"}, [COLUMN], "T")
    cell = table.rows[1].cells[0]
    assert cell is not None and cell.test is not None
    assert cell.text == "1.50 (n/a)"
    line = tables.tidy([table]).iloc[0]
    assert "one patient" in line["reason"] and math.isnan(line["p"])


def test_arms_must_agree_on_before() -> None:
    tables.check_rows({"a": rows_of(UNEVEN), "b": rows_of(UNEVEN).assign(after=9.0)})
    other = rows_of(UNEVEN)
    other.loc[2, "before"] = 4.5
    with pytest.raises(
        InputFaultError, match=r"arms a and b: differ before registration at .*4\.0 against 4\.5"
    ) as caught:
        tables.check_rows({"a": rows_of(UNEVEN), "b": other})
    assert len(caught.value.faults) == 1
    with pytest.raises(InputFaultError, match="not tested on the same rows"):
        tables.check_rows({"a": rows_of(UNEVEN), "b": rows_of({1: [(4.0, 1.0)]})})


def test_rows_that_cannot_be_are_all_refused_together() -> None:
    missing, twice = rows_of(UNEVEN), pd.concat([rows_of(UNEVEN)] * 2)
    missing.loc[0, "after"] = math.nan
    with pytest.raises(InputFaultError) as caught:
        tables.check_rows({"a": missing, "b": twice})
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["arm a", "arm b"]


def test_ratio_is_the_geometric_mean_of_the_five() -> None:
    factors = dict(zip(tables.ENDPOINTS, (0.5, 0.25, 1.0, 2.0, 0.125), strict=True))
    parts = [rows_of({1: [(2.0, 2.0 * f)], 2: [(6.0, 6.0 * f)]}, *endpoint) for endpoint, f in factors.items()]
    assert tables.registration_ratio(pd.concat(parts)) == pytest.approx((0.5 * 0.25 * 2 * 0.125) ** 0.2)
    assert math.isnan(tables.registration_ratio(pd.concat(parts[1:])))


def test_a_lost_structure_counts_once() -> None:
    parts = [rows_of({1: [(2.0, 237.6), (2.0, 1.0)]}, metric, "rv") for metric in ("cd_mm", "asd_mm")]
    rows = pd.concat(parts)
    rows["lost"] = rows["after"] > 100
    assert tables.lost_structures(rows) == 1

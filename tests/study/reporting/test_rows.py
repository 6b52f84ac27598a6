"""What must hold of test rows, and each patient's means."""

import math

import pandas as pd
import pytest
from known_rows import UNEVEN, rows_of

from jointnet.faults import InputFaultError
from study.reporting.rows import check_rows, lost_structures, per_patient


def test_each_patient_counts_its_slices_and_its_lost_ones() -> None:
    rows = rows_of(UNEVEN)
    rows.loc[[1, 3], "lost"] = True
    assert per_patient(rows).to_dict("records") == [
        {"patient": 1, "metric": "cd_mm", "structure": "lv", "before": 4.0, "after": 1.0, "slices": 1, "lost": 0},
        {"patient": 2, "metric": "cd_mm", "structure": "lv", "before": 4.0, "after": 3.0, "slices": 3, "lost": 2},
    ]


def test_arms_must_agree_on_before() -> None:
    check_rows({"a": rows_of(UNEVEN), "b": rows_of(UNEVEN).assign(after=9.0)})
    other = rows_of(UNEVEN)
    other.loc[2, "before"] = 4.5
    with pytest.raises(
        InputFaultError, match=r"arms a and b: differ before registration at .*4\.0 against 4\.5"
    ) as caught:
        check_rows({"a": rows_of(UNEVEN), "b": other})
    assert len(caught.value.faults) == 1
    with pytest.raises(InputFaultError, match="not tested on the same rows"):
        check_rows({"a": rows_of(UNEVEN), "b": rows_of({1: [(4.0, 1.0)]})})


def test_rows_that_cannot_be_are_all_refused_together() -> None:
    missing, twice = rows_of(UNEVEN), pd.concat([rows_of(UNEVEN)] * 2)
    missing.loc[0, "after"] = math.nan
    with pytest.raises(InputFaultError) as caught:
        check_rows({"a": missing, "b": twice})
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["arm a", "arm b"]


def test_a_lost_structure_counts_once() -> None:
    parts = [rows_of({1: [(2.0, 237.6), (2.0, 1.0)]}, metric, "rv") for metric in ("cd_mm", "asd_mm")]
    rows = pd.concat(parts)
    rows["lost"] = rows["after"] > 100
    assert lost_structures(rows) == 1

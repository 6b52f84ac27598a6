"""Validity checks of test rows, and the means of each patient."""

import math
from collections.abc import Callable

import pandas as pd
import pytest
from known_rows import UNEVEN, rows_of

from jointnet.errors import InputError
from study.report.store.slice_rows import PATIENT_COLUMNS, check_rows, lost_structures, over_folds, per_patient


def test_each_patient_counts_its_slices_and_its_lost_ones() -> None:
    rows = rows_of(UNEVEN)
    rows.loc[[1, 3], "lost"] = True
    frame = per_patient(rows, fold=2)
    assert list(frame.columns) == PATIENT_COLUMNS
    assert frame.pop("after_seed_sd").isna().all()  # one model: no spread over seeds
    same = {"fold": 2, "metric": "cd_mm", "structure": "lv"}
    assert frame.to_dict("records") == [
        {"patient": "1", **same, "before": 4.0, "after": 1.0, "slices": 1, "lost": 0},
        {"patient": "2", **same, "before": 4.0, "after": 3.0, "slices": 3, "lost": 2},
    ]


def _seeds(*shifts: float) -> pd.DataFrame:
    """Return the uneven rows once per seed, with the seed's shift added to `after`."""
    rows = rows_of(UNEVEN)
    return pd.concat(
        [rows.assign(seed_index=seed, after=rows["after"] + shift) for seed, shift in enumerate(shifts, start=1)],
        ignore_index=True,
    )


def test_seeds_are_averaged_within_the_patient() -> None:
    rows = _seeds(0.0, 1.0, 5.0)
    rows.loc[rows.index[[0, 4]], "lost"] = True  # patient 1 in seeds 1 and 2
    frame = per_patient(rows).set_index("patient")
    assert frame["after"].to_dict() == {"1": pytest.approx(3.0), "2": pytest.approx(5.0)}
    assert frame["before"].to_dict() == {"1": 4.0, "2": 4.0}
    assert frame["after_seed_sd"].to_list() == pytest.approx([math.sqrt(7.0)] * 2)  # of 0, 1, 5: variance 14 / 2
    assert frame["slices"].to_dict() == {"1": 1, "2": 3}
    assert frame["lost"].to_dict() == {"1": 2, "2": 0}


def test_no_rows_are_no_patients() -> None:
    frame = per_patient(rows_of(UNEVEN).iloc[:0])
    assert list(frame.columns) == PATIENT_COLUMNS
    assert frame.empty
    assert over_folds({}).empty


def test_each_patient_belongs_to_one_fold() -> None:
    first, second = rows_of({1: [(4.0, 1.0)]}), rows_of({2: [(5.0, 2.0)]})
    joined = over_folds({2: second, 1: first})
    assert joined[["patient", "fold", "after"]].to_numpy().tolist() == [["1", 1, 1.0], ["2", 2, 2.0]]
    with pytest.raises(InputError, match="patient 1: must be tested in one fold, got folds 1, 3"):
        over_folds({1: first, 2: second, 3: first})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda rows: rows.drop(index=5), "arm b, seeds 1 and 2: not tested on the same rows, e.g. patient 2, slice 0"),
        (lambda rows: rows.assign(before=rows["before"] + (rows.index == 4)), "arm b, seeds 1 and 2: differ before"),
        (lambda rows: rows.assign(seed_index=1), "metric, structure and seed_index twice"),
        (lambda rows: rows.assign(seed_index=rows["seed_index"].where(rows.index > 0)), "got 1 rows without"),
        (lambda rows: rows.assign(before=rows["before"] + 1), "arms a and b: differ before registration"),
    ],
    ids=["lacks a row", "other before", "twice", "no seed", "other scans"],
)
def test_seeds_must_agree(change: Callable[[pd.DataFrame], pd.DataFrame], error: str) -> None:
    rows = _seeds(0.0, 1.0)
    check_rows({"a": rows_of(UNEVEN), "b": rows, "c": _seeds(0.0, 1.0, 2.0)})
    with pytest.raises(InputError, match=error) as caught:
        check_rows({"a": rows_of(UNEVEN), "b": change(rows)})
    assert len(caught.value.errors) == 1


def test_arms_must_agree_on_before() -> None:
    check_rows({"a": rows_of(UNEVEN), "b": rows_of(UNEVEN).assign(after=9.0)})
    other = rows_of(UNEVEN)
    other.loc[2, "before"] = 4.5
    with pytest.raises(InputError, match=r"arms a and b: differ before registration at .*4\.0 against 4\.5") as caught:
        check_rows({"a": rows_of(UNEVEN), "b": other})
    assert len(caught.value.errors) == 1
    with pytest.raises(InputError, match="not tested on the same rows"):
        check_rows({"a": rows_of(UNEVEN), "b": rows_of({1: [(4.0, 1.0)]})})


def test_rows_that_cannot_be_are_all_refused_together() -> None:
    missing, twice = rows_of(UNEVEN), pd.concat([rows_of(UNEVEN)] * 2)
    missing.loc[0, "after"] = math.nan
    with pytest.raises(InputError) as caught:
        check_rows({"a": missing, "b": twice})
    assert [error.split(":")[0] for error in caught.value.errors] == ["arm a", "arm b"]


def test_a_lost_structure_counts_once() -> None:
    parts = [rows_of({1: [(2.0, 237.6), (2.0, 1.0)]}, metric, "rv") for metric in ("cd_mm", "asd_mm")]
    rows = pd.concat(parts)
    rows["lost"] = rows["after"] > 100
    assert lost_structures(rows) == 1

"""Per-slice rows with known means."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from jointnet.evaluate.aggregation import ENDPOINTS
from study.report.mean_tables import Column, MeanTable, mean_table
from study.report.statistics.comparisons import compare_with_before
from study.report.store.slice_rows import PATIENT_COLUMNS, ROW_COLUMNS, per_patient


def rows_of(values: dict[int, list[tuple[float, float]]], metric: str = "cd_mm", structure: str = "lv") -> pd.DataFrame:
    """Return rows from `(before, after)` of each patient's slices."""
    lines = [
        (str(patient), index, structure, metric, before, after, False)
        for patient, slices in values.items()
        for index, (before, after) in enumerate(slices)
    ]
    return pd.DataFrame(lines, columns=ROW_COLUMNS)


def patients_of(
    after: Sequence[float],
    before: Sequence[float] | None = None,
    endpoints: Sequence[tuple[str, str]] = ENDPOINTS,
    folds: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Return rows of an arm's patients 1, 2, ... with the same values in every endpoint."""
    starts = before if before is not None else [5.0] * len(after)
    places = folds if folds is not None else [1] * len(after)
    lines = [
        (str(patient), fold, metric, structure, start, value, math.nan, 6, 0)
        for metric, structure in endpoints
        for patient, (fold, start, value) in enumerate(zip(places, starts, after, strict=True), start=1)
    ]
    return pd.DataFrame(lines, columns=PATIENT_COLUMNS)


def table_of(rows_of: Mapping[str, pd.DataFrame], columns: Sequence[Column], labels: Mapping[str, str]) -> MeanTable:
    """Return the table of arms from their rows, each compared with before."""
    patients = {arm: per_patient(rows) for arm, rows in rows_of.items()}
    endpoints = [(column.metric, column.structure) for column in columns]
    changes = {arm: compare_with_before(frame, None, endpoints) for arm, frame in patients.items()}
    return mean_table("t", "Caption.", patients, labels, columns, changes)


UNEVEN = {1: [(4.0, 1.0)], 2: [(2.0, 2.0), (4.0, 3.0), (6.0, 4.0)]}
"""Two patients with one and with three slices."""

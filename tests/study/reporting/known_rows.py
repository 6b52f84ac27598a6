"""Per-slice rows whose means are known."""

import pandas as pd

from study.reporting.rows import ROW_COLUMNS


def rows_of(values: dict[int, list[tuple[float, float]]], metric: str = "cd_mm", structure: str = "lv") -> pd.DataFrame:
    """Give rows from `(before, after)` of each patient's slices."""
    lines = [
        (patient, index, structure, metric, before, after, False)
        for patient, slices in values.items()
        for index, (before, after) in enumerate(slices)
    ]
    return pd.DataFrame(lines, columns=ROW_COLUMNS)


UNEVEN = {1: [(4.0, 1.0)], 2: [(2.0, 2.0), (4.0, 3.0), (6.0, 4.0)]}
"""Two patients with one and with three slices."""

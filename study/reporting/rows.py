"""Per-slice test rows as the store holds them: what must hold between arms, and each patient's means."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from jointnet.aggregation import named_metrics, patient_means
from jointnet.faults import InputFaultError

ROW_COLUMNS = ["patient", "slice", "structure", "metric", "before", "after", "lost"]
KEY = ["patient", "slice", "metric", "structure"]


def per_patient(rows: pd.DataFrame) -> pd.DataFrame:
    """Average rows over each patient's slices: `patient,metric,structure,before,after,slices,lost`."""
    groups = rows.groupby(["patient", "metric", "structure"])
    return patient_means(rows).join(groups.agg(slices=("slice", "size"), lost=("lost", "sum"))).reset_index()


def over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average test rows over the models of all seeds; a structure counts as lost where any of them lost it."""
    if "seed_index" not in rows:
        return rows
    groups = rows.groupby(KEY, sort=False, as_index=False)
    return groups.agg({"before": "mean", "after": "mean", "lost": "any"})[ROW_COLUMNS]


def lost_structures(rows: pd.DataFrame) -> int:
    """Count the structures of slices that registration moved out of view."""
    return int(named_metrics(rows, "test")["test/lost"])


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

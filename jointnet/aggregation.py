"""From rows of errors to figures: slice -> patient -> mean (SD) over patients, and the objective.

It needs pandas only, so that a report can use it without torch.
"""

import math

import numpy as np
import pandas as pd

ENDPOINTS: tuple[tuple[str, str], ...] = (
    ("cd_mm", "lv"),
    ("asd_mm", "lv"),
    ("asd_mm", "myo"),
    ("cd_mm", "rv"),
    ("asd_mm", "rv"),
)
"""The five registration metrics, in the order of the paper's Table 1."""


def patient_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Give `before` and `after` averaged over each patient's slices, indexed by patient, metric, structure."""
    return rows.groupby(["patient", "metric", "structure"])[["before", "after"]].mean()


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Give mean and sample SD over patients, each patient the mean of its slices, indexed by metric and structure.

    Columns: `before_mean before_sd after_mean after_sd patients`.
    """
    grouped = patient_means(rows).groupby(["metric", "structure"])
    columns = {}
    for when in ("before", "after"):
        columns[f"{when}_mean"] = grouped[when].mean()
        columns[f"{when}_sd"] = grouped[when].std()
    return pd.DataFrame({**columns, "patients": grouped.size()})


def registration_ratio(rows: pd.DataFrame) -> float:
    """Geometric mean over the five registration metrics of after / before, each a mean over patients.

    1 is no better than doing nothing. NaN where no slice holds one of the five on both sides, or where the scans
    already agree exactly.
    """
    return _ratio(_structure_means(rows))


def named_metrics(rows: pd.DataFrame, prefix: str) -> dict[str, float]:
    """Return the values after registration, means over patients, as `prefix/metric/structure`, and `prefix/lost`.

    The last is the number of structures that were lost, each once for every slice and every model in which it was.
    """
    means = _structure_means(rows)
    after = means["after"]
    values = {f"{prefix}/{'/'.join(map(str, key))}": float(after[key]) for key in means.index}
    lost = rows.loc[rows["metric"] == "asd_mm", "lost"].sum()  # of every structure there is one such row
    return {f"{prefix}/registration_ratio": _ratio(means), **values, f"{prefix}/lost": float(lost)}


def _structure_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Give `before` and `after` averaged over patients, each the mean of its slices, indexed by metric, structure."""
    return patient_means(rows).groupby(["metric", "structure"]).mean()


def _ratio(means: pd.DataFrame) -> float:
    """Give the `registration_ratio` of what `_structure_means` gives."""
    if any(endpoint not in means.index for endpoint in ENDPOINTS):
        return math.nan
    chosen = means.loc[list(ENDPOINTS)]
    before, after = chosen["before"].to_numpy(), chosen["after"].to_numpy()
    if (before <= 0).any():
        return math.nan
    return float(np.exp(np.log(np.maximum(after, 1e-12) / before).mean()))

"""Aggregation of the evaluation rows: slice -> patient -> mean (SD) over patients, and the objective.

It does not import torch, so that reports can use it without torch.
"""

import math
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from jointnet.patient_names import in_natural_order
from jointnet.structures import STRUCTURE_TITLES

ENDPOINTS: tuple[tuple[str, str], ...] = (
    ("cd_mm", "lv"),
    ("asd_mm", "lv"),
    ("asd_mm", "myo"),
    ("cd_mm", "rv"),
    ("asd_mm", "rv"),
)
"""The five registration metrics, in the order of the paper's Table 1."""

Endpoint = tuple[str, str]
"""A metric and a structure, such as `("cd_mm", "lv")`."""

METRIC_TITLES: dict[str, str] = {
    "cd_mm": "CD",
    "asd_mm": "ASD",
    "dice": "overlap",
    "dice_cine": "cine Dice",
    "dice_lge": "LGE Dice",
}
"""Names of the metrics in tables and figures. A metric whose name ends in `_mm` is a distance: lower is better."""


def endpoints_of(structures: Collection[str]) -> tuple[Endpoint, ...]:
    """Return the registration metrics of some structures, in the order of `ENDPOINTS`."""
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint[1] in structures)


def measured_endpoints(rows: pd.DataFrame) -> tuple[Endpoint, ...]:
    """Return the registration metrics of which the rows have values, in the order of `ENDPOINTS`."""
    there = set(zip(rows["metric"], rows["structure"], strict=True))
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint in there)


def ratio_text(endpoints: Iterable[Endpoint]) -> str:
    """Return a text that names the metrics of the registration ratio, a geometric mean."""
    names = [f"{STRUCTURE_TITLES[structure]} {METRIC_TITLES[metric]}" for metric, structure in endpoints]
    return f"geometric mean over {', '.join(names)}"


def patient_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `before` and `after` averaged over each patient's slices, indexed by patient, metric, structure.

    The patients are in natural order.
    """
    return in_patient_order(rows.groupby(["patient", "metric", "structure"])[["before", "after"]].mean())


def in_patient_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the level `patient` of its index in natural order. The rows of a patient keep their order.

    The names may be numbers, as pandas reads them from a file.
    """
    names = [str(name) for name in table.index.get_level_values("patient")]
    places = {name: place for place, name in enumerate(in_natural_order(names))}
    return table.iloc[np.argsort([places[name] for name in names], kind="stable")]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and sample SD over patients, indexed by metric and structure.

    Each patient's value is the mean of its slices. Columns: `before_mean before_sd after_mean after_sd patients`.
    """
    grouped = patient_means(rows).groupby(["metric", "structure"])
    columns = {}
    for when in ("before", "after"):
        columns[f"{when}_mean"] = grouped[when].mean()
        columns[f"{when}_sd"] = grouped[when].std()
    return pd.DataFrame({**columns, "patients": grouped.size()})


def registration_ratio(rows: pd.DataFrame) -> float:
    """Return the geometric mean, over the registration metrics, of after / before, each a mean over patients.

    It is over the metrics of `measured_endpoints`: structures that were not drawn have no rows. A value of 1 means no
    improvement over the unregistered scans. The ratio is NaN if nothing could be measured, or if the scans agree
    exactly before registration.
    """
    return _ratio(_structure_means(rows))


def named_metrics(rows: pd.DataFrame, prefix: str) -> dict[str, float]:
    """Return `prefix/registration_ratio`, `prefix/metric/structure` and `prefix/lost`.

    The metrics are the values after registration, as means over patients. `prefix/lost` is the number of lost
    structures, counted once per slice and model.
    """
    means = _structure_means(rows)
    after = means["after"]
    values = {f"{prefix}/{'/'.join(map(str, key))}": float(after[key]) for key in means.index}
    lost = rows.loc[rows["metric"] == "asd_mm", "lost"].sum()  # each structure of a slice has one such row
    return {f"{prefix}/registration_ratio": _ratio(means), **values, f"{prefix}/lost": float(lost)}


def _structure_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `before` and `after` as means over patients of slice means, indexed by metric and structure."""
    return patient_means(rows).groupby(["metric", "structure"]).mean()


def _ratio(means: pd.DataFrame) -> float:
    """Return the `registration_ratio` of the table that `_structure_means` returns."""
    endpoints = [endpoint for endpoint in ENDPOINTS if endpoint in means.index]
    if not endpoints:
        return math.nan
    chosen = means.loc[endpoints]
    before, after = chosen["before"].to_numpy(), chosen["after"].to_numpy()
    if (before <= 0).any():
        return math.nan
    return float(np.exp(np.log(np.maximum(after, 1e-12) / before).mean()))

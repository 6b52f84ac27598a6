"""Medians and quartiles over patients, beside the means of Table 1: a few patients can dominate a mean."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd

from study.report.mean_tables import BEFORE, Column, widest
from study.report.store.slice_rows import of_metric
from study.report.tables import Cell, Row, Table, number, with_patients

COLUMNS = ["arm", "metric", "structure", "n", "mean", "lower_quartile", "median", "upper_quartile"]
_NOTE = "Median [lower quartile, upper quartile] over patients, in mm."


def quartiles(values_of: Mapping[str, pd.DataFrame], columns: Sequence[Column]) -> pd.DataFrame:
    """Compute mean, median and quartiles over patients before registration and of each baseline and arm.

    Args:
        values_of: by baseline and arm, the patients returned by `study.report.store.slice_rows.over_folds`.
        columns: the metrics.

    Returns:
        A frame with the columns `COLUMNS`, where `arm` is `before` for the values before registration. Quartiles are
        interpolated linearly.
    """
    shared, lines = widest(values_of), list[tuple[object, ...]]()
    sides = [] if shared is None else [(BEFORE, shared, "before")]
    for name, frame, side in [*sides, *((name, frame, "after") for name, frame in values_of.items())]:
        for column in columns:
            own = of_metric(frame, column.metric, column.structure)[side].dropna()
            if len(own):
                bounds = np.quantile(own.to_numpy(dtype=float), [0.25, 0.5, 0.75]).tolist()
                lines.append((name, column.metric, column.structure, len(own), float(own.mean()), *bounds))
    return pd.DataFrame(lines, columns=COLUMNS)


def median_table(frame: pd.DataFrame, titles: Mapping[str, str], columns: Sequence[Column]) -> Table:
    """Return the table of `quartiles`, with a note about the means that few patients dominate."""
    texts = {(one["arm"], one["metric"], one["structure"]): _text(one) for one in frame.to_dict("records")}
    rows = [
        Row(
            titles.get(name, "Before registration"),
            tuple(Cell(texts.get((name, column.metric, column.structure), ""), source=name) for column in columns),
            (name,),
            BEFORE if name == BEFORE else "",
        )
        for name in dict.fromkeys(frame["arm"])
    ]
    note = " ".join([_NOTE, *dominated(frame, columns)])
    counts = [of_metric(frame, column.metric, column.structure)["n"].tolist() for column in columns]
    header = with_patients([column.heading for column in columns], counts)
    return Table("medians", "Medians of the registration error on the test patients.", header, tuple(rows), "", note)


def dominated(frame: pd.DataFrame, columns: Sequence[Column]) -> list[str]:
    """Return a sentence for each metric with a mean above its upper quartile, which few patients dominate."""
    above = frame[frame["mean"] > frame["upper_quartile"]]
    lines = []
    for column in columns:
        own = of_metric(above, column.metric, column.structure)["arm"]
        if len(own):
            names = ", ".join(own)
            lines.append(f"{column.title}: a few patients dominate the mean of {names}, which exceeds the quartile.")
    return lines


def _text(one: Mapping[Hashable, float]) -> str:
    return f"{number(one['median'])} [{number(one['lower_quartile'])}, {number(one['upper_quartile'])}]"

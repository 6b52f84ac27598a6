"""Error of each model against the number of training patients: curve, table and CSV file."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from jointnet.models import MODELS
from study.report.analysis import Analysis
from study.report.figures import LIGHT, Picture, Theme, dress
from study.report.mean_tables import BEFORE, REGISTRATION, Column
from study.report.page import Details, Pictures, Section
from study.report.records import ArmRecord, StudyRecord
from study.report.statistics.paired import CONFIDENCE, mean_sd
from study.report.tables import Table, interval, text_row

COLUMNS = ["metric", "structure", "model", "arm", "train", "n", "mean", "low", "high"]
_MARKERS = {"standalone": "s", "joint": "o"}
_NAMES = {name: model.short_title for name, model in MODELS.items()}
_NOTE = (
    "Mean over the test patients with its 95 % t interval; dashed: before registration. To compare two arms, use "
    "their paired difference, not these intervals."
)
_ALT = (
    "Mean error of each metric against the number of training patients, a line per model with intervals, and the "
    "error before registration as a dashed line; the numbers are in the table below."
)


def annotations(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the curve of error against training patients and its numbers."""
    means = mean_errors(analysis.patients, analysis.arms, REGISTRATION)
    title = "Error against the number of annotated patients"
    picture = Picture("efficiency", title, _ALT, _NOTE, lambda theme: draw_curve(means, REGISTRATION, theme))
    numbers = Details("Values of the curve", (efficiency_table(means),))
    blocks = () if means.empty else (Pictures((picture,), layout="wide", label=title), numbers)
    return Section("annotations", "Annotation efficiency", blocks, {"efficiency": means})


def mean_errors(
    patients: Mapping[str, pd.DataFrame], arms: Mapping[str, Sequence[ArmRecord]], columns: Sequence[Column]
) -> pd.DataFrame:
    """Compute the mean error over patients before registration and of each arm, with 95 % t intervals.

    Args:
        patients: each arm's patients over folds and seeds.
        arms: the arms' records.
        columns: the metrics.

    Returns:
        A frame with the columns `COLUMNS`. The rows before registration have `before` as model and arm, and 0 training
        patients. With one patient the interval is NaN. Each interval is that of one arm's mean; use the paired
        difference to compare two arms.
    """
    lines: list[tuple[object, ...]] = []
    for column in columns:
        shared = next(iter(patients.values()), None)
        if shared is not None:
            lines.append((column.metric, column.structure, BEFORE, BEFORE, 0, *_mean(shared, column, "before")))
        for arm, frame in patients.items():
            record = arms[arm][0]
            lines.append(
                (column.metric, column.structure, record.model, arm, record.train, *_mean(frame, column, "after"))
            )
    return pd.DataFrame(lines, columns=COLUMNS)


def efficiency_table(table: pd.DataFrame) -> Table:
    """Return the table of the annotation-efficiency curve."""
    header = tuple(column.heading for column in REGISTRATION)
    rows = []
    for arm, own in table.groupby("arm", sort=False):
        by = {(one["metric"], one["structure"]): one for one in own.to_dict("records")}
        means = [by[column.metric, column.structure] for column in REGISTRATION]
        words = [interval(one["mean"], one["low"], one["high"]) for one in means]
        name = "before" if arm == "before" else f"{own['model'].iloc[0]}, {own['train'].iloc[0]} patients"
        rows.append(text_row([name, *words], str(arm)))
    caption = "Mean error against the number of training patients, with 95 % t intervals of the mean."
    return Table("efficiency", caption, header, tuple(rows), "Model")


def draw_curve(table: pd.DataFrame, columns: Sequence[Column], theme: Theme = LIGHT) -> Figure:
    """Draw error against the number of training patients, one panel per metric and one line per model."""
    figure = Figure(figsize=(2.5 * len(columns), 2.9), layout="constrained", facecolor="none")
    for place, column in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), place + 1)
        own = table[(table["metric"] == column.metric) & (table["structure"] == column.structure)]
        models = [model for model in dict.fromkeys(own["model"]) if model != BEFORE]
        counts = sorted(set(own.loc[own["model"] != BEFORE, "train"]))
        room = 0.35 * max(min(np.diff(counts), default=10), 1)
        for before in own.loc[own["model"] == BEFORE, ["mean", "low", "high"]].to_numpy(dtype=float):
            axes.axhline(before[0], color=theme.before, linewidth=1.4, linestyle=(0, (4, 3)), label="Before")
            if np.isfinite(before[1]):
                axes.axhspan(before[1], before[2], color=theme.before, alpha=0.12, linewidth=0)
        for number, model in enumerate(models):
            line = own[own["model"] == model].sort_values("train")
            at = line["train"].to_numpy(dtype=float) + (number - (len(models) - 1) / 2) * room / 4
            reach = np.vstack([line["mean"] - line["low"], line["high"] - line["mean"]])
            axes.errorbar(
                at, line["mean"], yerr=np.nan_to_num(reach), color=theme.of_model(model), capsize=3, linewidth=1.5,
                marker=_MARKERS.get(model, "D"), markersize=5.5, label=_NAMES.get(model, model),
            )  # fmt: skip
        dress(axes, theme)
        axes.set_title(column.heading, fontsize=10, color=theme.ink, loc="left")
        axes.set_xticks(counts)
        axes.set_xlim(min(counts, default=0) - 1.5 * room, max(counts, default=1) + 1.5 * room)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Training patients", fontsize=9, color=theme.ink)
    if figure.axes:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(labels), fontsize=8, frameon=False,
            labelcolor=theme.ink, borderpad=0.1,
        )  # fmt: skip
    return figure


def _mean(frame: pd.DataFrame, column: Column, side: str) -> tuple[int, float, float, float]:
    """Return the number of patients, their mean, and the bounds of its 95 % t interval."""
    chosen = frame[(frame["metric"] == column.metric) & (frame["structure"] == column.structure)][side].dropna()
    values = chosen.to_numpy(dtype=float)
    mean, sd = mean_sd(values)
    count = len(values)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / count**0.5 if count > 1 else float("nan")
    return count, mean, mean - reach, mean + reach

"""Error of each method against the number of annotated patients: curve, table and CSV file."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from study.report.analysis import Analysis, method_title
from study.report.figures import LIGHT, MARKERS, Picture, Theme, dress
from study.report.mean_tables import BEFORE, Column, widest
from study.report.page import Details, Pictures, Section
from study.report.statistics.paired import CONFIDENCE, mean_sd
from study.report.store.records import ArmRecord, StudyRecord
from study.report.store.slice_rows import of_metric
from study.report.tables import Table, interval, text_row, with_patients
from study.store_names import BASELINES, DESCRIPTORS, SIMPLEITK

COLUMNS = [
    *("metric", "structure", "method", "model", "arm", "train", "validation", "annotated"),
    *("n", "mean", "low", "high"),
]
_NOTE = (
    "Mean over the test patients with its 95 % t interval. Dashed: before registration; dotted: descriptors, without "
    "annotation. Annotated are training + validation patients; below each number stand the splits that need it, from "
    "left to right as their points. To compare two arms, use their paired difference, not these intervals."
)
_ALT = (
    "Mean error of each metric against the number of annotated patients, a line per method with intervals, and the "
    "error before registration as a dashed line; the numbers are in the table below."
)
_SPREAD = 0.3
"""Width over which splits with the same number of annotated patients are spread, as a share of the smallest gap."""
_BASELINE_MARKERS = {DESCRIPTORS: "*", SIMPLEITK: "p"}


def annotations(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the curve of error against annotated patients and its numbers."""
    means = mean_errors(analysis.patients, analysis.arms, analysis.columns)
    title = "Error against the number of annotated patients"
    firsts = [records[0] for records in analysis.arms.values()]
    picture = Picture(
        "efficiency", title, _ALT, _NOTE, lambda theme: draw_curve(means, firsts, analysis.columns, theme)
    )
    numbers = Details("Values of the curve", (efficiency_table(means, analysis.titles, analysis.columns),))
    blocks = () if means.empty else (Pictures((picture,), layout="wide", label=title), numbers)
    return Section("annotations", "Annotation efficiency", blocks, {"efficiency": means})


def mean_errors(
    patients: Mapping[str, pd.DataFrame], arms: Mapping[str, Sequence[ArmRecord]], columns: Sequence[Column]
) -> pd.DataFrame:
    """Compute the mean error over patients before registration and of each baseline and arm, with 95 % t intervals.

    Args:
        patients: the patients of each baseline and arm over folds and seeds.
        arms: the arms' records.
        columns: the metrics.

    Returns:
        A frame with the columns `COLUMNS`. The rows before registration have `before` as method, model and arm, those
        of a baseline its name, and both 0 annotated patients. With one patient the interval is NaN. Each interval is
        that of one arm's mean; use the paired difference to compare two arms.
    """
    lines: list[tuple[object, ...]] = []
    for column in columns:
        endpoint, shared = (column.metric, column.structure), widest(patients)
        if shared is not None:
            lines.append((*endpoint, *_without_annotation(BEFORE), *_mean(shared, column, "before")))
        for name, frame in patients.items():
            first = arms[name][0] if name in arms else None
            counts = (first.learned, first.validation, first.annotated) if first else ()
            head = (first.method, first.model, name, *counts) if first else _without_annotation(name)
            lines.append((*endpoint, *head, *_mean(frame, column, "after")))
    return pd.DataFrame(lines, columns=COLUMNS)


def _without_annotation(name: str) -> tuple[object, ...]:
    return name, name, name, 0, 0, 0


def efficiency_table(table: pd.DataFrame, titles: Mapping[str, str], columns: Sequence[Column]) -> Table:
    """Return the table of the annotation-efficiency curve."""
    rows = []
    for arm, own in table.groupby("arm", sort=False):
        by = {(one["metric"], one["structure"]): one for one in own.to_dict("records")}
        means = [by[column.metric, column.structure] for column in columns]
        words = [interval(one["mean"], one["low"], one["high"]) for one in means]
        rows.append(text_row([titles.get(str(arm), "Before registration"), *words], str(arm)))
    caption = "Mean error against the number of annotated patients, with 95 % t intervals of the mean."
    return Table("efficiency", caption, _headings(table, columns), tuple(rows), "Row")


def _headings(table: pd.DataFrame, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the headings of the columns, with the number of patients where they differ in it."""
    counts = [of_metric(table, column.metric, column.structure)["n"].tolist() for column in columns]
    return with_patients([column.heading for column in columns], counts)


def draw_curve(
    table: pd.DataFrame, arms: Sequence[ArmRecord], columns: Sequence[Column], theme: Theme = LIGHT
) -> Figure:
    """Draw error against the number of annotated patients, one panel per metric and one line per method.

    Args:
        table: the values, as returned by `mean_errors`.
        arms: one record of each arm.
        columns: the metrics.
        theme: the colours.
    """
    places, ticks, gap = _places(table)
    method_of = {arm.method: arm for arm in arms}
    tested = [method for method in method_of if method in set(table["method"])]
    figure = Figure(figsize=(2.5 * len(columns), 3.1), layout="constrained", facecolor="none")
    for number, (column, heading) in enumerate(zip(columns, _headings(table, columns), strict=True)):
        axes = figure.add_subplot(1, len(columns), number + 1)
        own = of_metric(table, column.metric, column.structure)
        _draw_levels(axes, own, theme)
        for step, method in enumerate(tested):
            line = own[own["method"] == method].sort_values(["annotated", "train"])
            shift = (step - (len(tested) - 1) / 2) * _SPREAD * gap / (4 * max(len(tested), 1))
            look = method_of[method].look
            axes.errorbar(
                [places[one] + shift for one in zip(line["annotated"], line["train"], strict=True)], line["mean"],
                yerr=_reach(line), color=theme.of_look(look), capsize=3, linewidth=1.5,
                marker=MARKERS[look % len(MARKERS)], markersize=5.5, label=method_title(method_of[method]),
            )  # fmt: skip
        dress(axes, theme)
        axes.set_title(heading, fontsize=10, color=theme.ink, loc="left")
        axes.set_xticks(list(ticks), list(ticks.values()), fontsize=7.5)
        axes.set_xlim(-0.5 * gap, max(ticks) + 0.5 * gap)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Annotated patients", fontsize=9, color=theme.ink)
    if figure.axes:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(labels), fontsize=8, frameon=False,
            labelcolor=theme.ink, borderpad=0.1,
        )  # fmt: skip
    return figure


def _draw_levels(axes: Axes, own: pd.DataFrame, theme: Theme) -> None:
    """Draw the values without annotation: the line before registration, and the baselines at 0."""
    for one in own[own["method"] == BEFORE].to_dict("records"):
        axes.axhline(one["mean"], color=theme.before, linewidth=1.4, linestyle=(0, (4, 3)), label="Before")
        if np.isfinite(one["low"]):
            axes.axhspan(one["low"], one["high"], color=theme.before, alpha=0.12, linewidth=0)
    for name in (name for name in BASELINES if name in set(own["method"])):
        line, colour = own[own["method"] == name], theme.of_baseline(name)
        axes.errorbar(
            line["annotated"], line["mean"], yerr=_reach(line), color=colour, capsize=3, linestyle="",
            marker=_BASELINE_MARKERS[name], markersize=8 if name == DESCRIPTORS else 5.5,
            label=BASELINES[name].partition(",")[0],
        )  # fmt: skip
        if name == DESCRIPTORS:
            axes.axhline(line["mean"].iloc[0], color=colour, linewidth=1, linestyle=(0, (1, 2)))


def _places(table: pd.DataFrame) -> tuple[dict[tuple[int, int], float], dict[int, str], float]:
    """Return the places of the arms on the axis.

    Returns:
        The place by annotated and training patients, the labels of the axis by annotated patients, and the smallest
        gap between these.
    """
    arms = table[table["annotated"] > 0]
    splits = sorted({(int(a), int(t), int(v)) for a, t, v in arms[["annotated", "train", "validation"]].to_numpy()})
    counts = sorted({0, *(annotated for annotated, *_ in splits)})
    gap = float(min(np.diff(counts), default=10))
    places, ticks = dict[tuple[int, int], float](), {0: "0"}
    for count in counts[1:]:
        own = [split for split in splits if split[0] == count]
        for place, (annotated, train, _) in enumerate(own):
            offset = (place - (len(own) - 1) / 2) * _SPREAD * gap / max(len(own) - 1, 1)
            places[annotated, train] = count + offset
        ticks[count] = "\n".join([str(count), *(f"{train}+{validation}" for _, train, validation in own)])
    return places, ticks, gap


def _reach(line: pd.DataFrame) -> np.ndarray:
    """Return the distances (2, n) from the means to the bounds of their intervals; 0 where there is none."""
    return np.nan_to_num(np.vstack([line["mean"] - line["low"], line["high"] - line["mean"]]))


def _mean(frame: pd.DataFrame, column: Column, side: str) -> tuple[int, float, float, float]:
    """Return the number of patients, their mean, and the bounds of its 95 % t interval."""
    values = of_metric(frame, column.metric, column.structure)[side].dropna().to_numpy(dtype=float)
    mean, sd = mean_sd(values)
    count = len(values)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / count**0.5 if count > 1 else float("nan")
    return count, mean, mean - reach, mean + reach

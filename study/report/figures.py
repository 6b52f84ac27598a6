"""Figures of a study: box plots with every patient, and the objective of every trial."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.report.mean_tables import Column
from study.report.records import ArmRecord
from study.store_names import TIME_BUDGET


@dataclass(frozen=True)
class Theme:
    """The colours of a figure.

    Attributes:
        ink: of text and axes.
        faint: of grid lines.
        paper: of the background.
        before: of values before registration.
        standalone, joint, other: of the models.
    """

    ink: str
    faint: str
    paper: str
    before: str
    standalone: str
    joint: str
    other: str

    def of_model(self, model: str) -> str:
        """Return the colour of a model."""
        return {"standalone": self.standalone, "joint": self.joint}.get(model, self.other)


LIGHT = Theme("#1f2933", "#d5dbe1", "#ffffff", "#7b8794", "#2f6fb2", "#c8591a", "#6b4fa0")
DARK = Theme("#e4e9ee", "#3a444e", "#171c21", "#9aa5b1", "#6cabea", "#f2935c", "#b39ae0")
SHORT = {"standalone": "Stand-\nalone", "joint": "Joint"}


def boxplots(
    patients: Mapping[str, pd.DataFrame],
    arms: Sequence[ArmRecord],
    columns: Sequence[Column],
    theme: Theme = LIGHT,
) -> Figure:
    """Draw box plots of the values before registration and of each arm, one panel per metric.

    Every patient is a dot in each box, and a thin line joins the dots of a patient.

    Args:
        patients: per-patient means by arm, as returned by `study.report.slice_rows.over_folds`.
        arms: the arms in the order of the boxes; those without patients are left out.
        columns: the metrics, one panel each.
        theme: the colours.
    """
    tested = [arm for arm in arms if arm.arm in patients]
    panel = max(0.75 + 0.62 * (1 + len(tested)), 3.85 if len(columns) == 1 else 2.0)
    figure = Figure(figsize=(panel * len(columns), 3.4), layout="constrained", facecolor="none")
    for place, column in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), place + 1)
        _boxes(axes, patients, tested, column, theme)
        dress(axes, theme)
        axes.set_title(column.heading, fontsize=10, color=theme.ink, loc="left")
    return figure


def trials(
    arms: Sequence[ArmRecord], title: str, theme: Theme = LIGHT, scale_of: Sequence[ArmRecord] | None = None
) -> Figure:
    """Draw the objective of every trial in the order of their start, and the best so far, one panel per arm.

    Args:
        arms: the arms, one panel each.
        title: the name of the objective.
        theme: the colours.
        scale_of: the arms whose trials set the range of the vertical axis, so that several figures share one scale;
            `arms` where None.
    """
    figure = Figure(figsize=(0.75 + 3.1 * len(arms), 3.4), layout="constrained", facecolor="none")
    first: Axes | None = None
    for place, arm in enumerate(arms):
        axes = figure.add_subplot(1, len(arms), place + 1, sharey=first)
        first = first or axes
        _trial_dots(axes, arm, theme)
        dress(axes, theme)
        axes.set_title(arm.arm, fontsize=10, color=theme.ink, loc="left")
        axes.set_xlabel("Trial", fontsize=9, color=theme.ink)
        if place == 0:
            axes.set_ylabel(title, fontsize=9, color=theme.ink)
    values = [trial.objective for arm in scale_of or arms for trial in arm.trials if trial.objective > 0]
    if first is not None and values:
        low, high = min(*values, 1), max(*values, 1)
        if high > 4 * low:
            first.set_yscale("log")
            first.set_ylim(low / 1.2, high * 1.2)
        else:
            first.set_ylim(low - 0.08 * (high - low) - 0.01, high + 0.08 * (high - low) + 0.01)
    return figure


def as_bytes(figure: Figure, kind: str, dpi: int = 150) -> bytes:
    """Return the figure as an `svg` or `png` file. The bytes are reproducible."""
    stream = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "jointnet"}):
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata, facecolor=figure.get_facecolor())
    return stream.getvalue()


def with_paper(figure: Figure, theme: Theme = LIGHT) -> Figure:
    """Set an opaque background, so that the file is readable on any colour, and return the figure."""
    figure.set_facecolor(theme.paper)
    return figure


def _boxes(
    axes: Axes, patients: Mapping[str, pd.DataFrame], tested: Sequence[ArmRecord], column: Column, theme: Theme
) -> None:
    """Draw one metric: the box before registration, one box per arm, and one line per patient through its dots."""
    series: list[pd.Series] = []
    for arm in tested:
        means = patients[arm.arm]
        chosen = means[(means["metric"] == column.metric) & (means["structure"] == column.structure)]
        own = chosen.set_index("patient").sort_index()
        if not series:
            series.append(own["before"])
        series.append(own["after"])
    if not series or series[0].empty:
        return
    values = [one.to_numpy(dtype=float) for one in series]
    colours = [theme.before, *(theme.of_model(arm.model) for arm in tested)]
    names = ["Before", *(f"{SHORT.get(arm.model, arm.model)}\n{arm.train}" for arm in tested)]
    places = np.arange(len(values))
    box = axes.boxplot(values, positions=places, widths=0.56, showfliers=False, patch_artist=True)
    for patch, colour in zip(box["boxes"], colours, strict=True):
        patch.set(facecolor=_faded(colour), edgecolor=colour, linewidth=1.2)
    for part, repeat in (("medians", 1), ("whiskers", 2), ("caps", 2)):
        for line, colour in zip(box[part], [colour for colour in colours for _ in range(repeat)], strict=True):
            line.set(color=colour, linewidth=2.2 if part == "medians" else 1.2)
    count = len(values[0])
    shift = np.linspace(-0.14, 0.14, count) if count > 1 else np.zeros(1)
    if all(len(one) == count for one in values):
        matrix = np.stack(values)
        axes.plot(places[:, None] + shift[None, :], matrix, color=theme.ink, linewidth=0.5, alpha=0.25, zorder=3)
    for place, one, colour in zip(places, values, colours, strict=True):
        axes.scatter(place + shift[: len(one)], one, s=15, color=colour, edgecolor=theme.paper, linewidth=0.5, zorder=4)
    axes.set_xticks(places, names, fontsize=7.5)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(bottom=0)


def _trial_dots(axes: Axes, arm: ArmRecord, theme: Theme) -> None:
    """Draw one arm's trials.

    Complete trials are filled dots, trials stopped early hollow dots, and trials stopped by the time budget hollow
    diamonds. All others are crosses. A ring marks the selected trial.
    """
    colour = theme.of_model(arm.model)
    selected = arm.selected
    best: list[tuple[int, float]] = []
    dots: dict[str, list[tuple[int, float]]] = {}
    for place, trial in enumerate(arm.trials, start=1):
        value = trial.objective
        if math.isnan(value):
            axes.axvline(place, color=theme.faint, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
            axes.text(
                place, 0.98, trial.ending, rotation=90, fontsize=7, color=theme.ink, ha="right", va="top",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
            continue
        how = "cut" if trial.state == "stopped" and trial.reason == TIME_BUDGET else trial.state
        dots.setdefault(how, []).append((place, value))
        if selected is not None and trial.run_id == selected.run_id:
            axes.scatter(place, value, s=150, facecolor="none", edgecolor=theme.ink, linewidth=1.3, zorder=4)
        if trial.finished:
            best.append((place, min([value, *(known for _, known in best)])))
    hollow = {"facecolor": theme.paper, "edgecolor": colour, "linewidth": 1.4}
    looks = {
        "complete": {"s": 34, "color": colour},
        "stopped": {"s": 30, "marker": "o", **hollow},
        "cut": {"s": 30, "marker": "D", **hollow},
    }
    for how, points in dots.items():
        other = {"s": 30, "color": theme.ink, "marker": "x", "linewidth": 1.4}
        axes.scatter(*zip(*points, strict=True), **looks.get(how, other), zorder=3)  # type: ignore[arg-type]
    if best:
        axes.step(*zip(*best, strict=True), where="post", color=colour, alpha=0.6, linewidth=1.2, zorder=2)
    axes.axhline(1, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(0.4, max(len(arm.trials), 2) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def dress(axes: Axes, theme: Theme) -> None:
    """Set the theme's colours and a light horizontal grid."""
    axes.set_facecolor("none")
    axes.grid(axis="y", color=theme.faint, linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.faint)


def _faded(colour: str) -> tuple[str, float]:
    return (colour, 0.22)

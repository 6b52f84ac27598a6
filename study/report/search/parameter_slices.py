"""The objective against each searched parameter, one panel each, on the scale of its sampling; alpha first."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

from study.report.figures import LIGHT, Theme, dress
from study.report.records import ArmRecord
from study.report.search import search_marks
from study.report.search.searched import Searched, endings_text, several_folds, trial_table

_PER_ROW = 3
_BOUND = (0, (1.5, 1.5))


def draw(arms: Sequence[ArmRecord], space: Sequence[Searched], objective: str, theme: Theme = LIGHT) -> Figure | None:
    """Draw one arm's trials, one panel per parameter; None where there is no trial or no searched parameter.

    A trial without an objective is a cross at the upper edge.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters.
        objective: the name of the objective.
        theme: the colours.
    """
    table = trial_table(arms, space)
    if table.empty or not space:
        return None
    colour = theme.of_model(arms[0].model)
    values = table["objective"].to_numpy(dtype=float)
    columns = 2 if len(space) == 4 else min(_PER_ROW, len(space))
    rows = math.ceil(len(space) / columns)
    figure = Figure(figsize=(max(0.6 + 2.45 * columns, 4.6), 0.5 + 2.35 * rows), layout="constrained", facecolor="none")
    first: Axes | None = None
    for place, one in enumerate(space):
        axes = figure.add_subplot(rows, columns, place + 1, sharey=first)
        first = first or axes
        dress(axes, theme)
        _scale(axes, one, theme)
        search_marks.set_objective_axis(axes, values)
        drawn = table[one.name].to_numpy(dtype=float)
        search_marks.scatter(axes, drawn, values, table, theme, colour)
        search_marks.ring(axes, drawn, values, table, theme)
        lost = np.isnan(values) & np.isfinite(drawn)
        axes.scatter(
            drawn[lost], np.full(lost.sum(), 0.97), marker="x", s=26, color=theme.ink, linewidth=1.1,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        axes.axhline(1, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.set_xlabel(one.title, fontsize=9, color=theme.ink)
        if place % columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(objective, fontsize=8.5, color=theme.ink)
    bound = Line2D([], [], color=theme.before, linewidth=1.1, linestyle=_BOUND, label="bound")
    search_marks.legend(figure, table, theme, colour, [bound])
    return figure


def alt(arms: Sequence[ArmRecord], space: Sequence[Searched], objective: str) -> str:
    """Return the text alternative of the figure."""
    table = trial_table(arms, space)
    text = f"{objective} of {len(table)} trials ({endings_text(table)}) against each of "
    text += ", ".join(f"{one.name} ({one.low:g} to {one.high:g}{', log' if one.log else ''})" for one in space) + "."
    for _, line in table[table["selected"]].iterrows():
        fold = f" in fold {line['fold']}" if several_folds(table) else ""
        text += f" Selected{fold}: {', '.join(f'{one.name} {line[one.name]:.3g}' for one in space)}."
    return text


def _scale(axes: Axes, one: Searched, theme: Theme) -> None:
    """Set the parameter's scale on the horizontal axis and draw its bounds as dotted lines just inside the ends."""
    if one.log:
        axes.set_xscale("log")
        margin = (one.high / one.low) ** 0.05 if one.high > one.low else 1.1
        axes.set_xlim(one.low / margin, one.high * margin)
        if one.high < 20 * one.low:  # ticks at decades alone would be too few for a range this small
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(10, 10)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.05 * (one.high - one.low) or 0.05
        axes.set_xlim(one.low - margin, one.high + margin)
    for bound in (one.low, one.high):
        axes.axvline(bound, color=theme.before, linewidth=1.1, linestyle=_BOUND, zorder=1)

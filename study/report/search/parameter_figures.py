"""Figures of the trials against their parameters: one by one, the loss weights in a triangle, and all together.

`optuna.visualization.matplotlib` draws slices and parallel coordinates too, but neither how a trial ended, the selected
one, folds and bounds nor a dark page, and its style sheet changes the figures of the whole process.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

from jointnet.train.objective import Objective
from study.report.figures import LIGHT, Theme, dress
from study.report.search import trial_marks
from study.report.search.trial_table import (
    COMPLETE,
    CUT,
    EARLY,
    LAMBDAS,
    OTHER,
    SearchParameter,
    endings_text,
    several_folds,
    trial_table,
)
from study.report.store.records import ArmRecord

_PER_ROW = 3
MOST_CHARACTERS = 16
"""Of the text of a choice in a figure."""
_BOUND = (0, (1.5, 1.5))

CORNERS = np.array([[0.5, np.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])
"""The corners where lambda_1, lambda_2 and lambda_3 are 1: top, bottom left, bottom right of a triangle of side 1."""
_CORNER_NAMES = (
    r"$\lambda_1$ registration",
    r"$\lambda_2$ cine segmentation",
    r"$\lambda_3$ LGE segmentation",
)

_LINE_STYLES: dict[str, Any] = {COMPLETE: "solid", EARLY: (0, (1.2, 1.4)), CUT: (0, (5, 2)), OTHER: (0, (6, 2, 1, 2))}
_LINE_WIDTHS = {COMPLETE: 1.2, EARLY: 0.9, CUT: 1.0, OTHER: 0.9}


def draw_slices(arms: Sequence[ArmRecord], space: Sequence[SearchParameter], theme: Theme = LIGHT) -> Figure | None:
    """Draw one arm's trials, one panel per parameter; None where there is no trial or no searched parameter.

    A trial without an objective is a cross at the upper edge.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters.
        theme: the colours.
    """
    table, objective = trial_table(arms, space), arms[0].ranked_by
    if table.empty or not space:
        return None
    colour = theme.of_look(arms[0].look)
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
        trial_marks.set_objective_axis(axes, values, objective, theme)
        drawn = table[one.name].to_numpy(dtype=float)
        trial_marks.scatter(axes, drawn, values, table, theme, colour)
        trial_marks.ring(axes, drawn, values, table, theme)
        lost = np.isnan(values) & np.isfinite(drawn)
        axes.scatter(
            drawn[lost], np.full(lost.sum(), 0.97), marker="x", s=26, color=theme.ink, linewidth=1.1,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        axes.set_xlabel(one.title, fontsize=9, color=theme.ink)
        if place % columns:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(trial_marks.title_of(objective), fontsize=8.5, color=theme.ink)
    bound = Line2D([], [], color=theme.before, linewidth=1.1, linestyle=_BOUND, label="bound")
    trial_marks.legend(figure, table, theme, colour, [bound])
    return figure


def slices_alt(arms: Sequence[ArmRecord], space: Sequence[SearchParameter]) -> str:
    """Return the text alternative of the figure."""
    table = trial_table(arms, space)
    text = f"{trial_marks.title_of(arms[0].ranked_by)} of {len(table)} trials ({endings_text(table)}) against each of "
    text += ", ".join(f"{one.name} ({one.extent})" for one in space) + "."
    for _, line in table[table["selected"]].iterrows():
        fold = f" in fold {line['fold']}" if several_folds(table) else ""
        drawn = [f"{one.name} {one.text(line[one.name])}" for one in space if math.isfinite(line[one.name])]
        text += f" Selected{fold}: {', '.join(drawn)}."
    return text


def _scale(axes: Axes, one: SearchParameter, theme: Theme) -> None:
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
        margin = (0.3 if one.choices else 0.05 * (one.high - one.low)) or 0.05
        axes.set_xlim(one.low - margin, one.high + margin)
    if one.choices:
        axes.set_xticks(range(len(one.choices)), [_short(text) for text in one.choices], fontsize=7.5)
        return
    for bound in (one.low, one.high):
        axes.axvline(bound, color=theme.before, linewidth=1.1, linestyle=_BOUND, zorder=1)


def _short(text: str) -> str:
    """Return a text that fits at the end of an axis."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def triangle_positions(lambdas: np.ndarray) -> np.ndarray:
    """Return the positions (n, 2) in the triangle of weights (n, 3), which are divided by their sum.

    The position is NaN where a weight is negative or the sum is not positive.
    """
    weights = np.asarray(lambdas, dtype=float)
    total = weights.sum(axis=1, keepdims=True)
    possible = (total > 0) & (weights >= 0).all(axis=1, keepdims=True)
    proportions = np.divide(weights, total, out=np.full_like(weights, np.nan), where=possible)
    return proportions @ CORNERS


def searched_region(space: Sequence[SearchParameter]) -> np.ndarray | None:
    """Return the corners (4, 2) of the searched region, from the bounds of the two ratios.

    None where not both were searched between bounds. The sides are straight, because two of the weights have a fixed
    ratio on each.
    """
    bounds = {one.name: (one.low, one.high) for one in space if not one.choices}
    if not {"lambda_2_to_1", "lambda_3_to_1"} <= set(bounds):
        return None
    (low_2, high_2), (low_3, high_3) = bounds["lambda_2_to_1"], bounds["lambda_3_to_1"]
    ratios = [(low_2, low_3), (high_2, low_3), (high_2, high_3), (low_2, high_3)]
    return triangle_positions(np.array([(1.0, *pair) for pair in ratios]))


def draw_triangle(arms: Sequence[ArmRecord], space: Sequence[SearchParameter], theme: Theme = LIGHT) -> Figure | None:
    """Draw the trials of one arm's folds in the triangle; None where no trial has a loss of several branches.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters.
        theme: the colours.
    """
    table, objective = _weighted(arms), arms[0].ranked_by
    if table.empty:
        return None
    places = triangle_positions(table[list(LAMBDAS)].to_numpy())
    values = table["objective"].to_numpy(dtype=float)
    colours = trial_marks.objective_colours(values, objective, theme)
    figure = Figure(figsize=(5.6, 4.4), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    _triangle_frame(axes, theme)
    searched = searched_region(space)
    if searched is not None:
        axes.add_patch(Polygon(searched, closed=True, facecolor="none", edgecolor=theme.before, linewidth=1, zorder=2))
    shades = colours[0](colours[1](np.where(np.isnan(values), 0.0, values)))
    shades[np.isnan(values)] = to_rgba(theme.before)
    trial_marks.scatter(axes, places[:, 0], places[:, 1], table, theme, shades)
    trial_marks.ring(axes, places[:, 0], places[:, 1], table, theme)
    trial_marks.legend(figure, table, theme, theme.before)
    if np.isfinite(values).any():
        trial_marks.colour_bar(figure, axes, colours, objective, theme)
    return figure


def triangle_alt(arms: Sequence[ArmRecord]) -> str:
    """Return the text alternative of the figure."""
    table = _weighted(arms)
    text = f"Triangle of the proportions of lambda_1, lambda_2 and lambda_3, {len(table)} trials"
    text += f" ({endings_text(table)}), coloured by {trial_marks.within(trial_marks.title_of(arms[0].ranked_by))}."
    for line in table[table["selected"]].itertuples():
        fold = f" in fold {line.fold}" if several_folds(table) else ""
        text += f" Selected{fold}: {line.lambda_1:.2f}, {line.lambda_2:.2f}, {line.lambda_3:.2f}."
    return text


def _weighted(arms: Sequence[ArmRecord]) -> pd.DataFrame:
    """Return the trials whose loss has more than one branch."""
    table = trial_table(arms)
    several = (table[["lambda_2", "lambda_3"]] > 0).any(axis=1) & table[list(LAMBDAS)].notna().all(axis=1)
    return table[several].reset_index(drop=True)


def _triangle_frame(axes: Axes, theme: Theme) -> None:
    """Draw the triangle, grid lines at quarters with their values, and the names of the corners."""
    axes.set_facecolor("none")
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_xlim(-0.14, 1.14)
    axes.set_ylim(-0.16, 0.97)
    axes.add_patch(Polygon(CORNERS, closed=True, facecolor="none", edgecolor=theme.ink, linewidth=1, zorder=2))
    offsets = (np.array([0.02, 0.008]), np.array([-0.02, 0.02]), np.array([-0.014, -0.036]))
    alignments = ("left", "right", "center")
    rotations = (0, -60, 60)  # each value is parallel to its line, so that it is not read as a value of another weight
    for corner in range(3):
        following = (corner + 1) % 3
        for part in (0.25, 0.5, 0.75):
            # The line where this weight is `part`, from the side shared with the next corner to the other side.
            ends = np.zeros((2, 3))
            ends[:, corner] = part
            ends[0, following], ends[1, (corner + 2) % 3] = 1 - part, 1 - part
            line = triangle_positions(ends)
            axes.plot(line[:, 0], line[:, 1], color=theme.faint, linewidth=0.7, zorder=1)
            # The value is at the end of the line on the side between the previous corner and this one.
            start = line[1] + offsets[corner]
            axes.text(
                float(start[0]),
                float(start[1]),
                f"{part:g}",
                fontsize=7,
                color=theme.ink,
                ha=alignments[corner],
                va="center",
                rotation=rotations[corner],
                zorder=1,
            )
    places = ((0.5, 0.895, "center"), (-0.13, -0.11, "left"), (1.13, -0.11, "right"))
    for (x, y, side), name in zip(places, _CORNER_NAMES, strict=True):
        axes.text(x, y, name, fontsize=9, color=theme.ink, ha=side, va="center")


def heights(values: np.ndarray, objective: Objective) -> tuple[np.ndarray, tuple[float, float]]:
    """Compute the heights of objectives on the last axis, which ends at the best and at the worst decile.

    Returns:
        The heights, (n,), NaN where the objective is not finite, and the objectives at heights 0 and 1.
    """
    if not np.isfinite(values).any():
        return np.full(len(values), np.nan), (0.0, 1.0)
    low, high = trial_marks.objective_range(values, objective)
    return np.clip((values - low) / (high - low), 0, 1), (low, high)


def draw_parallel(arms: Sequence[ArmRecord], space: Sequence[SearchParameter], theme: Theme = LIGHT) -> Figure | None:
    """Draw one arm's trials that have an objective; None where there are none, or no searched parameter.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters, one axis each, on the scale of their sampling.
        theme: the colours.
    """
    table = trial_table(arms, space)
    always = [one.name for one in space if not one.conditional]
    table = table[table["objective"].notna()].dropna(subset=always).reset_index(drop=True)
    if table.empty or not space:
        return None
    values = table["objective"].to_numpy(dtype=float)
    objective = arms[0].ranked_by
    last, ends = heights(values, objective)
    across = np.column_stack([*(np.clip(one.position(table[one.name]), 0, 1) for one in space), last])
    cmap, norm = trial_marks.objective_colours(values, objective, theme)
    figure = Figure(figsize=(max(1.1 + 1.45 * len(space), 4.2), 3.7), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    _vertical_axes(axes, space, ends, objective, theme)
    places = np.arange(across.shape[1])
    for level, kind in enumerate((OTHER, EARLY, CUT, COMPLETE)):
        chosen = (table["kind"] == kind).to_numpy()
        if chosen.any():
            order = np.argsort(-objective.sign * values[chosen])  # the best trials are drawn last, on top
            lines = [np.column_stack([places, line])[np.isfinite(line)] for line in across[chosen][order]]
            shades = theme.ink if kind == OTHER else cmap(norm(values[chosen][order]))
            axes.add_collection(
                LineCollection(
                    lines, colors=shades, linewidths=_LINE_WIDTHS[kind], linestyles=[_LINE_STYLES[kind]],
                    alpha=0.9 if kind == COMPLETE else 0.75, zorder=2 + 0.1 * level,
                )
            )  # fmt: skip
    for line in across[table["selected"].to_numpy(dtype=bool)]:
        seen = np.isfinite(line)  # without the parameters that were not drawn
        axes.plot(places[seen], line[seen], color=theme.ink, linewidth=2.2, zorder=4, marker="o", markersize=4)
    _line_legend(figure, set(zip(table["kind"], table["ending"], strict=True)), bool(table["selected"].any()), theme)
    return figure


def parallel_alt(arms: Sequence[ArmRecord], space: Sequence[SearchParameter]) -> str:
    """Return the text alternative of the figure."""
    table = trial_table(arms, space)
    seen = table[table["objective"].notna()]
    names = ", ".join(one.name for one in space)
    text = f"Parallel coordinates: {len(seen)} trials ({endings_text(seen)}) as lines over {names} to "
    text += trial_marks.within(trial_marks.title_of(arms[0].ranked_by))
    text += f", from {seen['objective'].min():.3f} to {seen['objective'].max():.3f}." if len(seen) else "."
    return text


def _vertical_axes(
    axes: Axes, space: Sequence[SearchParameter], ends: tuple[float, float], objective: Objective, theme: Theme
) -> None:
    """Draw the vertical axes with their names below and the values at their ends."""
    axes.set_facecolor("none")
    axes.axis("off")
    bounds = [(_short(one.text(one.low)), _short(one.text(one.high))) for one in space]
    low, high = (f"{end:.3f}" for end in ends)
    bounds.append((low, f"≥ {high}") if objective.minimizes else (f"≤ {low}", high))
    titles = [
        *(f"{one.title}\n(log)" if one.log else one.title for one in space),
        trial_marks.title_of(objective).replace(" ", "\n", 1),
    ]
    for place, ((low, high), title) in enumerate(zip(bounds, titles, strict=True)):
        axes.plot([place, place], [0, 1], color=theme.before, linewidth=1, zorder=3)
        axes.text(place, -0.03, low, ha="center", va="top", fontsize=7.5, color=theme.ink)
        axes.text(place, 1.03, high, ha="center", va="bottom", fontsize=7.5, color=theme.ink)
        axes.text(place, -0.13, title, ha="center", va="top", fontsize=8.5, color=theme.ink)
    axes.set_xlim(-0.35, len(space) + 0.45)
    axes.set_ylim(-0.36, 1.1)


def _line_legend(figure: Figure, kinds: set[tuple[str, str]], selected: bool, theme: Theme) -> None:
    handles = []
    for kind in (COMPLETE, EARLY, CUT, OTHER):
        words = sorted(ending for own, ending in kinds if own == kind)
        if words:
            ink = theme.ink if kind == OTHER else theme.before
            handles.append(
                Line2D([], [], color=ink, linewidth=1.3, linestyle=_LINE_STYLES[kind], label=" or ".join(words))
            )
    if selected:
        handles.append(Line2D([], [], color=theme.ink, linewidth=2.2, marker="o", markersize=4, label="selected"))
    wide = max(1, int(figure.get_figwidth() / 1.75))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(wide, len(handles)), fontsize=7.5, frameon=False,
        labelcolor=theme.ink, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip

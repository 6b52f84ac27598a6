"""Parallel coordinates: every trial is a line across the searched parameters and its objective."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.report.figures import LIGHT, Theme
from study.report.records import ArmRecord
from study.report.search import search_marks
from study.report.search.searched import COMPLETE, CUT, EARLY, OTHER, Searched, endings_text, trial_table

_STYLES: dict[str, Any] = {COMPLETE: "solid", EARLY: (0, (1.2, 1.4)), CUT: (0, (5, 2)), OTHER: (0, (6, 2, 1, 2))}
_WIDTHS = {COMPLETE: 1.2, EARLY: 0.9, CUT: 1.0, OTHER: 0.9}


def heights(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Compute the heights of objectives on the last axis: 0 for the smallest, 1 for the ninth decile and above.

    Returns:
        The heights, (n,), NaN where the objective is not finite, and the objectives at heights 0 and 1.
    """
    seen = values[np.isfinite(values)]
    if not seen.size:
        return np.full(len(values), np.nan), (0.0, 1.0)
    low = float(seen.min())
    high = max(float(np.quantile(seen, 0.9)), low + 0.01)
    return np.clip((values - low) / (high - low), 0, 1), (low, high)


def draw(arms: Sequence[ArmRecord], space: Sequence[Searched], objective: str, theme: Theme = LIGHT) -> Figure | None:
    """Draw one arm's trials that have an objective; None where there are none, or no searched parameter.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters, one axis each, on the scale of their sampling.
        objective: the name of the objective, which is the last axis.
        theme: the colours.
    """
    table = trial_table(arms, space)
    table = table[table["objective"].notna()].dropna(subset=[one.name for one in space]).reset_index(drop=True)
    if table.empty or not space:
        return None
    values = table["objective"].to_numpy(dtype=float)
    last, ends = heights(values)
    across = np.column_stack([*(np.clip(one.place(table[one.name]), 0, 1) for one in space), last])
    cmap, norm = search_marks.objective_colours(values, theme)
    figure = Figure(figsize=(max(1.1 + 1.45 * len(space), 4.2), 3.7), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    _axes_of(axes, space, ends, objective, theme)
    places = np.arange(across.shape[1])
    for level, kind in enumerate((OTHER, EARLY, CUT, COMPLETE)):
        chosen = (table["kind"] == kind).to_numpy()
        if chosen.any():
            order = np.argsort(-values[chosen])  # the best trials are drawn last, on top
            lines = [np.column_stack([places, line]) for line in across[chosen][order]]
            shades = theme.ink if kind == OTHER else cmap(norm(values[chosen][order]))
            axes.add_collection(
                LineCollection(
                    lines, colors=shades, linewidths=_WIDTHS[kind], linestyles=[_STYLES[kind]],
                    alpha=0.9 if kind == COMPLETE else 0.75, zorder=2 + 0.1 * level,
                )
            )  # fmt: skip
    for line in across[table["selected"].to_numpy(dtype=bool)]:
        axes.plot(places, line, color=theme.ink, linewidth=2.2, zorder=4, marker="o", markersize=4)
    _legend(figure, set(zip(table["kind"], table["ending"], strict=True)), bool(table["selected"].any()), theme)
    return figure


def alt(arms: Sequence[ArmRecord], space: Sequence[Searched], objective: str) -> str:
    """Return the text alternative of the figure."""
    table = trial_table(arms, space)
    seen = table[table["objective"].notna()]
    names = ", ".join(one.name for one in space)
    text = f"Parallel coordinates: {len(seen)} trials ({endings_text(seen)}) as lines over {names} to "
    text += f"{objective.lower()}"
    text += f", from {seen['objective'].min():.3f} to {seen['objective'].max():.3f}." if len(seen) else "."
    return text


def _axes_of(axes: Axes, space: Sequence[Searched], ends: tuple[float, float], objective: str, theme: Theme) -> None:
    """Draw the vertical axes with their names below and the values at their ends."""
    axes.set_facecolor("none")
    axes.axis("off")
    bounds = [*((f"{one.low:g}", f"{one.high:g}") for one in space), (f"{ends[0]:.3f}", f"≥ {ends[1]:.3f}")]
    titles = [*(f"{one.title}\n(log)" if one.log else one.title for one in space), objective.replace(" ", "\n", 1)]
    for place, ((low, high), title) in enumerate(zip(bounds, titles, strict=True)):
        axes.plot([place, place], [0, 1], color=theme.before, linewidth=1, zorder=3)
        axes.text(place, -0.03, low, ha="center", va="top", fontsize=7.5, color=theme.ink)
        axes.text(place, 1.03, high, ha="center", va="bottom", fontsize=7.5, color=theme.ink)
        axes.text(place, -0.13, title, ha="center", va="top", fontsize=8.5, color=theme.ink)
    axes.set_xlim(-0.35, len(space) + 0.45)
    axes.set_ylim(-0.36, 1.1)


def _legend(figure: Figure, kinds: set[tuple[str, str]], selected: bool, theme: Theme) -> None:
    handles = []
    for kind in (COMPLETE, EARLY, CUT, OTHER):
        words = sorted(ending for own, ending in kinds if own == kind)
        if words:
            ink = theme.ink if kind == OTHER else theme.before
            handles.append(Line2D([], [], color=ink, linewidth=1.3, linestyle=_STYLES[kind], label=" or ".join(words)))
    if selected:
        handles.append(Line2D([], [], color=theme.ink, linewidth=2.2, marker="o", markersize=4, label="selected"))
    wide = max(1, int(figure.get_figwidth() / 1.75))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(wide, len(handles)), fontsize=7.5, frameon=False,
        labelcolor=theme.ink, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip

"""Marks of trials in figures: shape by how they ended, a ring for the selected one, colour by the objective."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jointnet.train.objective import Objective
from study.report.figures import LIGHT, Theme
from study.report.search.trial_table import COMPLETE, CUT, EARLY, KINDS, OTHER, several_folds

_MARKERS = {COMPLETE: "o", EARLY: "o", CUT: "D", OTHER: "x"}
_SIZES = {COMPLETE: 30.0, EARLY: 24.0, CUT: 22.0, OTHER: 26.0}
WIDE = 4.0
"""Above this ratio of the largest to the smallest objective, the axis is logarithmic."""


def scatter(
    axes: Axes, x: np.ndarray, y: np.ndarray, table: pd.DataFrame, theme: Theme, colours: Any, **options: Any
) -> None:
    """Draw one mark per line of `table` at (x, y).

    Complete trials are filled dots, trials stopped early hollow dots, and trials stopped by the time budget hollow
    diamonds. Failed, interrupted and running trials are crosses in `theme.ink`. Points that are not finite are left
    out.

    Args:
        axes: where to draw.
        x: (n,) positions.
        y: (n,) positions.
        table: the n trials, as returned by `trial_table`.
        theme: the colours of everything but the trials.
        colours: one colour, or an (n, 4) array of RGBA.
        options: further options of `Axes.scatter`.
    """
    seen = np.isfinite(x) & np.isfinite(y)
    for level, kind in enumerate(reversed(KINDS)):
        chosen = seen & (table["kind"] == kind).to_numpy()
        if not chosen.any():
            continue
        own = colours[chosen] if isinstance(colours, np.ndarray) else colours
        marks: dict[str, Any] = {"marker": _MARKERS[kind], "s": _SIZES[kind], "zorder": 3 + 0.1 * level}
        if kind == OTHER:
            marks |= {"color": theme.ink, "linewidth": 1.1}
        elif kind == COMPLETE:
            marks |= {"facecolor": own, "edgecolor": theme.paper, "linewidth": 0.5}
        else:
            marks |= {"facecolor": theme.paper, "edgecolor": own, "linewidth": 1.3}
        axes.scatter(x[chosen], y[chosen], **{**marks, **options})


def ring(axes: Axes, x: np.ndarray, y: np.ndarray, table: pd.DataFrame, theme: Theme) -> None:
    """Draw a ring around the selected trials, with the number of the fold beside it where there are several folds."""
    chosen = table["selected"].to_numpy(dtype=bool) & np.isfinite(x) & np.isfinite(y)
    axes.scatter(
        x[chosen], y[chosen], s=120, facecolor="none", edgecolor=theme.ink, linewidth=1.3, zorder=5, clip_on=False
    )
    if several_folds(table):
        for left, low, fold in zip(x[chosen], y[chosen], table["fold"][chosen], strict=True):
            axes.annotate(
                f"fold {fold}", (left, low), (7, 7 if fold % 2 else -7), textcoords="offset points", fontsize=7,
                va="center", color=theme.ink, zorder=6,
                bbox={"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
            )  # fmt: skip


def legend(figure: Figure, table: pd.DataFrame, theme: Theme, colour: str, more: Sequence[Line2D] = ()) -> None:
    """Draw a legend above the axes with the marks in `table`, labelled with the endings of the trials."""
    handles = []
    for kind in KINDS:
        words = sorted(set(table.loc[table["kind"] == kind, "ending"]))
        if words:
            ink = theme.ink if kind == OTHER else colour
            face = colour if kind == COMPLETE else theme.paper
            handles.append(
                Line2D([], [], linestyle="", marker=_MARKERS[kind], markersize=5.5, markerfacecolor=face,
                       markeredgecolor=ink, markeredgewidth=1.2, label=" or ".join(words))
            )  # fmt: skip
    if table["selected"].any():
        handles.append(
            Line2D([], [], linestyle="", marker="o", markersize=9, markerfacecolor="none", markeredgecolor=theme.ink,
                   markeredgewidth=1.3, label="selected")
        )  # fmt: skip
    handles += more
    wide = max(1, int(figure.get_figwidth() / 1.75))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(wide, len(handles)), fontsize=7.5, frameon=False,
        labelcolor=theme.ink, handletextpad=0.3, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip


def title_of(objective: Objective) -> str:
    """Return the name of the objective in figures and texts, such as `Validation LV CD (mm)`."""
    return f"Validation {objective.title}{f' ({objective.unit})' if objective.unit else ''}"


def within(title: str) -> str:
    """Return such a name as it stands within a sentence."""
    return f"{title[0].lower()}{title[1:]}"


def objective_range(values: np.ndarray, objective: Objective) -> tuple[float, float]:
    """Return the lowest and highest objective that figures tell apart.

    The range ends at the worst decile, so that a single outlier does not take most of it.
    """
    costs = objective.sign * values[np.isfinite(values)]
    best = float(costs.min()) if costs.size else 0.0
    worst = max(float(np.quantile(costs, 0.9)) if costs.size else 1.0, best + 0.01)
    return (best, worst) if objective.minimizes else (-worst, -best)


def objective_colours(values: np.ndarray, objective: Objective, theme: Theme) -> tuple[Colormap, Normalize]:
    """Return a colour map and its range for objectives. The best has the most contrast with the background."""
    whole = matplotlib.colormaps["viridis" if theme == LIGHT else "viridis_r"]
    shades = whole(np.linspace(0.0, 0.76 if theme == LIGHT else 0.72, 64))[:: objective.sign]
    return LinearSegmentedColormap.from_list("objective", shades), Normalize(*objective_range(values, objective))


def colour_bar(
    figure: Figure, axes: Axes, colours: tuple[Colormap, Normalize], objective: Objective, theme: Theme
) -> None:
    """Draw the colour bar beside the axes. Values worse than its range have the last colour."""
    mappable = matplotlib.cm.ScalarMappable(colours[1], colours[0])
    end = "max" if objective.minimizes else "min"
    bar = figure.colorbar(mappable, ax=axes, shrink=0.75, pad=0.03, aspect=22, extend=end)
    bar.set_label(title_of(objective), fontsize=8.5, color=theme.ink)
    bar.ax.tick_params(colors=theme.ink, labelsize=8, length=0)
    bar.outline.set_visible(False)


def set_objective_axis(axes: Axes, values: np.ndarray, objective: Objective, theme: Theme) -> None:
    """Set the vertical axis to include the objectives, logarithmic where their ratio is above `WIDE`.

    Where the objective is the registration ratio, the axis includes 1, no improvement, with a dashed line.
    """
    seen = values[np.isfinite(values)]
    if objective.is_ratio:
        seen = np.append(seen, 1.0) if seen.size else np.array([0.0, 1.0])
        axes.axhline(1, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    if low > 0 and high > WIDE * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, high * 1.3)
    else:
        margin = 0.08 * (high - low) + 0.01
        axes.set_ylim(low - margin, high + 1.4 * margin)

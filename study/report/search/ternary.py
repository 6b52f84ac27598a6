"""Ternary plot of the loss weights of trials (lambda_1 + lambda_2 + lambda_3 = 1), coloured by the objective."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from study.report.figures import LIGHT, Theme
from study.report.records import ArmRecord
from study.report.search import search_marks
from study.report.search.searched import LAMBDAS, Searched, endings_text, several_folds, trial_table

CORNERS = np.array([[0.5, np.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])
"""The corners where lambda_1, lambda_2 and lambda_3 are 1: top, bottom left, bottom right of a triangle of side 1."""
_NAMES = (
    r"$\lambda_1$ registration",
    r"$\lambda_2$ cine segmentation",
    r"$\lambda_3$ LGE segmentation",
)


def positions(lambdas: np.ndarray) -> np.ndarray:
    """Return the positions (n, 2) in the triangle of weights (n, 3), which are divided by their sum.

    The position is NaN where a weight is negative or the sum is not positive.
    """
    weights = np.asarray(lambdas, dtype=float)
    total = weights.sum(axis=1, keepdims=True)
    possible = (total > 0) & (weights >= 0).all(axis=1, keepdims=True)
    proportions = np.divide(weights, total, out=np.full_like(weights, np.nan), where=possible)
    return proportions @ CORNERS


def region(space: Sequence[Searched]) -> np.ndarray | None:
    """Return the corners (4, 2) of the searched region, from the bounds of the two ratios.

    None where not both ratios were searched. The sides are straight, because two of the weights have a fixed ratio on
    each.
    """
    bounds = {one.name: (one.low, one.high) for one in space}
    if not {"lambda_2_to_1", "lambda_3_to_1"} <= set(bounds):
        return None
    (low_2, high_2), (low_3, high_3) = bounds["lambda_2_to_1"], bounds["lambda_3_to_1"]
    ratios = [(low_2, low_3), (high_2, low_3), (high_2, high_3), (low_2, high_3)]
    return positions(np.array([(1.0, *pair) for pair in ratios]))


def draw(arms: Sequence[ArmRecord], space: Sequence[Searched], objective: str, theme: Theme = LIGHT) -> Figure | None:
    """Draw the trials of one arm's folds in the triangle; None where no trial has a loss of several branches.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters.
        objective: the name of the objective, for the colour bar.
        theme: the colours.
    """
    table = _weighed(arms)
    if table.empty:
        return None
    places = positions(table[list(LAMBDAS)].to_numpy())
    values = table["objective"].to_numpy(dtype=float)
    colours = search_marks.objective_colours(values, theme)
    figure = Figure(figsize=(5.6, 4.4), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    _frame(axes, theme)
    searched = region(space)
    if searched is not None:
        axes.add_patch(Polygon(searched, closed=True, facecolor="none", edgecolor=theme.before, linewidth=1, zorder=2))
    shades = colours[0](colours[1](np.where(np.isnan(values), 0.0, values)))
    shades[np.isnan(values)] = to_rgba(theme.before)
    search_marks.scatter(axes, places[:, 0], places[:, 1], table, theme, shades)
    search_marks.ring(axes, places[:, 0], places[:, 1], table, theme)
    search_marks.legend(figure, table, theme, theme.before)
    if np.isfinite(values).any():
        search_marks.colour_bar(figure, axes, colours, objective, theme)
    return figure


def alt(arms: Sequence[ArmRecord], objective: str) -> str:
    """Return the text alternative of the figure."""
    table = _weighed(arms)
    text = f"Triangle of the proportions of lambda_1, lambda_2 and lambda_3, {len(table)} trials"
    text += f" ({endings_text(table)}), coloured by {objective.lower()}."
    for line in table[table["selected"]].itertuples():
        fold = f" in fold {line.fold}" if several_folds(table) else ""
        text += f" Selected{fold}: {line.lambda_1:.2f}, {line.lambda_2:.2f}, {line.lambda_3:.2f}."
    return text


def _weighed(arms: Sequence[ArmRecord]) -> pd.DataFrame:
    """Return the trials whose loss has more than one branch."""
    table = trial_table(arms)
    several = (table[["lambda_2", "lambda_3"]] > 0).any(axis=1) & table[list(LAMBDAS)].notna().all(axis=1)
    return table[several].reset_index(drop=True)


def _frame(axes: Axes, theme: Theme) -> None:
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
            line = positions(ends)
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
    for (x, y, side), name in zip(places, _NAMES, strict=True):
        axes.text(x, y, name, fontsize=9, color=theme.ink, ha=side, va="center")

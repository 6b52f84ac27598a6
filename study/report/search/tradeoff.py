"""The trade-off of trials between metrics: those of a Pareto front, or one objective and Dice.

`optuna.visualization.matplotlib` has a Pareto front too, but not of the trials within a fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jointnet.train.objective import Objective
from study.report.figures import LIGHT, Theme, dress
from study.report.search import trial_marks
from study.report.search.trial_table import OTHER, endings_text, several_folds, trial_table
from study.report.store.records import ArmRecord

SEGMENTATION = ("val/dice_cine/", "val/dice_lge/")
OVERLAP = ("val/dice/",)


def mean_dice(validation: Mapping[str, float], prefixes: Sequence[str]) -> float:
    """Return the mean over the metrics whose names begin with one of the prefixes; NaN where none does."""
    values = [value for name, value in validation.items() if name.startswith(tuple(prefixes))]
    return float(np.mean(values)) if values else float("nan")


def tradeoff_table(arms: Sequence[ArmRecord]) -> tuple[pd.DataFrame, Objective]:
    """Return the trial table with the trade-off of its trials, and the objective with the metrics that it is of.

    An objective of one metric is compared with Dice: that of the segmentations (mean over cine, LGE and structures)
    where the model segments, else the overlap of the LGE label with that of cine. A Dice is not compared with Dice.

    Returns:
        The table has a column for each further metric, with its value at the best epoch, and `front`. The front is that
        of each fold, of trials that can be selected.
    """
    table, objective = trial_table(arms), arms[0].ranked_by
    metrics = [trial.validation for arm in arms for trial in arm.trials]
    if not objective.further and not objective.metric.startswith((*SEGMENTATION, *OVERLAP)):
        segments = any(name.startswith(SEGMENTATION) for one in metrics for name in one)
        dice = Objective("mean segmentation Dice" if segments else "mean overlap Dice", "maximize")
        objective = replace(objective, further=(dice,))
        metrics = [{dice.metric: mean_dice(one, SEGMENTATION if segments else OVERLAP)} for one in metrics]
    for each in objective.further:
        table[each.metric] = np.array([one.get(each.metric, np.nan) for one in metrics], dtype=float)
    values = table[_columns(objective)].to_numpy(dtype=float, copy=True)
    values[(table["kind"] == OTHER).to_numpy()] = np.nan
    table["front"] = False
    for _, own in table.groupby("fold"):
        table.loc[own.index, "front"] = np.array(objective.front(values[own.index].tolist()), dtype=bool)
    return table, objective


def _columns(objective: Objective) -> list[str]:
    """Return the columns of the table with the values of all metrics."""
    return ["objective", *(each.metric for each in objective.further)]


def draw_tradeoff(arms: Sequence[ArmRecord], theme: Theme = LIGHT) -> Figure | None:
    """Draw the objective against each further metric, and the front; None where no trial has all values.

    Args:
        arms: the records of one arm, one per fold.
        theme: the colours.
    """
    table, objective = tradeoff_table(arms)
    seen = _seen(table, objective)
    if not objective.further or not seen.any():
        return None
    colour, count = theme.of_look(arms[0].look), len(objective.further)
    figure = Figure(figsize=(0.7 + 4.2 * count, 3.8), layout="constrained", facecolor="none")
    for place, other in enumerate(objective.further, start=1):
        axes = figure.add_subplot(1, count, place, sharey=figure.axes[0] if place > 1 else None)
        dress(axes, theme)
        x, y = table[other.metric].to_numpy(dtype=float), table["objective"].to_numpy(dtype=float)
        _draw_front(axes, table[table["front"]], other, theme, steps=count == 1)
        trial_marks.scatter(axes, x, y, table, theme, colour)
        trial_marks.ring(axes, x, y, table, theme)
        trial_marks.set_objective_axis(axes, y[seen], objective, theme)
        low, high = float(x[seen].min()), float(x[seen].max())
        margin = 0.06 * (high - low) + 0.005
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel(f"{trial_marks.title_of(other)}, {other.better}", fontsize=8.5, color=theme.ink)
    figure.axes[0].set_ylabel(f"{trial_marks.title_of(objective)}, {objective.better}", fontsize=8.5, color=theme.ink)
    look: dict[str, Any] = {"color": theme.ink, "linewidth": 1} if count == 1 else _square(theme)
    trial_marks.legend(figure, table[seen], theme, colour, [Line2D([], [], alpha=0.7, label="front", **look)])
    return figure


def _draw_front(axes: Axes, front: pd.DataFrame, other: Objective, theme: Theme, steps: bool) -> None:
    """Draw the front of each fold as steps, or with a square around each trial where it has a third metric."""
    if not steps:
        axes.plot(front[other.metric], front["objective"], alpha=0.7, zorder=2, **_square(theme))
        return
    where: Literal["post", "pre"] = "post" if other.minimizes else "pre"
    for _, own in front.groupby("fold"):
        ordered = own.sort_values(other.metric)
        values = ordered[other.metric], ordered["objective"]
        axes.step(*values, where=where, color=theme.ink, linewidth=1, alpha=0.7, zorder=2)


def _square(theme: Theme) -> dict[str, Any]:
    return {"linestyle": "", "marker": "s", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": theme.ink}


def _seen(table: pd.DataFrame, objective: Objective) -> np.ndarray:
    """Return which trials have all values."""
    return np.asarray(np.isfinite(table[_columns(objective)].to_numpy(dtype=float)).all(axis=1))


def tradeoff_alt(arms: Sequence[ArmRecord]) -> str:
    """Return the text alternative of the figure."""
    table, objective = tradeoff_table(arms)
    seen = table[_seen(table, objective)]
    others = " and ".join(trial_marks.within(trial_marks.title_of(each)) for each in objective.further)
    text = f"{trial_marks.title_of(objective)} against {others} of {len(seen)} trials ({endings_text(seen)}); "
    better = "neither is better without the other" if len(objective.further) == 1 else "none is better without another"
    return text + f"{int(seen['front'].sum())} of them on the front, where {better} worse."


def tradeoff_note(arms: Sequence[ArmRecord]) -> str:
    """Return the note that compares the selected trial with the best by each further metric, or why there is none."""
    table, objective = tradeoff_table(arms)
    seen = table[(table["kind"] != OTHER) & _seen(table, objective)]
    if seen.empty:
        return "The trade-off is not shown: the store has no metrics of the trials' best epochs."
    lines = []
    for fold, own in seen.groupby("fold"):
        chosen = own[own["selected"]]
        who = f"Fold {fold}: the selected trial" if several_folds(table) else "The selected trial"
        for other in objective.further if len(chosen) else ():
            best = own.iloc[int(np.argmin(other.sign * own[other.metric].to_numpy(dtype=float)))]
            text = f"{who} has {_value(objective, chosen['objective'].iloc[0])} at "
            text += f"{_value(other, chosen[other.metric].iloc[0])}; "
            if best["selected"]:
                lines.append(f"{text}none has a better {other.title}.")
            else:
                text += f"the one with the best {other.title}, {other.text(best[other.metric])}, has "
                lines.append(f"{text}{_value(objective, best['objective'])}.")
    return " ".join(lines)


def _value(objective: Objective, value: float) -> str:
    return f"{objective.title} {objective.text(value)}"

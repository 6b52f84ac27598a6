"""Trade-off between the registration objective and Dice: the trials and their Pareto front."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.report.figures import LIGHT, Theme, dress
from study.report.records import ArmRecord
from study.report.search import search_marks
from study.report.search.searched import OTHER, endings_text, several_folds, trial_table

SEGMENTATION = ("val/dice_cine/", "val/dice_lge/")
OVERLAP = ("val/dice/",)


def mean_dice(validation: Mapping[str, float], prefixes: Sequence[str]) -> float:
    """Return the mean over the metrics whose names begin with one of the prefixes; NaN where none does."""
    values = [value for name, value in validation.items() if name.startswith(tuple(prefixes))]
    return float(np.mean(values)) if values else float("nan")


def front(low_is_better: np.ndarray, high_is_better: np.ndarray) -> np.ndarray:
    """Return a mask (n,) of the Pareto-optimal points: no other is as good in both values and better in one.

    Points with a value that is not finite are never in the front.
    """
    low, high = np.asarray(low_is_better, dtype=float), np.asarray(high_is_better, dtype=float)
    as_good = (low[:, None] <= low[None, :]) & (high[:, None] >= high[None, :])
    better = (low[:, None] < low[None, :]) | (high[:, None] > high[None, :])
    return np.isfinite(low) & np.isfinite(high) & ~(as_good & better).any(axis=0)


def dice_table(arms: Sequence[ArmRecord]) -> tuple[pd.DataFrame, str]:
    """Return the trial table with the columns `dice` and `front`, and the name of the Dice used.

    Dice is that of the segmentations (mean over cine, LGE and structures) where the model segments, else the overlap of
    the LGE label with that of cine, both at the best epoch. The front is computed per fold, from trials that can be
    selected.
    """
    table = trial_table(arms)
    metrics = [trial.validation for arm in arms for trial in arm.trials]
    segments = any(name.startswith(SEGMENTATION) for one in metrics for name in one)
    prefixes = SEGMENTATION if segments else OVERLAP
    table["dice"] = np.array([mean_dice(one, prefixes) for one in metrics], dtype=float)
    usable = table["dice"].where(table["kind"] != OTHER)
    table["front"] = False
    for _, own in table.groupby("fold"):
        table.loc[own.index, "front"] = front(own["objective"].to_numpy(), usable[own.index].to_numpy())
    return table, "mean segmentation Dice" if segments else "mean overlap Dice"


def draw(arms: Sequence[ArmRecord], objective: str, theme: Theme = LIGHT) -> Figure | None:
    """Draw the objective against Dice on validation, and the front; None where no trial has both values.

    Args:
        arms: the records of one arm, one per fold.
        objective: the name of the objective.
        theme: the colours.
    """
    table, kind = dice_table(arms)
    dice, values = table["dice"].to_numpy(dtype=float), table["objective"].to_numpy(dtype=float)
    seen = np.isfinite(dice) & np.isfinite(values)
    if not seen.any():
        return None
    colour = theme.of_model(arms[0].model)
    figure = Figure(figsize=(4.9, 3.8), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    dress(axes, theme)
    for _, own in table[table["front"]].groupby("fold"):
        ordered = own.sort_values("dice")
        axes.step(ordered["dice"], ordered["objective"], where="pre", color=theme.ink, linewidth=1, alpha=0.7, zorder=2)
    search_marks.scatter(axes, dice, values, table, theme, colour)
    search_marks.ring(axes, dice, values, table, theme)
    search_marks.set_objective_axis(axes, values[seen])
    low, high = float(dice[seen].min()), float(dice[seen].max())
    margin = 0.06 * (high - low) + 0.005
    axes.set_xlim(low - margin, high + margin)
    axes.axhline(1, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_ylabel(f"{objective} (lower is better)", fontsize=8.5, color=theme.ink)
    axes.set_xlabel(f"Validation {kind} (higher is better)", fontsize=8.5, color=theme.ink)
    key = Line2D([], [], color=theme.ink, linewidth=1, alpha=0.7, label="front")
    search_marks.legend(figure, table[seen], theme, colour, [key])
    return figure


def alt(arms: Sequence[ArmRecord], objective: str) -> str:
    """Return the text alternative of the figure."""
    table, kind = dice_table(arms)
    seen = table[table["dice"].notna() & table["objective"].notna()]
    text = f"{objective} against validation {kind} of {len(seen)} trials ({endings_text(seen)}); "
    return text + f"{int(seen['front'].sum())} of them on the front, where neither is better without the other worse."


def note(arms: Sequence[ArmRecord]) -> str:
    """Return the note that compares the selected trial with that of highest Dice, or why nothing is shown."""
    table, kind = dice_table(arms)
    seen = table[(table["kind"] != OTHER) & table["dice"].notna() & table["objective"].notna()]
    if seen.empty:
        return "The trade-off with Dice is not shown: the store has no metrics of the trials' best epochs."
    text = ""
    for fold, own in seen.groupby("fold"):
        chosen = own[own["selected"]]
        if len(chosen):
            best = own.sort_values("dice").iloc[-1]
            where = f"Fold {fold}: the" if several_folds(table) else "The"
            text += f"{where} selected trial has objective {chosen['objective'].iloc[0]:.3f} at "
            text += f"{kind} {chosen['dice'].iloc[0]:.3f}; the trial of highest Dice, {best['dice']:.3f}, "
            text += f"has objective {best['objective']:.3f}. "
    return text.strip()

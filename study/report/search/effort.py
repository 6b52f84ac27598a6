"""The figure of the effort: the best objective so far of all arms, against their trials and minutes.

`optuna.visualization.matplotlib` has a history too, but not of several arms or against minutes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from study.report.analysis import annotated
from study.report.figures import LIGHT, Theme, dress
from study.report.search import trial_marks
from study.report.search.trial_table import (
    COMPLETE,
    CUT,
    EARLY,
    OTHER,
    kind_of,
)
from study.report.store.records import ArmRecord

SEGMENTATION = ("val/dice_cine/", "val/dice_lge/")
OVERLAP = ("val/dice/",)

_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("solid", (0, (4, 2)), (0, (1.2, 1.4)))
_MARKS = {COMPLETE: "o", EARLY: "o", CUT: "D", OTHER: "x"}


@dataclass(frozen=True)
class Reached:
    """The best objective that one arm reached in one fold; NaN where no trial could be selected yet.

    Attributes:
        trials, minutes: the total effort; minutes are the sum over its trials.
        best: the best objective of all its trials.
        best_at_trials, best_at_minutes: the best objective after the trials, or minutes, of the arm that had fewest.
    """

    arm: str
    fold: int
    trials: int
    minutes: float
    best: float
    best_at_trials: float
    best_at_minutes: float


def best_so_far(arm: ArmRecord) -> pd.DataFrame:
    """Compute the best selectable objective after each trial, in the order of their start.

    Returns:
        A frame with the columns `trials` (1-based), `minutes` (sum over all trials so far; a trial that has not ended
        counts as 0), `best` (NaN before the first objective) and `kind`. Failed and interrupted trials add minutes but
        no objective.
    """
    lines = []
    best, minutes = math.nan, 0.0
    for count, trial in enumerate(arm.trials, start=1):
        minutes += trial.minutes if math.isfinite(trial.minutes) else 0.0
        if trial.finished and math.isfinite(trial.objective):
            cost = arm.ranked_by.cost
            best = trial.objective if math.isnan(best) or cost(trial.objective) < cost(best) else best
        lines.append((count, minutes, best, kind_of(trial)))
    return pd.DataFrame(lines, columns=["trials", "minutes", "best", "kind"])


def at_equal_effort(arms: Sequence[ArmRecord]) -> tuple[Reached, ...]:
    """Compute what each arm reached with the effort of the arm that had least. Arms without a trial are left out."""
    curves = [(arm, best_so_far(arm)) for arm in arms if arm.trials]
    trials = min((int(curve["trials"].iloc[-1]) for _, curve in curves), default=0)
    minutes = min((float(curve["minutes"].iloc[-1]) for _, curve in curves), default=0.0)
    found = []
    for arm, curve in curves:
        end = curve.iloc[-1]
        within = curve.loc[curve["minutes"] <= minutes * (1 + 1e-9), "best"]
        found.append(
            Reached(
                arm=arm.arm,
                fold=arm.fold,
                trials=int(end["trials"]),
                minutes=float(end["minutes"]),
                best=float(end["best"]),
                best_at_trials=float(curve["best"].iloc[trials - 1]),
                best_at_minutes=float(within.iloc[-1]) if len(within) else math.nan,
            )
        )
    return tuple(found)


def draw_effort(arms: Sequence[ArmRecord], theme: Theme = LIGHT) -> Figure | None:
    """Draw the best objective so far of all arms against trials and minutes; None where nothing could be selected.

    The colour shows the method, the dash pattern the number of training patients. A mark shows each trial that was
    better than all before: a filled dot for a complete trial, a hollow dot for one stopped early, and a diamond for one
    stopped by the time budget.
    """
    curves = [(arm, best_so_far(arm)) for arm in arms]
    values = np.concatenate([np.empty(0), *(curve["best"].to_numpy(dtype=float) for _, curve in curves)])
    if not np.isfinite(values).any():
        return None
    sizes = sorted({arm.train for arm in arms})
    figure = Figure(figsize=(7.6, 3.6), layout="constrained", facecolor="none")
    panels = [figure.add_subplot(1, 2, 1)]
    panels.append(figure.add_subplot(1, 2, 2, sharey=panels[0]))
    for axes, column, title in zip(panels, ("trials", "minutes"), ("Trials", "Minutes of all trials"), strict=True):
        dress(axes, theme)
        for arm, curve in curves:
            dashes = _DASHES[sizes.index(arm.train) % len(_DASHES)]
            _curve(axes, curve, column, theme.of_look(arm.look), dashes, arm.arm if arm.fold == 1 else "_", theme)
        axes.set_xlabel(title, fontsize=9, color=theme.ink)
        end = max(float(curve[column].max()) for _, curve in curves if len(curve))
        axes.set_xlim(-0.025 * end, 1.025 * end)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].tick_params(labelleft=False)
    objective = arms[0].ranked_by
    title = trial_marks.within(trial_marks.title_of(objective))
    panels[0].set_ylabel(f"Best {title}", fontsize=8.5, color=theme.ink)
    trial_marks.set_objective_axis(panels[0], values, objective, theme)
    handles, _ = panels[0].get_legend_handles_labels()
    marks = {
        "complete": (COMPLETE, theme.before),
        "stopped early": (EARLY, theme.paper),
        "stopped by the time budget": (CUT, theme.paper),
    }
    handles += [
        Line2D([], [], linestyle="", marker=_MARKS[kind], markersize=5, markerfacecolor=face,
               markeredgecolor=theme.before, label=label)
        for label, (kind, face) in marks.items()
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper left", ncols=5, fontsize=7.5, frameon=False, labelcolor=theme.ink,
        borderpad=0.1,
    )  # fmt: skip
    return figure


def effort_alt(arms: Sequence[ArmRecord]) -> str:
    """Return the text alternative of the figure."""
    if not arms:
        return ""
    lines = [
        f"{one.arm}{f' fold {one.fold}' if one.fold > 1 else ''} {_number(one.best)} after {one.trials} trials and "
        f"{one.minutes:.0f} minutes"
        for one in at_equal_effort(arms)
    ]
    title = trial_marks.within(trial_marks.title_of(arms[0].ranked_by))
    return f"Best {title} so far against the number of trials and their minutes: {'; '.join(lines)}."


def effort_sentences(arms: Sequence[ArmRecord]) -> list[str]:
    """Return sentences that compare arms with the same number of training patients at equal effort."""
    lines = []
    for train in sorted({arm.train for arm in arms}):
        for fold in sorted({arm.fold for arm in arms}):
            own = [arm for arm in arms if arm.train == train and arm.fold == fold]
            found = at_equal_effort(own)
            if len(found) < 2:
                continue
            where = f"With {annotated(own)} patients" + (f", fold {fold}" if any(a.folds > 1 for a in arms) else "")
            spent = "; ".join(f"{one.arm} {one.trials} trials, {one.minutes:.0f} min" for one in found)
            same = "; ".join(
                f"{one.arm} {_number(one.best_at_trials)} and {_number(one.best_at_minutes)}" for one in found
            )
            text = f"{where}: {spent}. Best validation objective after {min(one.trials for one in found)} trials, and "
            lines.append(f"{text}after {min(one.minutes for one in found):.0f} min: {same}.")
    return lines


def _curve(axes: Axes, curve: pd.DataFrame, column: str, colour: str, dashes: object, label: str, theme: Theme) -> None:
    """Draw one arm's step curve, with a mark where a trial was better than all before."""
    seen = curve[curve["best"].notna()]
    if seen.empty:
        return
    axes.step(seen[column], seen["best"], where="post", color=colour, linewidth=1.6, linestyle=dashes, label=label)
    better = seen[seen["best"].diff() != 0]
    for kind, own in better.groupby("kind"):
        face = colour if kind == COMPLETE else theme.paper
        axes.scatter(
            own[column], own["best"], marker=_MARKS[str(kind)], s=26, facecolor=face, edgecolor=colour, linewidth=1.2,
            zorder=4,
        )  # fmt: skip


def _number(value: float) -> str:
    return "none yet" if math.isnan(value) else f"{value:.3f}"

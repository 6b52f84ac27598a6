"""The hyperparameter search: selected trials, warnings, figures of the search, and every trial."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.report.analysis import Analysis, objective_value
from study.report.figures import DARK, LIGHT, Picture, Theme, dress
from study.report.page import Block, Bullets, Details, Heading, Pictures, Section, Text
from study.report.search import importance
from study.report.search.effort import draw_effort, effort_alt, effort_sentences
from study.report.search.front import front_of, front_sentence, front_table
from study.report.search.importance import Importance
from study.report.search.parameter_figures import (
    draw_parallel,
    draw_slices,
    draw_triangle,
    parallel_alt,
    slices_alt,
    triangle_alt,
)
from study.report.search.selection_warnings import optimism_table, study_warnings
from study.report.search.tradeoff import draw_tradeoff, tradeoff_alt, tradeoff_note
from study.report.search.trial_marks import set_objective_axis, title_of
from study.report.search.trial_table import SearchParameter, search_parameters
from study.report.store.records import ArmRecord, StudyRecord
from study.report.tables import Table, number_or_empty, text_frame, text_row
from study.store_names import TIME_BUDGET

_CORE = ("lambda_1", "lambda_2", "lambda_3", "alpha")
_TRIALS_NOTE = (
    "Objective of each trial's best epoch, in the order of their start. Filled: complete; hollow: stopped "
    "early; hollow diamond: stopped by the time budget; cross or dashed line: failed or interrupted; ring: selected; "
    "step: best so far{}."
)
_DASHED = "; dashed line at 1: no better than no registration"


def search(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the selected trials, reasons for caution, and the figures of the search."""
    selected, front = selected_table(study), front_table(study) if study.objective.further else None
    cautions = (*_warm_starts(study), *study_warnings(study))
    blocks: list[Block] = []
    if selected.rows:
        blocks.append(selected)
    if front is not None and front.rows:
        blocks += [Heading("Pareto front"), Text(front_sentence(study)), front, front_pictures(analysis)]
    if cautions:
        blocks += [Heading("Reasons for caution"), Bullets(cautions)]
    if effort := study_pictures(study.arms):
        blocks += [Heading("All arms"), Pictures(effort, titled=True)]
    if any(arm.trials for arm in study.arms):
        note = _TRIALS_NOTE.format(_DASHED if study.objective.is_ratio else "")
        blocks += [Heading("Objective of every trial"), trial_pictures(study), Text(note, "note")]
    of_arms: list[Block] = []
    for name, records in analysis.arms.items():
        space = search_parameters(study.specification, records[0])
        if pictures := arm_pictures(records, space, importance.importance(records, space)):
            blocks_of_arm = (Pictures(pictures, titled=True),)
            of_arms.append(Details(f"{analysis.titles[name]} ({name})", blocks_of_arm, is_open=not of_arms))
    frames = {"optimism": optimism_table(study.arms), "trials": _trial_frame(study)}
    frames |= {table.name: text_frame(table) for table in (selected, front) if table is not None and table.rows}
    return Section("search", "Hyperparameter search", (*blocks, *of_arms) or (Text("No trial was started."),), frames)


def _warm_starts(study: StudyRecord) -> list[str]:
    """Return a sentence for each search that began with points of another study."""
    searches = [each for each in study.specification.get("searches", []) if each.get("warm_start")]
    return [
        f"The search {each.get('name')} was warm-started: it began with the best points of study "
        f"{each['warm_start']['study']}, whose trials are not counted in its effort."
        for each in searches
    ]


def study_pictures(arms: Sequence[ArmRecord]) -> tuple[Picture, ...]:
    """Return the figure that compares the arms at equal effort; empty where nothing could be selected."""
    alt, note = effort_alt(arms), " ".join(effort_sentences(arms))
    draw = partial(draw_effort, arms)
    return tuple(_picture("effort", "Best so far at equal effort", alt, note, draw))


def front_pictures(analysis: Analysis) -> Pictures:
    """Return the figure of the Pareto front of each arm that has one."""
    return Pictures(
        tuple(
            picture
            for name, arms in analysis.arms.items()
            for picture in _picture(
                f"{name}-front", name, tradeoff_alt(arms), tradeoff_note(arms), partial(draw_tradeoff, arms)
            )
        ),
        titled=True,
    )


def arm_pictures(
    arms: Sequence[ArmRecord], space: Sequence[SearchParameter], shares: Importance
) -> tuple[Picture, ...]:
    """Return the figures of one arm's search. Those without data are left out.

    Args:
        arms: the records of one arm, one per fold; at least one.
        space: the searched parameters.
        shares: the importance of the parameters.
    """
    name = arms[0].arm
    pareto = arms[0].ranked_by.further  # a front has its own place
    return (
        *_picture(
            f"{name}-importance",
            "Which parameters matter",
            importance.alt(shares),
            importance.note(shares),
            lambda theme: importance.draw(shares, theme, theme.of_look(arms[0].look)),
        ),
        *_picture(
            f"{name}-slices",
            "Each parameter by itself",
            slices_alt(arms, space),
            "",
            partial(draw_slices, arms, space),
        ),
        *_picture(
            f"{name}-lambdas",
            "Proportions of the loss weights",
            triangle_alt(arms),
            "",
            partial(draw_triangle, arms, space),
        ),
        *_picture(
            f"{name}-parallel",
            "All parameters together",
            parallel_alt(arms, space),
            "",
            partial(draw_parallel, arms, space),
        ),
        *_picture(
            f"{name}-tradeoff",
            "Registration against Dice",
            tradeoff_alt(arms),
            tradeoff_note(arms),
            lambda theme: None if pareto else draw_tradeoff(arms, theme),
        ),
    )


def selected_table(study: StudyRecord) -> Table:
    """Return each arm's selected trial with its sampled parameters and its objective on validation and test."""
    chosen = [(arm, trial) for arm in study.arms if (trial := arm.selected) is not None]
    drawn = {name: None for arm, _ in chosen for name in (arm.selection or {}).get("parameters", {})}
    names = [*_CORE, *(name for name in drawn if name not in _CORE)]
    rows = []
    for arm, trial in chosen:
        values = {**(arm.selection or {}).get("parameters", {}), **trial.parameters}
        tested = objective_value(arm.ranked_by, arm.rows)
        objective = (arm.selection or {}).get("objective", math.nan)
        words = [f"{arm.arm}, fold {arm.fold}" if arm.folds > 1 else arm.arm, trial.trial_id, trial.ending]
        words += [str(trial.best_epoch), number_or_empty(float(objective), 3), number_or_empty(tested, 3)]
        words += [_value(values.get(name)) for name in names]
        rows.append(text_row(words, trial.run_id))
    unit = f" ({study.objective.unit})" if study.objective.unit else ""
    objective = (f"Objective{unit}, validation", f"Objective{unit}, test")
    header = ("Trial", "How it ended", "Epoch", *objective, *names)
    return Table("selected", "The selected trials.", header, tuple(rows), "Arm")


def trial_pictures(study: StudyRecord) -> Pictures:
    """Return one picture per arm and fold with the objective of every trial, and one of all arms for the files."""
    tried, objective = [arm for arm in study.arms if arm.trials], title_of(study.objective)

    def one(arm: ArmRecord) -> Picture:
        name = f"{arm.arm}-fold-{arm.fold}" if arm.folds > 1 else arm.arm
        alt = f"{objective} of the {len(arm.trials)} trials of {name}; the values are in trials.csv."
        return Picture(f"trials-{name}", "", alt, "", lambda theme: draw_trials([arm], theme, study.arms))

    together = Picture("trials", "", "Objective of every trial", "", lambda theme: draw_trials(tried, theme))
    return Pictures(tuple(one(arm) for arm in tried), combined=together)


def draw_trials(arms: Sequence[ArmRecord], theme: Theme = LIGHT, scale_of: Sequence[ArmRecord] | None = None) -> Figure:
    """Draw the objective of every trial in the order of their start, and the best so far, one panel per arm.

    Args:
        arms: the arms, one panel each.
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
            axes.set_ylabel(title_of(arm.ranked_by), fontsize=9, color=theme.ink)
    values = [trial.objective for arm in scale_of or arms for trial in arm.trials]
    for axes in figure.axes:
        set_objective_axis(axes, np.array(values, dtype=float), arms[0].ranked_by, theme)
    return figure


def _trial_dots(axes: Axes, arm: ArmRecord, theme: Theme) -> None:
    """Draw one arm's trials.

    Complete trials are filled dots, trials stopped early hollow dots, and trials stopped by the time budget hollow
    diamonds. All others are crosses. A ring marks the selected trial.
    """
    colour = theme.of_look(arm.look)
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
            best.append((place, min([value, *(known for _, known in best)], key=arm.ranked_by.cost)))
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
    axes.set_xlim(0.4, max(len(arm.trials), 2) + 0.6)
    names = [trial.trial_id for trial in arm.trials]
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(lambda at, _: names[round(at) - 1] if 1 <= round(at) <= len(names) else "")


def _picture(name: str, title: str, alt: str, note: str, draw: Callable[[Theme], Figure | None]) -> list[Picture]:
    """Return a figure as a picture of the page; empty where there is nothing to draw."""
    figures = {theme: figure for theme in (LIGHT, DARK) if (figure := draw(theme)) is not None}
    return [Picture(f"search-{name}", title, alt, note, figures.__getitem__)] if figures else []


def _trial_frame(study: StudyRecord) -> pd.DataFrame:
    """Return a frame with all trials of all arms, in the order of their start."""
    lines = []
    for arm in study.arms:
        front = [trial.run_id for trial in front_of(arm)] if study.objective.further else []
        for trial in arm.trials:
            head = {"arm": arm.arm, "fold": arm.fold, "trial": trial.trial_id, "state": trial.state}
            tail = {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "minutes": trial.minutes}
            head["objective"] = trial.objective
            if study.objective.further:
                head |= {each.metric: trial.validation.get(each.metric, math.nan) for each in study.objective.further}
                head["front"] = trial.run_id in front
            head_and_values: Mapping[str, object] = {**head, **tail, **trial.parameters}
            lines.append({**head_and_values, "reason": trial.reason, "run_id": trial.run_id})
    return pd.DataFrame(lines, columns=None if lines else ["arm", "fold", "trial", "state", "objective"])


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

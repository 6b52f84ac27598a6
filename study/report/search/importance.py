"""Parameter importance: functional ANOVA of a random forest, compared with shuffled copies of the parameters.

F. Hutter, H. Hoos, K. Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014. A
forest also fits noise: of five parameters without effect, one easily gets a quarter of the variance. So every fit
includes a shuffled copy of each parameter (M. Kursa, W. Rudnicki, "Feature selection with the Boruta package", 2010).
A share counts as more than chance only above the largest share of the copies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from study.report.figures import LIGHT, Theme, dress
from study.report.search.trial_table import SearchParameter, complete, fewest_complete, trial_table
from study.report.store.records import ArmRecord

FOLD = "fold"
FITS = 10
TREES, DEPTH = 16, 5
CHANCE = 0.95
"""Quantile over the fits of the largest share of a shuffled copy. A parameter's share must exceed it."""


@dataclass(frozen=True)
class Share:
    """The share of the objective's variance that one parameter explains alone, and the share expected by chance."""

    name: str
    title: str
    share: float
    chance: float

    @property
    def above_chance(self) -> bool:
        """Whether the share is above that expected by chance."""
        return self.share > self.chance


@dataclass(frozen=True)
class Importance:
    """The shares, largest first, or the reason why there are none.

    Attributes:
        trials: number of complete trials used.
        left_out: number of other trials: not complete, without an objective, or without a parameter value.
        folds: number of folds that were pooled.
        reason: why importance is not shown; empty where it is.
        conditional: parameters that are left out, because they are drawn in some trials only.
    """

    shares: tuple[Share, ...]
    trials: int
    left_out: int
    folds: int
    reason: str = ""
    conditional: tuple[str, ...] = ()


def importance(arms: Sequence[ArmRecord], space: Sequence[SearchParameter], seed: int = 0) -> Importance:
    """Compute the share of the objective's variance over complete trials that each searched parameter explains.

    Trials that were stopped early are left out, because their objective comes from fewer epochs. Trials of several
    folds are pooled, and the fold is an additional parameter, so that a fold with easier patients is not mistaken for
    better settings. Where all objectives are positive and low ones are good, as of ratios and distances, their
    logarithm is explained.

    Args:
        arms: the records of one arm, one per fold.
        space: the searched parameters.
        seed: seed of the forests and the shuffling.
    """
    conditional = tuple(one.name for one in space if one.conditional)
    space = [one for one in space if not one.conditional]
    table = trial_table(arms, space)
    usable = complete(table).dropna(subset=[one.name for one in space])
    folds = int(usable["fold"].nunique())
    counts = (len(usable), len(table) - len(usable), folds)
    reason = _why_not(usable, space)
    if reason:
        return Importance((), *counts, reason, conditional)
    values = usable["objective"].to_numpy(dtype=float)
    target = np.log(values) if (values > 0).all() and arms[0].ranked_by.minimizes else values
    drawn = pd.DataFrame({one.name: np.clip(one.position(usable[one.name]), 0, 1) for one in space})
    if folds > 1:
        drawn[FOLD] = usable["fold"].astype(str).to_numpy()
    real, shuffled = _shares(drawn, target, seed)
    chance = float(np.quantile(shuffled.max(axis=1), CHANCE))
    titles = {one.name: one.title for one in space} | {FOLD: "test fold"}
    shares = [Share(str(name), titles[str(name)], float(part), chance) for name, part in zip(drawn, real, strict=True)]
    return Importance(tuple(sorted(shares, key=lambda one: -one.share)), *counts, conditional=conditional)


def draw(result: Importance, theme: Theme = LIGHT, colour: str | None = None) -> Figure | None:
    """Draw the shares as bars, with a line at the share expected by chance. Bars not above that line are pale."""
    if not result.shares:
        return None
    colour = colour or theme.of_look(0)
    figure = Figure(figsize=(5.2, 1.25 + 0.36 * len(result.shares)), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    places = np.arange(len(result.shares))[::-1]
    for place, one in zip(places, result.shares, strict=True):
        face = colour if one.above_chance else (colour, 0.3)
        axes.barh(place, one.share, height=0.62, facecolor=face, edgecolor=colour, linewidth=1, zorder=2)
        axes.text(
            max(one.share, one.chance) + 0.015, place, f"{one.share:.0%}", va="center", fontsize=8, color=theme.ink
        )
    line = axes.axvline(result.shares[0].chance, color=theme.ink, linewidth=1, linestyle=(0, (3, 2)), zorder=3)
    dress(axes, theme)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(places, [one.title for one in result.shares], fontsize=9)
    axes.set_xlim(0, min(1.12, max(max(one.share, one.chance) for one in result.shares) * 1.15 + 0.06))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel(f"Variance explained, {result.trials} complete trials", fontsize=9, color=theme.ink)
    key = Line2D([], [], color=line.get_color(), linewidth=1, linestyle=(0, (3, 2)), label="expected by chance")
    figure.legend(
        handles=[key], loc="outside upper left", fontsize=7.5, frameon=False, labelcolor=theme.ink, borderpad=0.1
    )
    return figure


def note(result: Importance) -> str:
    """Return the note that explains the shares, or why they are not shown."""
    if result.reason:
        return f"Importance is not shown: {result.reason}."
    text = f"Share of the objective's variance over {result.trials} complete trials that a parameter explains alone"
    text += f" (fANOVA, {FITS} forests); {result.left_out} trials that did not train all their epochs are left out, "
    text += "so the shares hold among the trials that early stopping did not stop. The line is the largest share that "
    text += "shuffled copies of the parameters reach by chance; a share below it is no evidence of an effect."
    if result.folds > 1:
        text += f" Trials of {result.folds} test folds are pooled; the fold is a parameter of its own."
    if result.conditional:
        text += f" Left out, because drawn in some trials only: {', '.join(result.conditional)}."
    return text


def alt(result: Importance) -> str:
    """Return the text alternative of the figure."""
    parts = [f"{one.name} {one.share:.0%}{'' if one.above_chance else ' (not above chance)'}" for one in result.shares]
    return f"Bars: share of the objective's variance that each parameter explains; {', '.join(parts)}."


def _why_not(usable: pd.DataFrame, space: Sequence[SearchParameter]) -> str:
    """Return the reason why importance cannot be computed; empty where it can."""
    fewest = fewest_complete(space)
    if not space:
        return "the store has no searched parameter"
    if len(usable) < fewest:
        return (
            f"{len(usable)} complete {'trial' if len(usable) == 1 else 'trials'}, fewer than {fewest} "
            f"for {len(space)} {'parameter' if len(space) == 1 else 'parameters'}"
        )
    if np.ptp(usable["objective"].to_numpy()) == 0:
        return "all complete trials have the same objective"
    return ""


def _shares(drawn: pd.DataFrame, target: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each column's mean share over the fits, (columns,), and the shares of its copies, (fits, columns)."""
    names = [str(name) for name in drawn]
    distributions: dict[str, BaseDistribution] = {}
    for name in names:
        folds = sorted(set(drawn[name])) if name == FOLD else []
        own = CategoricalDistribution(folds) if folds else FloatDistribution(0.0, 1.0)
        distributions |= {name: own, f"shuffled {name}": own}
    random = np.random.default_rng(seed)
    real, shuffled = [], []
    for fit in range(FITS):
        copies = {f"shuffled {name}": random.permutation(drawn[name].to_numpy()) for name in names}
        columns = drawn.assign(**copies).to_dict("records")
        study = _study()
        study.add_trials(
            [
                optuna.trial.create_trial(params=params, distributions=distributions, value=float(value))
                for params, value in zip(columns, target, strict=True)
            ]
        )
        shares = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed + fit).evaluate(study)
        real.append([shares[name] for name in names])
        shuffled.append([shares[f"shuffled {name}"] for name in names])
    return np.mean(real, axis=0), np.array(shuffled)


def _study() -> optuna.Study:
    """Create an empty Optuna study in memory without the log message of Optuna."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study()
    finally:
        optuna.logging.set_verbosity(before)

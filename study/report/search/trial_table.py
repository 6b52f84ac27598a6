"""The searched parameters and the table of trials, which are the data of all figures of the search."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study.report.store.records import ArmRecord, TrialRecord
from study.store_names import TIME_BUDGET

LAMBDAS = ("lambda_1", "lambda_2", "lambda_3")
COMPLETE, EARLY, CUT, OTHER = "complete", "early", "cut", "other"
KINDS = (COMPLETE, EARLY, CUT, OTHER)
"""Kinds of trials: all epochs trained; stopped early; stopped by the time budget; failed, interrupted or running."""
FEWEST_COMPLETE = 15
FEWEST_PER_PARAMETER = 5

_TITLES = {
    "alpha": r"$\alpha$",
    "lambda_2_to_1": r"$\lambda_2\,/\,\lambda_1$",
    "lambda_3_to_1": r"$\lambda_3\,/\,\lambda_1$",
}
_FIRST = ("alpha", "lambda_2_to_1", "lambda_3_to_1")


@dataclass(frozen=True)
class SearchParameter:
    """One searched parameter: its bounds, both inclusive, and whether it was sampled on a logarithmic scale.

    Attributes:
        choices: the texts of its values where it is no range. Their numbers are their places, from `low` = 0 to `high`.
        conditional: whether it was drawn in some trials only.
    """

    name: str
    low: float
    high: float
    log: bool
    choices: tuple[str, ...] = ()
    conditional: bool = False

    def number(self, value: Any) -> float:
        """Return a trial's value as a number, the place of a choice; NaN where there is none."""
        if not self.choices:
            return _number(value)
        return float(self.choices.index(_text(value))) if _text(value) in self.choices else math.nan

    def text(self, number: float) -> str:
        """Return the text of such a number."""
        if self.choices and math.isfinite(number):
            return self.choices[round(number)]
        return f"{number:.3g}"

    @property
    def extent(self) -> str:
        """The values as text, such as `0.1 to 10, log`."""
        return ", ".join(self.choices) or f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"

    def position(self, values: Any) -> np.ndarray:
        """Return the positions of values between the bounds on the parameter's own scale: 0 at `low`, 1 at `high`."""
        numbers = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            numbers, low, high = np.log(np.where(numbers > 0, numbers, np.nan)), math.log(low), math.log(high)
        return (numbers - low) / (high - low) if high > low else np.where(np.isnan(numbers), np.nan, 0.5)

    @property
    def title(self) -> str:
        """The name in figures: Greek for alpha and the ratios of loss weights, else the last part of the key."""
        return _TITLES.get(self.name, self.name.replace(":", ".").rpartition(".")[2].replace("_", " "))


def search_parameters(specification: Mapping[str, Any], arm: ArmRecord) -> tuple[SearchParameter, ...]:
    """Return the parameters that the arm's search sampled, alpha and loss-weight ratios first.

    The result is empty where the specification has none.
    """
    planned = [entry for entry in specification.get("arms", []) if entry.get("arm") == arm.arm]
    search, method = (planned[0].get("search"), planned[0].get("method", arm.model)) if planned else (None, arm.model)
    spaces = [space for space in specification.get("searches", []) if space.get("name") == search]
    drawn = spaces[0].get("parameters", {}) if spaces else {}
    found = [
        _parameter(name, entry)
        for name, entry in drawn.items()
        if method in entry.get("methods", entry.get("models", [method]))
    ]
    return tuple(sorted(found, key=lambda one: _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST)))


def _parameter(name: str, entry: Mapping[str, Any]) -> SearchParameter:
    """Return a parameter of the specification."""
    conditional = bool(entry.get("when"))
    if "choices" in entry:
        choices = tuple(map(_text, entry["choices"]))
        return SearchParameter(name, 0.0, len(choices) - 1.0, False, choices, conditional)
    log = entry.get("scale") == "log"
    return SearchParameter(name, float(entry["low"]), float(entry["high"]), log, (), conditional)


def kind_of(trial: TrialRecord) -> str:
    """Return the kind of a trial, one of `KINDS`."""
    if trial.state == "complete":
        return COMPLETE
    if trial.state == "stopped":
        return CUT if trial.reason == TIME_BUDGET else EARLY
    return OTHER


def trial_table(arms: Sequence[ArmRecord], space: Sequence[SearchParameter] = ()) -> pd.DataFrame:
    """Return the trials of one arm's folds, one per line, by fold and in the order of their start.

    Returns:
        A frame with the columns `fold, trial, kind, ending, objective, minutes, selected, lambda_1, lambda_2, lambda_3`
        and one per parameter of `space`. The objective is NaN where it is not finite. A parameter is the place of its
        choice, or NaN where the trial has none or no finite number.
    """
    numbers: dict[str, Callable[[Any], float]] = dict.fromkeys(LAMBDAS, _number) | {
        one.name: one.number for one in space
    }
    names = list(numbers)
    lines = []
    for arm in arms:
        chosen = arm.selected
        for trial in arm.trials:
            values = {name: number(trial.parameters.get(name)) for name, number in numbers.items()}
            lines.append(
                {
                    "fold": arm.fold,
                    "trial": trial.trial_id,
                    "kind": kind_of(trial),
                    "ending": trial.ending,
                    "objective": trial.objective if math.isfinite(trial.objective) else math.nan,
                    "minutes": trial.minutes,
                    "selected": chosen is not None and trial.run_id == chosen.run_id,
                    **values,
                }
            )
    head = ["fold", "trial", "kind", "ending", "objective", "minutes", "selected"]
    table = pd.DataFrame(lines, columns=[*head, *names])
    return table.astype({"selected": bool} | dict.fromkeys(("objective", "minutes", *names), float))


def several_folds(table: pd.DataFrame) -> bool:
    """Return whether the trials belong to more than one fold."""
    return len(set(table["fold"])) > 1


def complete(table: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that trained all their epochs and have an objective."""
    return table[(table["kind"] == COMPLETE) & table["objective"].notna()]


def fewest_complete(space: Sequence[SearchParameter]) -> int:
    """Return the minimum number of complete trials for the importance of the parameters in `space` to be shown."""
    return max(FEWEST_COMPLETE, FEWEST_PER_PARAMETER * len(space))


def endings_text(table: pd.DataFrame) -> str:
    """Return the number of trials per ending, such as `40 complete, 18 stopped early`."""
    counts = table["ending"].value_counts()
    return ", ".join(f"{counts[name]} {name}" for name in sorted(counts.index)) or "no trial"


def _text(value: Any) -> str:
    """Return a choice as text: of a specification in JSON, or as a tracking store holds it, numbers as floats."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else math.nan

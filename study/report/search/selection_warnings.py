"""Warnings about the results of a search, in sentences: bounds, disagreement, few trials, optimism."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from jointnet.train.objective import Objective
from study.report.analysis import objective_value
from study.report.search.trial_table import SearchParameter, complete, fewest_complete, search_parameters, trial_table
from study.report.store.records import ArmRecord, StudyRecord

NOISE_SD = 0.015
"""SD of the registration ratio between trainings that differ only in their seed. It is assumed, not measured.

That of other objectives is not known, so there are no warnings that need it."""
NEAR = 0.02
"""A value within this fraction of the range from a bound counts as on the bound, on the parameter's own scale."""
TOP = 0.1
FEWEST_TOP = 3
WIDE = 0.5
"""Fraction of a parameter's range. If the best trials spread over more, they do not agree on the parameter."""
_ENDS = {"alpha": (0.0, 1.0)}
"""Bounds beyond which no values are possible."""


@dataclass(frozen=True)
class Optimism:
    """The difference of the selected trial's objective between validation and test, and the effect of selection alone.

    Attributes:
        candidates: number of trials that the selected one was the best of.
        validation, test: its objective. Test is NaN before the test evaluation; with retrainings it is the objective of
            their averaged values.
        expected: by how much the best of that many equally good candidates is expected to look better than it is; NaN
            where the noise between seeds is not known.
        objective: what it is.
    """

    arm: str
    fold: int
    candidates: int
    validation: float
    test: float
    expected: float
    objective: Objective

    @property
    def difference(self) -> float:
        """Test minus validation."""
        return self.test - self.validation


@cache
def expected_maximum(count: int) -> float:
    """Compute the expected maximum of `count` independent standard normal values; 0 for none and for one.

    E = integral of x d(Phi(x)^count), integrated by parts and with the trapezoidal rule, exact to 1e-6.
    """
    if count < 2:
        return 0.0
    x = np.linspace(-9.0, 9.0, 7201)
    phi = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    power = phi**count
    return float(np.trapezoid(1.0 - power[x >= 0], x[x >= 0]) - np.trapezoid(power[x <= 0], x[x <= 0]))


def optimism(arm: ArmRecord) -> Optimism | None:
    """Compute the optimism of the selection of an arm (of one fold); None where nothing was selected."""
    selected = arm.selected
    if selected is None or not math.isfinite(selected.objective):
        return None
    count = sum(trial.finished and math.isfinite(trial.objective) for trial in arm.trials)
    test = objective_value(arm.ranked_by, arm.rows)
    expected = expected_maximum(count) * NOISE_SD if arm.ranked_by.is_ratio else math.nan
    return Optimism(arm.arm, arm.fold, count, selected.objective, test, expected, arm.ranked_by)


def optimism_table(arms: Sequence[ArmRecord]) -> pd.DataFrame:
    """Return one line per arm and fold: `arm, fold, candidates, validation, test, difference, expected`."""
    found = [one for arm in arms if (one := optimism(arm)) is not None]
    columns = ["arm", "fold", "candidates", "validation", "test", "difference", "expected"]
    return pd.DataFrame([[getattr(one, name) for name in columns] for one in found], columns=columns)


def warnings(arm: ArmRecord, space: Sequence[SearchParameter]) -> list[str]:
    """Return sentences on why the selected trial may not be the best setting.

    Args:
        arm: one arm (of one fold).
        space: the searched parameters.
    """
    if not arm.trials:
        return []
    lines = [doubt.sentence for doubt in _doubts(arm, space)]
    found = optimism(arm)
    if found is not None:
        lines.append(_optimism_text(found))
    name = f"{arm.arm}, fold {arm.fold}" if arm.folds > 1 else arm.arm
    return [f"{name}: {line}" for line in lines]


def doubts(arm: ArmRecord, space: Sequence[SearchParameter]) -> list[str]:
    """Return the same reasons in a few words each, without the optimism: `4 complete trials`, `alpha on its bound`."""
    return [doubt.short for doubt in _doubts(arm, space)] if arm.trials else []


def study_warnings(study: StudyRecord) -> list[str]:
    """Return the sentences of `warnings` about all arms of a study."""
    return [line for arm in study.arms for line in warnings(arm, search_parameters(study.specification, arm))]


def on_bound(parameter: SearchParameter, value: float) -> float | None:
    """Return the bound that a value is on, to within `NEAR` of the range on the parameter's scale; None for neither."""
    place = float(parameter.position(value))
    if parameter.high <= parameter.low or not math.isfinite(place):
        return None
    if place <= NEAR:
        return parameter.low
    return parameter.high if place >= 1 - NEAR else None


def undetermined(table: pd.DataFrame, space: Sequence[SearchParameter]) -> tuple[int, dict[str, float]]:
    """Return the parameters on which the best complete trials differ although they are equally good.

    The best trials are the fraction `TOP` of the complete trials, at least `FEWEST_TOP`, and all that tie with the last
    of these. They are equally good where their objectives differ by at most two SD of the noise between seeds.

    Returns:
        The number of best trials, and by parameter name the fraction of the range that they spread over, where it is
        above `WIDE`.
    """
    usable = complete(table)
    count = max(FEWEST_TOP, math.ceil(TOP * len(usable)))
    best = usable.nsmallest(count, "objective", keep="all")
    if len(best) < FEWEST_TOP or np.ptp(best["objective"].to_numpy()) > 2 * NOISE_SD:
        return len(best), {}
    spread = {
        one.name: float(np.ptp(one.position(best[one.name].dropna()))) for one in space if best[one.name].notna().any()
    }
    return len(best), {name: part for name, part in spread.items() if part > WIDE}


@dataclass(frozen=True)
class _Doubt:
    """A reason why the selected trial may not be the best setting, in a few words and as a sentence."""

    short: str
    sentence: str


def _doubts(arm: ArmRecord, space: Sequence[SearchParameter]) -> list[_Doubt]:
    table = trial_table([arm], space)
    found = [*_few(table, space), *_early(arm), *_bounds(arm, space)]
    return [*found, *_disagreement(table, space)] if arm.ranked_by.is_ratio else found


def _few(table: pd.DataFrame, space: Sequence[SearchParameter]) -> list[_Doubt]:
    count, fewest = len(complete(table)), fewest_complete(space)
    if count >= fewest:
        return []
    trained = f"{count or 'none'} of {len(table)} {'trial' if len(table) == 1 else 'trials'} trained all epochs"
    short = f"only {count} complete {'trial' if count == 1 else 'trials'}" if count else "no complete trial"
    return [_Doubt(short, f"{trained}, fewer than {fewest}: little can be said about which settings are good.")]


def _early(arm: ArmRecord) -> list[_Doubt]:
    selected = arm.selected
    if selected is None or selected.state == "complete":
        return []
    return [
        _Doubt(
            f"the winner was {selected.ending}",
            f"the selected trial did not train all epochs ({selected.ending} after {selected.epochs}); "
            "longer trained, it and others might rank otherwise.",
        )
    ]


def _bounds(arm: ArmRecord, space: Sequence[SearchParameter]) -> list[_Doubt]:
    """Return the doubts about the values of the selected trial that lie on a bound."""
    selected = arm.selected
    lines = []
    for one in space if selected is not None else ():
        value = selected.parameters.get(one.name) if selected is not None else None
        bound = on_bound(one, value) if isinstance(value, float) and not one.choices else None
        if bound is None:
            continue
        end = bound in _ENDS.get(one.name, ())
        further = "the end of what is possible" if end else "the best may lie beyond it"
        sentence = f"{one.name} of the selected trial, {value:.3g}, is on the bound {bound:g} of the search: {further}."
        lines.append(_Doubt(f"{one.name.rpartition('.')[2]} on its bound", sentence))
    return lines


def _disagreement(table: pd.DataFrame, space: Sequence[SearchParameter]) -> list[_Doubt]:
    count, wide = undetermined(table, space)
    if not wide:
        return []
    names = ", ".join(f"{name} ({part:.0%} of its range)" for name, part in wide.items())
    return [
        _Doubt(
            f"the best {count} trials do not agree on {', '.join(name.rpartition('.')[2] for name in wide)}",
            f"the best {count} complete trials are equally good (within {2 * NOISE_SD:.3f}) but do not agree on "
            f"{names}: the search does not determine these.",
        )
    ]


def _optimism_text(found: Optimism) -> str:
    own = found.objective
    text = f"the selected trial's objective on validation is {own.text(found.validation)}"
    if math.isfinite(found.test):
        direction = "worse" if own.cost(found.difference) > 0 else "better"
        text += f", on test {own.text(found.test)}, {own.text(abs(found.difference))} {direction} (other patients)"
    if found.candidates > 1 and math.isfinite(found.expected):
        text += f"; as the best of {found.candidates} it is expected to look about {found.expected:.3f} better than "
        text += f"it is (if all are equally good and seeds differ by an SD of {NOISE_SD:g})"
    return f"{text}."

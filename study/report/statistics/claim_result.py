"""The result of one claim in one endpoint, and its text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from study.report.mean_tables import REGISTRATION
from study.report.statistics.comparisons import Comparison, comparison_line
from study.report.statistics.deciding import ONE_SPLIT, ONE_TRAINING
from study.report.statistics.paired import CONFIDENCE
from study.report.tables import number

NOT_INFERIOR, SUPERIOR = "not inferior", "superior"
SUPPORTED, REFUTED, INCONCLUSIVE = VERDICTS = "supported", "refuted", "inconclusive"
NOT_JUDGED = "not judged, "
"""A verdict that begins with this ends with what the result holds for."""
ESTIMATED, GIVEN, NO_MARGIN, NO_EFFECT = "estimated", "given", "none", "no effect"
TITLES = {(column.metric, column.structure): column.title for column in REGISTRATION}
_LEVEL = f"{CONFIDENCE:.0%}".replace("%", " %")
WHAT_TO_RUN = "`--folds 5 --seeds 3`"
"""The options of `study.run` that a claim needs."""


@dataclass(frozen=True)
class ClaimResult:
    """One claim in one endpoint. Every difference is in mm, and lower is better.

    Attributes:
        claim: `not inferior` or `superior`.
        metric, structure: the endpoint.
        primary: whether it is the primary endpoint, which decides the claim.
        joint: the arm that the claim is about.
        standalone: the arm that it is compared with.
        standalone_small: the stand-alone arm with as many training patients as the joint arm. An estimated margin is
            computed from it.
        annotated: numbers of annotated patients that these two need.
        comparability: the sentences about these patients, and what the two arms differ in besides the question.
        difference: joint minus stand-alone.
        gain: decrease of the stand-alone model's error with more training patients, small minus large; None where the
            margin is not estimated. Its p values and those of `difference` are not adjusted.
        margin_mm: by how much the joint model may be worse; 0 for superiority, NaN where no margin exists.
        margin_source: `estimated` from the same patients, `given` in the search file, `none` where there is no margin,
            or `no effect` for the margin 0 of superiority.
        contrast: difference minus margin for each patient, with all intervals; Holm over all endpoints.
        verdict: `supported`, `refuted` or `inconclusive`; `not judged, this split only` or `not judged, these models
            only` where the study has no folds or no retrainings, so that nothing is known of other training sets or
            seeds.
        reason: why the claim could not be judged, or is inconclusive although its interval excludes 0; empty otherwise.
    """

    claim: str
    metric: str
    structure: str
    primary: bool
    joint: str
    standalone: str
    standalone_small: str
    annotated: tuple[int, int]
    comparability: str
    difference: Comparison
    gain: Comparison | None
    margin_mm: float
    margin_source: str
    contrast: Comparison
    verdict: str
    reason: str

    @property
    def statement(self) -> str:
        """The claim itself, such as `joint-25 is not inferior to standalone-35 in LV CD`."""
        return f"{self.joint} is {self.claim} to {self.standalone} in {TITLES[self.metric, self.structure]}"

    @property
    def sentence(self) -> str:
        """The verdict with the difference, the margin and the deciding interval."""
        role = "primary endpoint" if self.primary else "secondary endpoint"
        head = f"{self.statement} ({role}): {self.verdict}."
        if math.isnan(self.difference.test.difference):
            return f"{head} It cannot be judged: {self.reason}."
        parts = [head, self.comparability, _difference(self), _margin(self), _decision(self), _undetected(self)]
        parts.append(_advice(self))
        return " ".join(part for part in parts if part)


def claims_frame(results: Sequence[ClaimResult]) -> pd.DataFrame:
    """Return one line per claim, unrounded, for a CSV file. Columns of the contrast begin with `contrast_`."""
    lines = []
    for result in results:
        gain = result.gain
        line: dict[str, object] = {
            "claim": result.claim,
            "metric": result.metric,
            "structure": result.structure,
            "primary": result.primary,
            "joint": result.joint,
            "standalone": result.standalone,
            "joint_annotated": result.annotated[0],
            "standalone_annotated": result.annotated[1],
            "verdict": result.verdict,
            "n": result.difference.test.patients,
            "difference_mm": result.difference.test.difference,
            "difference_low": result.difference.deciding.low,
            "difference_high": result.difference.deciding.high,
            "gain_mm": None if gain is None else gain.test.difference,
            "gain_low": None if gain is None else gain.deciding.low,
            "gain_high": None if gain is None else gain.deciding.high,
            "margin_mm": result.margin_mm,
            "margin_source": result.margin_source,
            "verdict_reason": result.reason,
            "sentence": result.sentence,
        }
        contrast = comparison_line(result.contrast)
        line |= {f"contrast_{name}": value for name, value in contrast.items() if name not in ("metric", "structure")}
        lines.append(line)
    return pd.DataFrame(lines)


def _difference(result: ClaimResult) -> str:
    one = result.difference
    mean = f"{result.joint} minus {result.standalone} is {_mm(one.test.difference)} on average"
    return f"{mean} over {one.test.patients} patients{_bounds(one)}."


def _margin(result: ClaimResult) -> str:
    """Return the sentence about the margin and its source; empty for superiority."""
    if result.claim == SUPERIOR:
        return ""
    if result.gain is None:
        return f"The margin, {_mm(result.margin_mm)}, was given before the study."
    gain = result.gain
    size = f"{_mm(gain.test.difference)}{_bounds(gain)}"
    if result.margin_source == NO_MARGIN:
        return (
            f"The stand-alone model gained nothing from more training patients: {size} from {result.standalone_small} "
            f"to {result.standalone}. So there is no margin, and the claim cannot be decided."
        )
    text = (
        f"The margin is {_mm(result.margin_mm)}, half of the {size} that the stand-alone model gains from "
        f"{result.standalone_small} to {result.standalone}; it is estimated from the same patients, and the next "
        "interval includes its uncertainty."
    )
    if not gain.reason and gain.deciding.low <= 0:
        text += " The gain itself is not shown to be more than 0."
    return text


def _decision(result: ClaimResult) -> str:
    """Return the sentence with the deciding interval and its position relative to the margin."""
    if result.margin_source == NO_MARGIN:
        return ""
    test, interval = result.contrast.test, result.contrast.deciding
    if test.reason:
        return f"It cannot be judged: {result.reason}."
    side = "below 0" if interval.high < 0 else "above 0" if interval.low > 0 else "on both sides of 0"
    if result.claim == SUPERIOR:
        text = f"The interval lies {side}"
    else:
        text = f"Difference minus margin is {_mm(test.difference)}{_bounds(result.contrast)}: {side}"
    if interval.over == "folds":
        text += f"; for the models at hand, over patients alone, it is {number(test.low)} to {_mm(test.high)}"
    return f"{text}. But {result.reason}." if result.reason else f"{text}."


def _undetected(result: ClaimResult) -> str:
    """Return the sentence with the detectable difference; empty where the interval excludes 0 or decides nothing."""
    interval = result.contrast.deciding
    if result.verdict not in VERDICTS or result.contrast.reason or not interval.low <= 0 <= interval.high:
        return ""
    away = "difference" if result.claim == SUPERIOR else "distance from the margin"
    return f"Of studies of this size and spread, 80 % would find a true {away} of {_mm(interval.detectable)}."


def _advice(result: ClaimResult) -> str:
    """Return the sentence that says why a result holds for its models only, and what to run; empty otherwise."""
    lacks = {
        ONE_SPLIT: "one split has one training set for each arm, so nothing is known of others",
        ONE_TRAINING: "the models that the searches chose were not trained again, so nothing is known of other seeds",
    }.get(result.difference.deciding.scope)
    return f"This does not judge the methods: {lacks}. Run the study with {WHAT_TO_RUN}." if lacks else ""


def _mm(value: float) -> str:
    return f"{number(value)} mm"


def _bounds(comparison: Comparison) -> str:
    """Return the deciding interval in brackets, after a space; empty where there is none."""
    interval = comparison.deciding
    return "" if comparison.reason else f" ({_LEVEL} interval {number(interval.low)} to {_mm(interval.high)})"

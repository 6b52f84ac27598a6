"""The page's tables beside those of means: claims, arms against each other, effort, what was selected, the runs."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from jointnet.aggregation import registration_ratio
from study.reporting import tables
from study.reporting.analysis import Analysis
from study.reporting.claim_result import TITLES, ClaimResult
from study.reporting.comparisons import Comparison
from study.reporting.findings import endings
from study.reporting.grid import Grid, GridCell, GridRow, line
from study.reporting.records import ArmRecord, StudyRecord, TrialRecord
from study.reporting.statements import DETECTABLE
from study.reporting.statistics import significance_stars
from study.reporting.tables import number

_CORE = ("lambda_1", "lambda_2", "lambda_3", "alpha")


def claims(results: Sequence[ClaimResult]) -> Grid:
    """Give every claim in every endpoint with its verdict and the intervals that it rests on."""
    rows = []
    for one in results:
        margin = "" if one.claim == "superior" else f"{number(one.margin_mm)} ({one.margin_source})"
        words = [
            f"{one.joint} is {one.claim} to {one.standalone}",
            TITLES[one.metric, one.structure] + (" (primary)" if one.primary else ""),
            one.verdict,
            _interval(one.difference.difference, one.difference.low, one.difference.high),
            margin,
            _interval(one.contrast.test.difference, one.contrast.test.low, one.contrast.test.high),
            _p(one.contrast.holm_p),
            one.reason,
        ]
        rows.append(line(words, one.joint, one.standalone))
    header = ("Endpoint", "Verdict", "Difference", "Margin", "Difference minus margin", "p (Holm)", "Remark")
    note = "mm, with 95 % t intervals. The last difference decides: supported below 0, refuted above it."
    return Grid("claims", "The claims made in advance, endpoint by endpoint.", header, tuple(rows), "Claim", note)


def between(analysis: Analysis) -> Grid:
    """Give the arms' differences after registration, one line per pair."""
    header = tuple(column.heading for column in tables.REGISTRATION)
    rows = [
        GridRow(
            f"{compared} minus {reference}",
            tuple(
                GridCell(_interval(c.test.difference, c.test.low, c.test.high), significance_stars(c.holm_p))
                for c in family
            ),
            (compared, reference),
        )
        for (reference, compared), family in analysis.between.items()
    ]
    note = (
        "Mean difference over patients with its 95 % t interval; below 0 the first arm is better. * p < 0.05, "
        "** p < 0.005 (paired t-test, Holm over the five metrics)."
    )
    return Grid("between", "Arms compared with each other.", header, tuple(rows), "Difference", note)


def every_test(analysis: Analysis) -> Grid:
    """Give every comparison with all of its tests and intervals."""
    families = {("before", name): family for name, family in analysis.changes.items()} | dict(analysis.between)
    rows = []
    for (reference, compared), family in families.items():
        for one in family:
            test, folds, relative = one.test, one.folds, one.relative
            words = [
                f"{compared} minus {reference}",
                TITLES[one.metric, one.structure],
                str(test.patients),
                _interval(test.difference, test.low, test.high),
                _p(test.p),
                _p(one.holm_p),
                _p(test.wilcoxon_p),
                _p(one.holm_wilcoxon_p),
                _interval(None, one.bootstrap.low, one.bootstrap.high),
                _interval(100 * relative.estimate, 100 * relative.low, 100 * relative.high, 0),
                _p(folds.p) if folds.folds > 1 else "",
                "; ".join(dict.fromkeys(reason for reason in (one.reason, one.bootstrap.reason) if reason)),
            ]
            rows.append(line(words, *([compared] if reference == "before" else [compared, reference])))
    header = (
        *("Endpoint", "n", "Mean difference [95 % t interval], mm", "p (t)", "p (t, Holm)", "p (Wilcoxon)"),
        *("p (Wilcoxon, Holm)", "Bootstrap interval, mm", "Relative change [bootstrap], %", "p (over folds)", "Remark"),
    )
    return Grid("tests", "Every comparison with every test.", header, tuple(rows), "Difference")


def detectable(analysis: Analysis) -> Grid:
    """Give the differences that would probably have been found."""
    families = {("before", name): family for name, family in analysis.changes.items()} | dict(analysis.between)

    def cells(family: Iterable[Comparison]) -> tuple[GridCell, ...]:
        return tuple(GridCell(_n(one.detectable)) for one in family)

    rows = tuple(
        GridRow(f"{compared} against {reference}", cells(family), (compared,))
        for (reference, compared), family in families.items()
    )
    header = tuple(column.heading for column in tables.REGISTRATION)
    return Grid("detectable", "What could not have been detected.", header, rows, "Comparison", DETECTABLE)


def efficiency(table: pd.DataFrame) -> Grid:
    """Give the numbers of the annotation-efficiency curve."""
    header = tuple(column.heading for column in tables.REGISTRATION)
    rows = []
    for arm, own in table.groupby("arm", sort=False):
        by = own.set_index(["metric", "structure"])
        found = [by.loc[(column.metric, column.structure)] for column in tables.REGISTRATION]
        words = [_interval(one["mean"], one["low"], one["high"]) for one in found]
        name = "before" if arm == "before" else f"{own['model'].iloc[0]}, {own['train'].iloc[0]} patients"
        rows.append(line([name, *words], str(arm)))
    caption = "Mean error against the number of training patients, with 95 % t intervals of the mean."
    return Grid("efficiency", caption, header, tuple(rows), "Model")


def effort(study: StudyRecord) -> Grid:
    """Give what each arm, in each fold, cost: trials, hours, epochs, openings of the test patients."""
    rows = []
    for arm in study.arms:
        words = [
            arm.arm,
            f"{arm.fold} of {arm.folds}",
            f"{len(arm.trials)}",
            endings(arm.trials),
            number(trial_hours(arm.trials)),
            str(sum(trial.epochs for trial in arm.trials)),
            str(arm.openings),
            arm.tags.get("split.sha256", "not recorded")[:12],
        ]
        rows.append(line(words, arm.run_id))
    header = ("Fold", "Trials", "How they ended", "Trial hours", "Epochs reported", "Test openings", "Split, SHA-256")
    note = "Trial hours: the trials' wall-clock times added up. Epochs that reported an objective."
    return Grid("effort", "Compute and openings of the sealed test patients.", header, tuple(rows), "Arm", note)


def selected(study: StudyRecord) -> Grid:
    """Give each arm's selected trial, what was drawn for it, and its objective on validation and test."""
    chosen = [(arm, trial) for arm in study.arms if (trial := arm.selected) is not None]
    drawn = {name: None for arm, _ in chosen for name in (arm.selection or {}).get("parameters", {})}
    names = [*_CORE, *(name for name in drawn if name not in _CORE)]
    rows = []
    for arm, trial in chosen:
        values = {**(arm.selection or {}).get("parameters", {}), **trial.parameters}
        ratio = registration_ratio(arm.rows) if arm.rows is not None else math.nan
        objective = (arm.selection or {}).get("objective", math.nan)
        words = [f"{arm.arm}, fold {arm.fold}" if arm.folds > 1 else arm.arm, trial.trial_id, trial.ending]
        words += [str(trial.best_epoch), _n(float(objective), 3), _n(ratio, 3)]
        words += [_value(values.get(name)) for name in names]
        rows.append(line(words, trial.run_id))
    header = ("Trial", "How it ended", "Epoch", "Objective, validation", "Objective, test", *names)
    return Grid("selected", "The selected trials.", header, tuple(rows), "Arm")


def runs(study: StudyRecord) -> Grid:
    """Give every run of the study; the page's links end here where no tracking server has a page of its own."""
    rows = [line(["study", "", "", study.run_id, "", "", "", number(study.minutes, 1)], study.run_id)]
    rows = [GridRow(rows[0].heading, rows[0].cells, rows[0].sources, anchors=(f"run-{study.run_id}",))]
    seen: set[str] = set()
    for arm in study.arms:
        group = () if arm.arm in seen or arm.folds == 1 else (f"runs-{arm.arm}",)
        seen.add(arm.arm)
        fold = str(arm.fold) if arm.folds > 1 else ""
        words = ["arm", arm.arm, fold, arm.run_id, "", "", "", _n(arm.minutes, 1)]
        rows.append(line(words, arm.run_id, anchors=(f"run-{arm.run_id}", *group)))
        rows += [_trial_line(arm, fold, trial) for trial in arm.trials]
    header = ("Arm", "Fold", "Run id", "Trial", "How it ended", "Objective", "Minutes")
    return Grid("runs", "Runs in the tracking store.", header, tuple(rows), "Run")


def trial_hours(trials: Sequence[TrialRecord]) -> float:
    """Add up the trials' wall-clock times, in hours; those that have not ended count as none."""
    return sum(trial.minutes for trial in trials if math.isfinite(trial.minutes)) / 60


def _trial_line(arm: ArmRecord, fold: str, trial: TrialRecord) -> GridRow:
    words = ["trial", arm.arm, fold, trial.run_id, trial.trial_id, trial.ending]
    words += [_n(trial.objective, 4), _n(trial.minutes, 1)]
    return line(words, trial.run_id, anchors=(f"run-{trial.run_id}",))


def _interval(value: float | None, low: float, high: float, digits: int = 2) -> str:
    """Give `-1.20 [-2.01, -0.39]`; what is NaN is left out."""
    parts = [] if value is None or math.isnan(value) else [number(value, digits)]
    if not (math.isnan(low) or math.isnan(high)):
        parts.append(f"[{number(low, digits)}, {number(high, digits)}]")
    return " ".join(parts)


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _n(value: float, digits: int = 2) -> str:
    return "" if math.isnan(value) else number(value, digits)


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

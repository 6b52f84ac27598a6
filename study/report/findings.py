"""The findings of a study in sentences: the best models, the results of each arm, and warnings."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from jointnet.evaluate.aggregation import registration_ratio
from study.report import mean_tables
from study.report.analysis import Analysis
from study.report.records import ArmRecord, StudyRecord, TrialRecord
from study.report.slice_rows import SEED, lost_structures
from study.report.statistics.paired import smallest_wilcoxon_p


@dataclass(frozen=True)
class ArmText:
    """The text about one arm: its test result, how its trials ended, remarks, failures and lost structures."""

    name: str
    title: str
    split: str
    seen: str
    trials: str
    remarks: tuple[str, ...]
    failures: tuple[str, ...]
    lost: str


def arm_text(analysis: Analysis, name: str, row: mean_tables.MeanRow) -> ArmText:
    """Return the text about one arm over all its folds; `row` is its row of the registration table."""
    records = analysis.arms[name]
    first = records[0]
    trials = [trial for record in records for trial in record.trials]
    ratio = test_ratio(analysis, name)
    overall = " Over the five together it is no better than doing nothing." if ratio >= 1 else ""
    known = {trial.ending for trial in trials}
    folds = f" in each of {first.folds} folds" if first.folds > 1 else ""
    return ArmText(
        name=name,
        title=analysis.titles[name],
        split=f"{first.train} training, {first.validation} validation, {first.test} test patients{folds}",
        seen=arm_sentence(row) + overall if any(row.cells) else _why_untested(records),
        trials=f"{count_of(len(trials), 'trial')}: {endings(trials)}." if trials else "No trial was started.",
        remarks=tuple(
            _of_fold(record, str(remark))
            for record in records
            for remark in (record.selection or {}).get("remarks", ())
            if not str(remark).endswith(tuple(known))
        ),
        failures=tuple(
            _of_fold(record, f"{trial.trial_id}: {trial.reason or 'no reason recorded'}")
            for record in records
            for trial in record.trials
            if trial.state == "failed"
        ),
        lost=_lost(analysis.slices[name]) if name in analysis.slices else "Test patients not opened.",
    )


def arm_sentence(row: mean_tables.MeanRow) -> str:
    """Return a sentence that compares one row of the registration table with before registration."""
    pairs = [
        (column, cell, cell.change)
        for column, cell in zip(mean_tables.REGISTRATION, row.cells, strict=True)
        if cell is not None and cell.change is not None
    ]
    better = [(column, cell) for column, cell, change in pairs if change.test.difference < 0]
    worse = [(column, cell, change) for column, cell, change in pairs if change.test.difference > 0]
    lower, higher = sum(bool(cell.stars) for _, cell in better), sum(bool(cell.stars) for _, cell, _ in worse)
    patients = max((cell.units for _, cell, _ in pairs), default=0)
    text = f"On {count_of(patients, 'test patient')}, {len(better)} of {len(pairs)} mean errors are lower than before"
    text += f", {lower or 'none'} of them at p < 0.05 (Holm)" if better else ""
    if worse:
        names = ", ".join(f"{column.title} by {change.test.difference:.2f} mm" for column, _, change in worse)
        text += f"; higher are {names}" + (f" ({higher} at p < 0.05)" if higher else " (none at p < 0.05)")
    column, cell, change = pairs[0]
    text += f". {column.title} went from {change.reference_mean:.2f} to {cell.mean:.2f} mm."
    reasons = sorted({change.reason for _, _, change in pairs if change.reason})
    return text + (f" Not every test could be made: {'; '.join(reasons)}." if reasons else "")


def verdicts(study: StudyRecord, analysis: Analysis) -> list[str]:
    """Return sentences with the best model on validation per number of training patients, warnings and missing arms."""
    lines = []
    values = {name: validation(records) for name, records in analysis.arms.items()}
    chosen = sorted((n for n, value in values.items() if not math.isnan(value)), key=analysis.train)
    for train, group in groupby(chosen, key=analysis.train):
        ranked = sorted(group, key=lambda name: values[name], reverse=study.direction == "maximize")
        told = "; ".join(f"{name} {values[name]:.3f}" for name in ranked)
        over = ", mean over folds" if analysis.arms[ranked[0]][0].folds > 1 else ""
        text = f"With {train} training patients, the best model on validation is {ranked[0]} (objective{over}: {told})."
        ratios = [f"{name} {test_ratio(analysis, name):.3f}" for name in ranked if name in analysis.slices]
        lines.append(text + (f" On the test patients: {'; '.join(ratios)}." if ratios else ""))
    if not study.arms:
        lines.append("The store holds no arm of this study yet.")
    elif not analysis.slices:
        lines.append("No arm has test values yet.")
    lines += [warning for arm in study.arms for warning in _warnings(arm)]
    return lines + [f"Planned but not in the store: {arm}." for arm in study.missing]


def validation(records: Sequence[ArmRecord]) -> float:
    """Return the validation objective of an arm's selected trials, averaged over folds; NaN without a selection."""
    found = [(record.selection or {}).get("objective", record.tags.get("selection.objective")) for record in records]
    values = [float(value) for value in found if value is not None]
    return sum(values) / len(values) if values else math.nan


def test_ratio(analysis: Analysis, name: str) -> float:
    """Return an arm's registration ratio on the test patients of all folds; NaN where nothing was tested."""
    return registration_ratio(analysis.slices[name]) if name in analysis.slices else math.nan


def test_note(patients_of: Mapping[str, pd.DataFrame], seeds: bool) -> str:
    """Return the note of the main table; `seeds` is whether the selected trials were retrained with new seeds.

    With few patients it also states the smallest p value that the exact Wilcoxon test can reach.
    """
    if not patients_of:
        return "No test values yet."
    patients = next(iter(patients_of.values()))["patient"].nunique()
    text = f"Mean (SD) over {count_of(patients, 'test patient')}, the same in every arm. Best of each column in bold."
    if not seeds:
        text += " Each arm's model is the tuned one, with the one seed that it was tuned with."
    if smallest_wilcoxon_p(patients) >= 0.05:
        text += (
            f" With {count_of(patients, 'patient')}, the exact Wilcoxon test cannot fall below "
            f"p = {smallest_wilcoxon_p(patients):.3g}, so the t-test's stars rest on differences being near normal."
        )
    return text


def endings(trials: Iterable[TrialRecord]) -> str:
    """Return the number of trials per ending, as text."""
    counted = Counter(trial.ending for trial in trials)
    return ", ".join(f"{count} {how}" for how, count in sorted(counted.items()))


def count_of(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural, such as `1 trial` or `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _lost(rows: pd.DataFrame) -> str:
    """Return a sentence with the number of lost structures in an arm's test rows."""
    seeds = rows[SEED].nunique() if SEED in rows else 1
    over = f", over {seeds} retrainings" if seeds > 1 else ""
    return f"{count_of(lost_structures(rows), 'structure')} lost on test{over}."


def _why_untested(records: Sequence[ArmRecord]) -> str:
    """Return the reason why an arm has no test values."""
    trials = [trial for record in records for trial in record.trials]
    if not trials:
        return "No test values: no trial was started."
    if not any(trial.finished for trial in trials):
        return "No test values: none of its trials finished, so nothing was selected."
    if all(record.selection is None for record in records):
        return "No test values: trials finished, but none was selected yet."
    return "No test values yet: a trial is selected and recorded, the test patients were not opened for it."


def _warnings(arm: ArmRecord) -> list[str]:
    """Return warnings about an arm's test values: repeated test evaluations, or a logged objective that differs."""
    lines = []
    if arm.openings > 1:
        lines.append(
            _of_fold(
                arm, f"{arm.arm} opened the test patients {arm.openings} times: its test values are no longer unseen."
            )
        )
    logged = arm.metrics.get("test/registration_ratio")
    if arm.rows is not None and logged is not None:
        own = registration_ratio(arm.rows)
        if not math.isclose(own, logged, rel_tol=1e-6):
            told = f"{arm.arm}: its logged test objective {logged:.4f} is not that of its rows, {own:.4f}."
            lines.append(_of_fold(arm, told))
    return lines


def _of_fold(arm: ArmRecord, text: str) -> str:
    return f"Fold {arm.fold}: {text}" if arm.folds > 1 else text

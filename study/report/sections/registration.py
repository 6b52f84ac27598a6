"""Registration error (Table 1), a card per arm, and the same means in Dice and over pooled slices."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from study.arm_differences import span
from study.report.analysis import Analysis, annotated, count_of, trial_endings, with_fold
from study.report.mean_tables import (
    OVERLAP,
    SEGMENTATION,
    Column,
    MeanRow,
    MeanTable,
    csv_frame,
    mean_table,
    text_table,
)
from study.report.medians import median_table, quartiles
from study.report.page import Card, Cards, Section, Text, run_links
from study.report.sections.given import given_blocks
from study.report.statistics.comparisons import compare_with_before
from study.report.statistics.paired import smallest_wilcoxon_p
from study.report.store.records import ArmRecord, StudyRecord
from study.report.store.slice_rows import PATIENT_COLUMNS, ROW_COLUMNS, SEED, lost_structures
from study.store_names import BASELINES, current_remark

STARS = (
    "* p < 0.05, ** p < 0.005 in a paired two-sided t-test against before registration (unit: patient), corrected by "
    "Holm over the metrics of the arm; ! marks a significant change for the worse."
)
_CHANGES = "Below each mean: the mean change and its 95 % t interval."
_DICE = "Dice, mean (SD) over patients; higher is better."
_POOLED = "All slices have equal weight, whichever patient they belong to; slices of one patient are not independent."


def registration(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with Table 1, what each arm was given, the medians, and one card per arm.

    Its CSV files hold the values of patients and slices.
    """
    table = registration_means(analysis)
    cut = max((cut_structures(records) for records in analysis.arms.values()), default=0)
    note = f"{table_note(analysis.patients, any(arm.retrains for arm in study.arms), cut)} {STARS} {_CHANGES}"
    quarters = quartiles(analysis.patients, analysis.columns)
    medians = (median_table(quarters, analysis.titles, analysis.columns),) if len(quarters) else ()
    where = "" if run_links(study).server else ", in the [table of runs](#tracking)"
    link = Text(f"Numbers link to the run that they come from{where}.", "note", page_only=True)
    cards = Cards(tuple(arm_card(analysis, row.key, row) for row in table.rows if row.key in analysis.arms))
    return Section(
        "registration",
        "Registration error",
        (replace(text_table(table, note), in_paper=True), link, *given_blocks(study, analysis), *medians, cards),
        {
            "table1": csv_frame([table]),
            "medians": quarters,
            "patients": _of_all_arms(analysis.patients, PATIENT_COLUMNS),
            "slices": _of_all_arms(analysis.slices, ROW_COLUMNS),
        },
    )


def dice(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the overlap of the labels, the segmentations, and Table 1 over pooled slices."""
    patients, titles = analysis.patients, analysis.titles
    segmenting = {name: frame for name, frame in patients.items() if frame["metric"].isin(["dice_cine"]).any()}
    overlaps, segmented = (
        [column for column in columns if column.structure in analysis.structures] for columns in (OVERLAP, SEGMENTATION)
    )
    endpoints = [(column.metric, column.structure) for column in overlaps]
    changes = {name: compare_with_before(frame, endpoints=endpoints) for name, frame in patients.items()}
    overlap = mean_table("overlap", "Overlap (Dice) of the LGE and cine labels.", patients, titles, overlaps, changes)
    segmentation = mean_table(
        "segmentation",
        "Segmentation (Dice) of cine and LGE on the test patients.",
        segmenting,
        {name: titles[name] for name in segmenting},
        segmented,
        with_before=False,
    )
    pooled = mean_table(
        "pooled",
        "Registration error over pooled slices, without tests.",
        analysis.slices,
        titles,
        analysis.columns,
        unit="slices",
    )
    tables = [text_table(overlap, _DICE)] if patients else []
    if segmenting:
        note = f"{_DICE} Stand-alone models do not segment."
        tables.append(replace(text_table(segmentation, note), in_paper=True))
    if patients:
        tables.append(text_table(pooled, _POOLED, with_changes=False))
    frames = {table.name: csv_frame([table]) for table in (overlap, segmentation, pooled)}
    return Section("dice", "Overlap, segmentation, pooled slices", tuple(tables), frames)


def registration_means(analysis: Analysis) -> MeanTable:
    """Return Table 1: registration error before registration and of each arm, with the changes."""
    return mean_table(
        "table1",
        "Registration error on the test patients.",
        analysis.patients,
        analysis.titles,
        analysis.columns,
        analysis.changes,
    )


def arm_card(analysis: Analysis, name: str, row: MeanRow) -> Card:
    """Return the text about one arm over all its folds; `row` is its row of Table 1."""
    records = analysis.arms[name]
    first = records[0]
    trials = [trial for record in records for trial in record.trials]
    overall = (
        f" Over all {analysis.number_of_metrics} together, registration gave no improvement."
        if analysis.test_ratio(name) >= 1
        else ""
    )
    known = {trial.ending for trial in trials}
    folds = f" in each of {first.folds} folds" if first.folds > 1 else ""
    remarks = [
        f"{with_fold(record, remark)}."
        for record in records
        for remark in map(current_remark, map(str, (record.selection or {}).get("remarks", ())))
        if not remark.endswith(tuple(known))
    ]
    ended = f"{count_of(len(trials), 'trial')}: {trial_endings(trials)}." if trials else "No trial was started."
    return Card(
        title=analysis.titles[name],
        arm=name,
        split=f"{span(r.learned for r in records)} training + {first.validation} validation = "
        f"{span(r.annotated for r in records)} annotated patients, "
        f"{first.test} test patients{folds}",
        paragraphs=(
            arm_sentence(row, analysis.columns) + overall if any(row.cells) else _why_untested(records),
            " ".join([_lost(analysis, name), ended, *remarks]),
        ),
        failures=tuple(
            with_fold(record, f"{trial.trial_id}: {trial.reason or 'no reason recorded'}")
            for record in records
            for trial in record.trials
            if trial.state == "failed"
        ),
    )


def arm_sentence(row: MeanRow, columns: Sequence[Column]) -> str:
    """Return a sentence that compares one row of the registration table with before registration."""
    pairs = [
        (column, cell, cell.change)
        for column, cell in zip(columns, row.cells, strict=True)
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
    return text + (f" Some tests could not be made: {'; '.join(reasons)}." if reasons else "")


def table_note(patients_of: Mapping[str, pd.DataFrame], seeds: bool, cut: int = 0) -> str:
    """Return the note of the main table.

    With few patients it also states the smallest p value that the exact Wilcoxon test can reach.

    Args:
        patients_of: the patients of each row.
        seeds: whether the selected trials were retrained with new seeds.
        cut: number of structures that are left out because the common field cuts them.
    """
    if not patients_of:
        return "No test values yet."
    patients = max(frame["patient"].nunique() for frame in patients_of.values())
    text = (
        f"Mean (SD) over {count_of(patients, 'test patient')}, the same in every row. Best of each column in bold. "
        "Annotated: training + validation patients; the number in an arm's name is that of its training patients."
    )
    if cut:
        text += f" {count_of(cut, 'structure')} left out in every row: the common field of both scans cuts them."
    if named := [BASELINES[name] for name in BASELINES if name in patients_of]:
        text += f" {' and '.join(named)}: default settings, nothing trained, searched or selected."
    if not seeds:
        text += " The model of each arm is that of its selected trial, trained with one seed."
    if smallest_wilcoxon_p(patients) >= 0.05:
        text += (
            f" With {count_of(patients, 'patient')}, the exact Wilcoxon test cannot fall below "
            f"p = {smallest_wilcoxon_p(patients):.3g}, so the stars rely on the t-test, which assumes near-normal "
            "differences."
        )
    return text


def annotated_sentence(analysis: Analysis) -> str:
    """Return the annotated patients of each row for the terminal, which shows names only; empty without arms."""
    parts = [f"{name} {annotated(records)}" for name, records in analysis.arms.items()]
    parts += [f"{name} 0" for name in analysis.baselines]
    return f"Training + validation patients: {', '.join(parts)}. " if parts else ""


def _lost(analysis: Analysis, name: str) -> str:
    """Return sentences with the numbers of lost and of cut structures in an arm's test rows."""
    if name not in analysis.slices:
        return "Test patients not opened."
    rows = analysis.slices[name]
    seeds = rows[SEED].nunique() if SEED in rows else 1
    over = f", over {seeds} retrainings" if seeds > 1 else ""
    text = f"{count_of(lost_structures(rows), 'structure')} lost on test{over}."
    if cut := cut_structures(analysis.arms[name]):
        text += f" {count_of(cut, 'structure')} left out, cut by the common field."
    return text


def cut_structures(records: Sequence[ArmRecord]) -> int:
    """Return the number of structures of an arm's test patients that are left out, over all folds.

    The common field of the scans cuts them. Studies of older versions did not count them.
    """
    return int(sum(record.metrics.get("test/cut", 0) for record in records))


def _why_untested(records: Sequence[ArmRecord]) -> str:
    """Return the reason why an arm has no test values."""
    trials = [trial for record in records for trial in record.trials]
    if not trials:
        return "No test values: no trial was started."
    if not any(trial.finished for trial in trials):
        return "No test values: none of its trials finished, so nothing was selected."
    if all(record.selection is None for record in records):
        return "No test values: trials finished, but none was selected yet."
    return "No test values yet: a trial was selected and recorded, but not evaluated on the test patients."


def _of_all_arms(frames: Mapping[str, pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return the frames of all arms in one, with a first column `arm`."""
    named = [frame.assign(arm=arm)[["arm", *frame.columns]] for arm, frame in frames.items()]
    return pd.concat(named, ignore_index=True) if named else pd.DataFrame(columns=["arm", *columns])

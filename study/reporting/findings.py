"""What a study's records say, in sentences: which model is best, what an arm showed, where the numbers come from."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from jointnet.aggregation import registration_ratio
from study.reporting import tables
from study.reporting.records import ArmRecord, StudyRecord, TrialRecord
from study.reporting.rows import lost_structures
from study.reporting.statistics import smallest_wilcoxon_p

STARS = (
    "* p < 0.05, ** p < 0.005 in a paired two-sided t-test against before registration (unit: patient, "
    "not corrected for the number of comparisons); ! marks a starred change for the worse."
)
CONVENTIONS = (
    "Unit of analysis is the patient: each patient's slices are averaged first; mean and sample SD (n - 1) are over "
    "patients. Pooled slices are shown beside this because the paper does not state its convention; they are not "
    "tested, as slices of one patient are not independent.",
    "CD is the distance between the centroids of the LGE and the cine label, ASD the symmetric average surface "
    "distance with both surfaces' distances pooled; both in 2D, per slice, in mm on the common 0.75 mm grid.",
    "A slice counts for a structure where both manual labels hold it before registration.",
    "A structure that registration moves out of view is lost. It is never dropped: it counts with the worst case, the "
    "diagonal of the field of view (224 pixels x 0.75 mm x sqrt 2 = 237.6 mm) as its distance and 0 as its Dice.",
    "The objective is the geometric mean over the five registration metrics of after / before: 1 is no better than "
    "doing nothing, lower is better. It holds none of the loss weights that the search varies.",
    "Models were selected on validation patients alone. The selection was recorded before the test patients were "
    "opened, so test values were not used to choose anything.",
    "Differences between arms are described, not tested.",
)
_MODEL_TITLES = {"standalone": "Stand-alone STN", "joint": "Joint model"}
_CORE = ("lambda_1", "lambda_2", "lambda_3", "alpha")


@dataclass(frozen=True)
class ArmText:
    """One arm in words: what was seen, how its trials ended, what was selected."""

    name: str
    title: str
    split: str
    seen: str
    trials: str
    remarks: tuple[str, ...]
    failures: tuple[str, ...]
    validation: str
    test: str
    openings: int
    lost: str
    minutes: str
    selected: tuple[tuple[str, str], ...]
    run_id: str


def arm_text(study: StudyRecord, arm: ArmRecord, row: tables.Row) -> ArmText:
    """Put one arm into words; `row` is its row of the registration table."""
    finished = sum(trial.finished for trial in arm.trials)
    ratio = registration_ratio(arm.rows) if arm.rows is not None else math.nan
    overall = " Over the five together it is no better than doing nothing." if ratio >= 1 else ""
    lost = lost_structures(arm.rows) if arm.rows is not None else None
    return ArmText(
        name=arm.arm,
        title=arm_title(arm),
        split=f"{arm.train} training, {arm.validation} validation, {arm.test} test",
        seen=arm_sentence(row) + overall if any(row.cells) else _why_untested(arm, finished),
        trials=f"{_count(len(arm.trials), 'trial')}: {_endings(arm.trials)}."
        if arm.trials
        else "No trial was started.",
        remarks=tuple(str(remark) for remark in (arm.selection or {}).get("remarks", ())),
        failures=tuple(f"{t.trial_id}: {t.reason or 'no reason recorded'}" for t in arm.trials if t.state == "failed"),
        validation=tables.number(_validation(arm), 3),
        test=tables.number(ratio, 3),
        openings=arm.openings,
        lost="Test patients not opened." if lost is None else f"{_count(lost, 'structure')} lost on test.",
        minutes=tables.number(arm.minutes, 1),
        selected=tuple(_selected_parameters(arm.selected, arm, study)),
        run_id=arm.run_id,
    )


def arm_title(arm: ArmRecord) -> str:
    """Give the arm's title as in the paper's Table 1."""
    fold = f", fold {arm.fold} of {arm.folds}" if arm.folds > 1 else ""
    return f"{_MODEL_TITLES.get(arm.model, arm.model)}, {arm.train} patients{fold}"


def arm_sentence(row: tables.Row) -> str:
    """Say what one row of the registration table shows against before registration."""
    pairs = [
        (column, cell)
        for column, cell in zip(tables.REGISTRATION, row.cells, strict=True)
        if cell is not None and cell.test is not None
    ]
    tests = [(column, cell, cell.test) for column, cell in pairs if cell.test is not None]
    better = [(column, test) for column, _, test in tests if test.difference < 0]
    lower = sum(1 for _, test in better if test.stars)
    worse = [(column, test) for column, _, test in tests if test.difference > 0]
    higher = sum(1 for _, test in worse if test.stars)
    patients = max((cell.units for _, cell in pairs), default=0)
    text = f"On {_count(patients, 'test patient')}, {len(better)} of {len(tests)} mean errors are lower than before"
    text += f", {lower or 'none'} of them at p < 0.05" if better else ""
    if worse:
        names = ", ".join(f"{column.title} by {test.difference:.2f} mm" for column, test in worse)
        text += f"; higher are {names}" + (f" ({higher} at p < 0.05)" if higher else " (none at p < 0.05)")
    first = tests[0]
    start = first[1].mean - first[2].difference
    text += f". {first[0].title} went from {start:.2f} to {first[1].mean:.2f} mm."
    reasons = sorted({test.reason for _, _, test in tests if test.reason})
    return text + (f" Not every test could be made: {'; '.join(reasons)}." if reasons else "")


def _why_untested(arm: ArmRecord, finished: int) -> str:
    """Say why an arm has no test values."""
    if not arm.trials:
        return "No test values: no trial was started."
    if not finished:
        return "No test values: none of its trials finished, so nothing was selected."
    if arm.selection is None:
        return "No test values: trials finished, but none was selected yet."
    return "No test values yet: a trial is selected and recorded, the test patients were not opened for it."


def verdicts(study: StudyRecord) -> list[str]:
    """Name the best model per number of training patients, by validation, and what is missing."""
    lines = []
    chosen = sorted((arm for arm in study.arms if not math.isnan(_validation(arm))), key=lambda arm: arm.train)
    for train, group in groupby(chosen, key=lambda arm: arm.train):
        ranked = sorted(group, key=_validation, reverse=study.direction == "maximize")
        best = ranked[0]
        values = "; ".join(f"{arm.arm} {_validation(arm):.3f}" for arm in ranked)
        text = f"With {train} training patients, the best model on validation is {best.arm} (objective: {values})."
        ratios = [f"{a.arm} {registration_ratio(a.rows):.3f}" for a in ranked if a.rows is not None]
        lines.append(text + (f" On the test patients: {'; '.join(ratios)}." if ratios else ""))
    if not study.arms:
        lines.append("The store holds no arm of this study yet.")
    elif not any(arm.rows is not None for arm in study.arms):
        lines.append("No arm has test values yet.")
    lines += [warning for arm in study.arms for warning in _warnings(arm)]
    lines += [f"Planned but not in the store: {arm}." for arm in study.missing]
    return lines


def _warnings(arm: ArmRecord) -> list[str]:
    """Say what should make a reader doubt an arm's test values."""
    lines = []
    if arm.openings > 1:
        lines.append(f"{arm.arm} opened the test patients {arm.openings} times: its test values are no longer unseen.")
    logged = arm.metrics.get("test/registration_ratio")
    if arm.rows is not None and logged is not None:
        own = registration_ratio(arm.rows)
        if not math.isclose(own, logged, rel_tol=1e-6):
            lines.append(f"{arm.arm}: its logged test objective {logged:.4f} is not that of its rows, {own:.4f}.")
    return lines


def test_note(rows: Mapping[str, pd.DataFrame], seeds: bool = False) -> str:
    """Describe the main table's numbers, with whether winners were retrained, and what so few patients cannot show."""
    if not rows:
        return "No test values yet."
    patients = next(iter(rows.values()))["patient"].nunique()
    text = f"Mean (SD) over {_count(patients, 'test patient')}, the same in every arm. Best of each column in bold."
    if not seeds:
        text += " Each arm's model is the tuned one, with the one seed that it was tuned with."
    if smallest_wilcoxon_p(patients) >= 0.05:
        text += (
            f" With {_count(patients, 'patient')}, the exact Wilcoxon test cannot fall below "
            f"p = {smallest_wilcoxon_p(patients):.3g}, so the t-test's stars rest on differences being near normal."
        )
    return text


def _selected_parameters(trial: TrialRecord | None, arm: ArmRecord, study: StudyRecord) -> list[tuple[str, str]]:
    """List the selected trial, its lambdas and alpha, then what else the search drew."""
    if trial is None:
        return []
    drawn = dict((arm.selection or {}).get("parameters", {}))
    names = [name for name in _CORE if name in trial.parameters]
    names += [name for name in drawn if name not in _CORE]
    values = {**drawn, **trial.parameters}
    listed = [(name, _value(values[name])) for name in names]
    return [("trial", f"{trial.trial_id} ({trial.ending}, epoch {trial.best_epoch})"), *listed]


def provenance(study: StudyRecord) -> list[tuple[str, str]]:
    """List where the numbers come from."""
    tags, arms = study.tags, study.arms
    splits = {f"{arm.train}/{arm.validation}/{arm.test}": arm.tags.get("split.sha256", "not recorded") for arm in arms}
    machine = ", ".join(
        f"{name.rpartition('.')[2]} {tags[name]}" for name in sorted(tags) if name.partition(".")[0] == "machine"
    )
    openings = ", ".join(f"{arm.arm} {arm.openings}" for arm in arms)
    trials = _endings(trial for arm in arms for trial in arm.trials)
    return [
        ("Data", "built-in phantom, synthetic" if tags.get("data.kind") == "phantom" else tags.get("data.kind", "?")),
        ("Data fingerprint", tags.get("data.fingerprint", "not recorded")),
        *((f"Split {split}, SHA-256", digest) for split, digest in splits.items()),
        ("Test openings by arm", openings or "none"),
        ("Trials", trials or "none"),
        ("Seed", tags.get("seed", "not recorded")),
        ("Commit", tags.get("git.commit", "not recorded")),
        ("Started", f"{study.started:%Y-%m-%d %H:%M} UTC"),
        ("Minutes", tables.number(study.minutes, 1)),
        ("Machine", machine or "not recorded"),
        ("MLflow run", study.run_id),
    ]


def _validation(arm: ArmRecord) -> float:
    """Give the objective that the arm was selected by, NaN where nothing was selected."""
    value = (arm.selection or {}).get("objective", arm.tags.get("selection.objective"))
    return math.nan if value is None else float(value)


def _endings(trials: Iterable[TrialRecord]) -> str:
    """Count trials by how they ended."""
    counted = Counter(trial.ending for trial in trials)
    return ", ".join(f"{count} {how}" for how, count in sorted(counted.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

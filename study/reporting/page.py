"""The report as a page: what a study's records say, in words and tables, filled into one self-contained HTML file."""

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from study import figures, tables
from study.statistics import smallest_wilcoxon_p
from study.store import ArmRecord, StudyRecord, TrialRecord

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
class Picture:
    """An inline image: data URIs for a light and a dark scheme, and its text alternative."""

    light: str
    dark: str
    alt: str


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


@dataclass(frozen=True)
class Content:
    """Everything that the report shows, without any layout."""

    study_id: str
    question: str
    phantom: bool
    data: str
    verdicts: tuple[str, ...]
    note: str
    objective_name: str
    registration: tables.Table
    overlap: tables.Table
    segmentation: tables.Table
    pooled: tables.Table
    tests: pd.DataFrame
    trials: pd.DataFrame
    patients: Mapping[str, pd.DataFrame]
    arms: tuple[ArmText, ...]
    boxplots: tuple[Picture, ...]
    trial_plots: tuple[Picture, ...]
    overlays: Mapping[str, bytes]
    provenance: tuple[tuple[str, str], ...]
    versions: str


def build(study: StudyRecord, rows: Mapping[str, pd.DataFrame]) -> Content:
    """Say what a study's records hold; `rows` are the checked test rows by arm."""
    labels = {arm.arm: arm_title(arm) for arm in study.arms}
    registration = tables.comparison(rows, labels, tables.REGISTRATION, "Registration on the test patients.")
    joint = {arm: label for arm, label in labels.items() if arm in rows and _segments(rows[arm])}
    patients = {arm: tables.patient_means(frame) for arm, frame in rows.items()}
    phantom = study.tags.get("data.kind") == "phantom"
    objective = study.metric.rpartition("/")[2].replace("_", " ")
    questions = [str(search.get("question", "")) for search in study.specification.get("searches", [])]
    tested = [arm for arm in study.arms if arm.arm in rows]
    return Content(
        study_id=study.study_id,
        question=" ".join(questions) or str(study.specification.get("question", "")),
        phantom=phantom,
        data="built-in phantom (synthetic scans)" if phantom else "a folder of scans given by the user",
        verdicts=tuple(_verdicts(study)),
        note=_test_note(rows),
        objective_name=f"Validation {objective}",
        registration=registration,
        overlap=tables.comparison(rows, labels, tables.OVERLAP, "Overlap (Dice) of the LGE label with cine's."),
        segmentation=tables.comparison(
            {arm: rows[arm] for arm in joint},
            joint,
            tables.SEGMENTATION,
            "Segmentation (Dice) of cine and LGE on the test patients.",
            with_before=False,
        ),
        pooled=tables.comparison(
            rows, labels, tables.REGISTRATION, "The same with all slices pooled, not tested.", "slices"
        ),
        tests=tables.tidy([registration]),
        trials=_trial_frame(study),
        patients=patients,
        arms=tuple(_arm_text(study, arm, row) for arm, row in zip(study.arms, registration.rows[1:], strict=True)),
        boxplots=tuple(_boxplot(patients, tested, column) for column in tables.REGISTRATION if tested),
        trial_plots=tuple(_trial_plot(arm, f"Validation {objective}", study.arms) for arm in study.arms if arm.trials),
        overlays={arm.arm: figures.as_bytes(figures.overlay(arm), "png", 110) for arm in study.arms if arm.overlays},
        provenance=tuple(_provenance(study)),
        versions=", ".join(
            f"{name.removeprefix('version.')} {value}"
            for name, value in sorted(study.tags.items())
            if name.startswith("version.")
        ),
    )


def html(content: Content) -> str:
    """Fill the page; everything in it is escaped, every image inline."""
    environment = Environment(
        loader=PackageLoader("study"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = tables.number
    template = environment.get_template("report.html.j2")
    uris = {arm: _uri(picture, "png") for arm, picture in content.overlays.items()}
    return template.render(
        content=content,
        overlays=uris,
        heading=tables.heading,
        stars=STARS,
        conventions=CONVENTIONS,
        outlines=figures.OUTLINES,
        most_overlays=figures.MOST_OVERLAYS,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def markdown(content: Content) -> str:
    """Write the report's words and tables in Markdown, its figures as files beside it."""
    parts = [f"# Study {content.study_id}", plain(content.question), f"Data: {content.data}."]
    parts += [f"- {plain(line)}" for line in content.verdicts]
    for table, note in (
        (content.registration, f"{content.note} {STARS}"),
        (content.overlap, "Higher is better."),
        (content.segmentation, "Higher is better; stand-alone models do not segment."),
        (content.pooled, "Slices of one patient are not independent."),
    ):
        if table.rows:
            parts += [f"## {table.caption}", tables.markdown(table), plain(note)]
    if content.patients:
        parts.append("![Box plots of the registration metrics](boxplots.svg)")
    for arm in content.arms:
        parts += [
            f"## {arm.title} ({arm.name})",
            arm.seen,
            " ".join([arm.trials, *(f"{line}." for line in arm.remarks)]),
        ]
        parts += [f"- {plain(line)}" for line in arm.failures]
        parts.append(f"Objective: {arm.validation} on validation, {arm.test} on test. {arm.lost}")
        if arm.name in content.overlays:
            parts.append(f"![Contours before and after registration, {arm.name}](overlay-{arm.name}.png)")
    if len(content.trials):
        parts.append("## Trials\n\n![Objective of every trial](trials.svg)")
    parts += ["## Conventions", *(f"- {line}" for line in CONVENTIONS), "## Provenance"]
    parts += [f"- {name}: {value}" for name, value in (*content.provenance, ("Versions", content.versions))]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Escape what Markdown would read as emphasis or as a tag."""
    return text.replace("*", r"\*").replace("<", "&lt;")


def arm_title(arm: ArmRecord) -> str:
    """Give the arm's title as in the paper's Table 1."""
    return f"{_MODEL_TITLES.get(arm.model, arm.model)}, {arm.train} patients"


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


def _arm_text(study: StudyRecord, arm: ArmRecord, row: tables.Row) -> ArmText:
    states = Counter(trial.state for trial in arm.trials)
    finished = sum(trial.finished for trial in arm.trials)
    ended = ", ".join(f"{count} {_STATES.get(state, state)}" for state, count in sorted(states.items()))
    ratio = tables.registration_ratio(arm.rows) if arm.rows is not None else math.nan
    overall = " Over the five together it is no better than doing nothing." if ratio >= 1 else ""
    lost = tables.lost_structures(arm.rows) if arm.rows is not None else None
    return ArmText(
        name=arm.arm,
        title=arm_title(arm),
        split=f"{arm.train} training, {arm.validation} validation, {arm.test} test",
        seen=arm_sentence(row) + overall if any(row.cells) else _why_untested(arm, finished),
        trials=f"{_count(len(arm.trials), 'trial')}: {ended}." if arm.trials else "No trial was started.",
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


_STATES = {"stopped": "stopped early", "running": "still running"}


def _why_untested(arm: ArmRecord, finished: int) -> str:
    """Say why an arm has no test values."""
    if not arm.trials:
        return "No test values: no trial was started."
    if not finished:
        return "No test values: none of its trials finished, so nothing was selected."
    if arm.selection is None:
        return "No test values: trials finished, but none was selected yet."
    return "No test values yet: a trial is selected and recorded, the test patients were not opened for it."


def _verdicts(study: StudyRecord) -> list[str]:
    """Name the best model per number of training patients, by validation, and what is missing."""
    lines = []
    chosen = sorted((arm for arm in study.arms if not math.isnan(_validation(arm))), key=lambda arm: arm.train)
    for train, group in groupby(chosen, key=lambda arm: arm.train):
        ranked = sorted(group, key=_validation, reverse=study.direction == "maximize")
        best = ranked[0]
        values = "; ".join(f"{arm.arm} {_validation(arm):.3f}" for arm in ranked)
        text = f"With {train} training patients, the best model on validation is {best.arm} (objective: {values})."
        ratios = [f"{a.arm} {tables.registration_ratio(a.rows):.3f}" for a in ranked if a.rows is not None]
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
        own = tables.registration_ratio(arm.rows)
        if not math.isclose(own, logged, rel_tol=1e-6):
            lines.append(f"{arm.arm}: its logged test objective {logged:.4f} is not that of its rows, {own:.4f}.")
    return lines


def _test_note(rows: Mapping[str, pd.DataFrame]) -> str:
    """Describe the main table's numbers and what so few patients cannot show."""
    if not rows:
        return "No test values yet."
    patients = next(iter(rows.values()))["patient"].nunique()
    text = f"Mean (SD) over {_count(patients, 'test patient')}, the same in every arm. Best of each column in bold."
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
    return [("trial", f"{trial.trial_id} ({_STATES.get(trial.state, trial.state)}, epoch {trial.best_epoch})"), *listed]


def _trial_frame(study: StudyRecord) -> pd.DataFrame:
    """List every trial of every arm, in the order of their start."""
    lines = []
    for arm in study.arms:
        for trial in arm.trials:
            head = {"arm": arm.arm, "trial": trial.trial_id, "state": trial.state, "objective": trial.objective}
            tail = {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "minutes": trial.minutes}
            lines.append({**head, **tail, **trial.parameters, "reason": trial.reason, "run_id": trial.run_id})
    return pd.DataFrame(lines, columns=None if lines else ["arm", "trial", "state", "objective"])


def _provenance(study: StudyRecord) -> list[tuple[str, str]]:
    """List where the numbers come from."""
    tags, arms = study.tags, study.arms
    splits = {f"{arm.train}/{arm.validation}/{arm.test}": arm.tags.get("split.sha256", "not recorded") for arm in arms}
    states = Counter(trial.state for arm in arms for trial in arm.trials)
    machine = ", ".join(
        f"{name.rpartition('.')[2]} {tags[name]}" for name in sorted(tags) if name.partition(".")[0] == "machine"
    )
    openings = ", ".join(f"{arm.arm} {arm.openings}" for arm in arms)
    trials = ", ".join(f"{count} {_STATES.get(state, state)}" for state, count in sorted(states.items()))
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


def _boxplot(patients: Mapping[str, pd.DataFrame], arms: Sequence[ArmRecord], column: tables.Column) -> Picture:
    drawn = [figures.as_bytes(figures.boxplots(patients, arms, [column], t), "svg") for t in _THEMES]
    alt = f"Box plots of {tables.heading(column)} before registration and for each arm, every patient a dot; "
    return Picture(_uri(drawn[0], "svg"), _uri(drawn[1], "svg"), f"{alt}the values are in the table above.")


def _trial_plot(arm: ArmRecord, title: str, arms: Sequence[ArmRecord]) -> Picture:
    drawn = [figures.as_bytes(figures.trials([arm], title, theme, arms), "svg") for theme in _THEMES]
    return Picture(
        _uri(drawn[0], "svg"), _uri(drawn[1], "svg"), f"{title} of the {len(arm.trials)} trials of {arm.arm}."
    )


_THEMES = (figures.LIGHT, figures.DARK)


def _segments(rows: pd.DataFrame) -> bool:
    return bool(rows["metric"].isin(["dice_cine", "dice_lge"]).any())


def _validation(arm: ArmRecord) -> float:
    """Give the objective that the arm was selected by, NaN where nothing was selected."""
    value = (arm.selection or {}).get("objective", arm.tags.get("selection.objective"))
    return math.nan if value is None else float(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _uri(content: bytes, kind: str) -> str:
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"

"""The report as a page: findings, tables and figures, filled into one self-contained HTML file, or into Markdown."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from jointnet.outlines import OUTLINES
from study.reporting import figures, findings, overlays, table_formats, tables
from study.reporting.findings import ArmText, arm_text, arm_title
from study.reporting.records import ArmRecord, StudyRecord
from study.reporting.rows import per_patient

_THEMES = (figures.LIGHT, figures.DARK)


@dataclass(frozen=True)
class Picture:
    """An inline image: data URIs for a light and a dark scheme, and its text alternative."""

    light: str
    dark: str
    alt: str


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
    patients = {arm: per_patient(frame) for arm, frame in rows.items()}
    phantom = study.tags.get("data.kind") == "phantom"
    objective = study.metric.rpartition("/")[2].replace("_", " ")
    questions = [str(search.get("question", "")) for search in study.specification.get("searches", [])]
    tested = [arm for arm in study.arms if arm.arm in rows]
    return Content(
        study_id=study.study_id,
        question=" ".join(questions) or str(study.specification.get("question", "")),
        phantom=phantom,
        data="built-in phantom (synthetic scans)" if phantom else "a folder of scans given by the user",
        verdicts=tuple(findings.verdicts(study)),
        note=findings.test_note(rows),
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
        arms=tuple(arm_text(study, arm, row) for arm, row in zip(study.arms, registration.rows[1:], strict=True)),
        boxplots=tuple(_boxplot(patients, tested, column) for column in tables.REGISTRATION if tested),
        trial_plots=tuple(_trial_plot(arm, f"Validation {objective}", study.arms) for arm in study.arms if arm.trials),
        overlays={arm.arm: figures.as_bytes(overlays.overlay(arm), "png", 110) for arm in study.arms if arm.overlays},
        provenance=tuple(findings.provenance(study)),
        versions=", ".join(
            f"{name.removeprefix('version.')} {value}"
            for name, value in sorted(study.tags.items())
            if name.startswith("version.")
        ),
    )


def html(content: Content) -> str:
    """Fill the page; everything in it is escaped, every image inline."""
    environment = Environment(
        loader=PackageLoader("study.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = tables.number
    template = environment.get_template("report.html.j2")
    uris = {arm: _uri(picture, "png") for arm, picture in content.overlays.items()}
    return template.render(
        content=content,
        overlays=uris,
        stars=findings.STARS,
        conventions=findings.CONVENTIONS,
        outlines=OUTLINES,
        most_overlays=overlays.MOST_OVERLAYS,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def markdown(content: Content) -> str:
    """Write the report's words and tables in Markdown, its figures as files beside it."""
    parts = [f"# Study {content.study_id}", plain(content.question), f"Data: {content.data}."]
    parts += [f"- {plain(line)}" for line in content.verdicts]
    for table, note in (
        (content.registration, f"{content.note} {findings.STARS}"),
        (content.overlap, "Higher is better."),
        (content.segmentation, "Higher is better; stand-alone models do not segment."),
        (content.pooled, "Slices of one patient are not independent."),
    ):
        if table.rows:
            parts += [f"## {table.caption}", table_formats.markdown(table), plain(note)]
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
    parts += ["## Conventions", *(f"- {line}" for line in findings.CONVENTIONS), "## Provenance"]
    parts += [f"- {name}: {value}" for name, value in (*content.provenance, ("Versions", content.versions))]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    """Escape what Markdown would read as emphasis or as a tag."""
    return text.replace("*", r"\*").replace("<", "&lt;")


def _trial_frame(study: StudyRecord) -> pd.DataFrame:
    """List every trial of every arm, in the order of their start."""
    lines = []
    for arm in study.arms:
        for trial in arm.trials:
            head = {"arm": arm.arm, "trial": trial.trial_id, "state": trial.state, "objective": trial.objective}
            tail = {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "minutes": trial.minutes}
            lines.append({**head, **tail, **trial.parameters, "reason": trial.reason, "run_id": trial.run_id})
    return pd.DataFrame(lines, columns=None if lines else ["arm", "trial", "state", "objective"])


def _boxplot(patients: Mapping[str, pd.DataFrame], arms: Sequence[ArmRecord], column: tables.Column) -> Picture:
    drawn = [figures.as_bytes(figures.boxplots(patients, arms, [column], t), "svg") for t in _THEMES]
    alt = f"Box plots of {column.heading} before registration and for each arm, every patient a dot; "
    return Picture(_uri(drawn[0], "svg"), _uri(drawn[1], "svg"), f"{alt}the values are in the table above.")


def _trial_plot(arm: ArmRecord, title: str, arms: Sequence[ArmRecord]) -> Picture:
    drawn = [figures.as_bytes(figures.trials([arm], title, theme, arms), "svg") for theme in _THEMES]
    return Picture(
        _uri(drawn[0], "svg"), _uri(drawn[1], "svg"), f"{title} of the {len(arm.trials)} trials of {arm.arm}."
    )


def _segments(rows: pd.DataFrame) -> bool:
    return bool(rows["metric"].isin(["dice_cine", "dice_lge"]).any())


def _uri(content: bytes, kind: str) -> str:
    mime = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"

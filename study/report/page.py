"""The report as one self-contained HTML page, or as Markdown: sentences, tables and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from jointnet.outlines import OUTLINES
from study.report import efficiency, findings, mean_tables, page_tables, run_tables, statements
from study.report.analysis import Analysis, analyse
from study.report.findings import ArmText, arm_text
from study.report.links import Links, links_of
from study.report.origin import provenance
from study.report.pictures import overlays, scar, shown
from study.report.pictures import patient_pictures as pictures
from study.report.pictures.patient_pictures import Picture
from study.report.records import StudyRecord
from study.report.search.selection_warnings import warnings
from study.report.search.trial_table import search_parameters
from study.report.statistics.claim_result import ClaimResult
from study.report.tables import Table, markdown_text
from study.report.tables import markdown as markdown_table
from study.store_address import ui_command

IMAGE = Callable[[Picture, bool], str]
"""A function that returns the address of a picture; its second argument is whether the page is dark."""


@dataclass(frozen=True)
class Content:
    """The content of the report, without layout.

    Attributes:
        claims: the claims in the primary endpoint; a table in `grids` has the claims in all endpoints.
        grids: the tables by name.
        search, patients: pictures by arm. In `search`, the key "" holds the pictures that compare the arms.
    """

    study: StudyRecord
    analysis: Analysis
    links: Links
    question: str
    phantom: bool
    data: str
    claims: tuple[ClaimResult, ...]
    verdicts: tuple[str, ...]
    arms: tuple[ArmText, ...]
    doubts: tuple[str, ...]
    grids: Mapping[str, Table]
    boxplots: tuple[Picture, ...]
    curve: tuple[Picture, ...]
    trials: tuple[Picture, ...]
    search: Mapping[str, tuple[Picture, ...]]
    patients: Mapping[str, tuple[Picture, ...]]
    provenance: tuple[tuple[str, str], ...]
    command: str


def build(study: StudyRecord) -> Content:
    """Create the content of the report from a study's records.

    Raises:
        InputError: where the arms contradict each other.
    """
    analysis = analyse(study)
    phantom = study.tags.get("data.kind") == "phantom"
    questions = [str(search.get("question", "")) for search in study.specification.get("searches", [])]
    objective = f"Validation {study.metric.rpartition('/')[2].replace('_', ' ')}"
    rows = dict(zip(analysis.arms, analysis.registration.rows[1:], strict=True))
    return Content(
        study=study,
        analysis=analysis,
        links=links_of(study),
        question=" ".join(questions) or str(study.specification.get("question", "")),
        phantom=phantom,
        data="built-in phantom (synthetic scans)" if phantom else "a folder of scans given by the user",
        claims=tuple(claim for claim in analysis.claims if claim.primary),
        verdicts=tuple(findings.verdicts(study, analysis)),
        arms=tuple(arm_text(analysis, name, rows[name]) for name in analysis.arms),
        doubts=tuple(line for arm in study.arms for line in warnings(arm, search_parameters(study.specification, arm))),
        grids={grid.name: grid for grid in _grids(study, analysis) if grid.rows},
        boxplots=pictures.boxplots(analysis),
        curve=pictures.curve(analysis),
        trials=pictures.trials(study, objective),
        search=pictures.search(study, analysis, objective),
        patients=pictures.patients(analysis),
        provenance=tuple(provenance(study)),
        command=ui_command(study.tracking_uri),
    )


def html(content: Content, image: IMAGE) -> str:
    """Return the report as an HTML page. All text is escaped; `image` returns the address of each picture."""
    environment = Environment(
        loader=PackageLoader("study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        content=content,
        image=image,
        href=content.links.href,
        study_id=content.study.study_id,
        assumptions=statements.ASSUMPTIONS,
        conventions=statements.CONVENTIONS,
        private=statements.PRIVATE,
        box_note=pictures.BOX_NOTE,
        ranking=shown.RANKING,
        scar_rule=scar.RULE,
        outlines=OUTLINES,
        scar_colour=overlays.SCAR_COLOUR,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def markdown(content: Content) -> str:
    """Return the report's text and tables as Markdown that links to the picture files in the same folder."""
    parts = [f"# Study {content.study.study_id}", markdown_text(content.question), f"Data: {content.data}."]
    parts += [] if content.phantom else [statements.PRIVATE]
    parts += [f"- {markdown_text(claim.sentence)}" for claim in content.claims]
    parts += [f"- {markdown_text(line)}" for line in content.verdicts]
    shown_grids = {name: grid for name, grid in content.grids.items() if name != "runs"}
    for name, grid in shown_grids.items():
        parts += [f"## {markdown_text(grid.caption)}", markdown_table(grid), markdown_text(grid.note)]
        if name == "table1":
            parts.append("![Box plots of the registration metrics](boxplots.svg)")
        if name == "efficiency":
            parts.append("![Error against training patients](efficiency.svg)")
    for arm in content.arms:
        parts += [f"## {arm.title} ({arm.name})", arm.seen, arm.trials, *(f"{line}." for line in arm.remarks)]
        parts += [f"- {markdown_text(line)}" for line in arm.failures]
        parts.append(arm.lost)
        for picture in (*content.patients.get(arm.name, ()), *content.search.get(arm.name, ())):
            ending = "png" if picture.photo else "svg"
            parts += [f"![{picture.alt}]({picture.name}.{ending})", markdown_text(picture.note)]
    if content.trials:
        parts.append("## Trials\n\n![Objective of every trial](trials.svg)")
    parts += [f"- {markdown_text(line)}" for line in content.doubts]
    parts += ["## Conventions", *(f"- {line}" for line in (*statements.CONVENTIONS, *statements.ASSUMPTIONS))]
    parts += ["## Provenance", *(f"- {name}: {value}" for name, value in content.provenance)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _grids(study: StudyRecord, analysis: Analysis) -> list[Table]:
    """Return all tables of the page."""
    note = f"{findings.test_note(analysis.patients, any(arm.retrains for arm in study.arms))} {statements.STARS}"
    dice = "Dice, mean (SD) over patients; higher is better."
    pooled = (
        "Every slice counts alike here, whichever patient it belongs to; slices of one patient are not independent."
    )
    curve = efficiency.efficiency(analysis.patients, analysis.arms, mean_tables.REGISTRATION)
    tested = bool(analysis.patients)
    found = [mean_tables.text_table(analysis.registration, note), page_tables.claims(analysis.claims)]
    if tested:
        found += [
            page_tables.between(analysis),
            page_tables.every_test(analysis),
            page_tables.efficiency(curve),
            mean_tables.text_table(analysis.overlap, dice),
            mean_tables.text_table(analysis.segmentation, f"{dice} Stand-alone models do not segment."),
            mean_tables.text_table(analysis.pooled, pooled, with_changes=False),
            page_tables.detectable(analysis),
        ]
    return [*found, run_tables.effort(study), run_tables.selected(study), run_tables.runs(study)]

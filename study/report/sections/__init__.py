"""The sections of the report, in the order of the page. Each makes its own tables, pictures, texts and CSV files."""

from study.report.analysis import analyse
from study.report.headline import headline
from study.report.page import Content
from study.report.sections.annotations import annotations
from study.report.sections.answer import answer, summary
from study.report.sections.arms_compared import arms_compared
from study.report.sections.box_plots import every_patient
from study.report.sections.methods import conventions, statistics
from study.report.sections.patients import pictures
from study.report.sections.provenance import provenance, tracking
from study.report.sections.registration import dice, registration
from study.report.sections.search import search
from study.report.store.records import StudyRecord

SECTIONS = (
    answer,
    registration,
    arms_compared,
    annotations,
    every_patient,
    pictures,
    search,
    dice,
    statistics,
    conventions,
    provenance,
    tracking,
)


def build(study: StudyRecord) -> Content:
    """Create the content of the report from a study's records.

    Raises:
        InputError: where the arms contradict each other.
    """
    analysis = analyse(study)
    sections = tuple(section(study, analysis) for section in SECTIONS)
    return Content(study, analysis, sections, headline(study, analysis), summary(study, analysis))

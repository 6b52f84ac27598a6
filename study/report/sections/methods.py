"""Methods: what the statistical tests assume and can detect, and the conventions of the measurements."""

from study.report.analysis import Analysis
from study.report.mean_tables import REGISTRATION
from study.report.page import Bullets, Section
from study.report.records import StudyRecord
from study.report.tables import Cell, Row, Table, number_or_empty

CONVENTIONS = (
    "Unit of analysis is the patient: each patient's slices are averaged first, then the retrainings of the arm's "
    "winner where there are several; mean and sample SD (n - 1) are over patients. Pooled slices are shown beside "
    "this, as the paper does not state its convention; they are not tested, as a patient's slices are not independent.",
    "CD is the distance between the centroids of the LGE and the cine label, ASD the symmetric average surface "
    "distance with both surfaces' distances pooled; both in 2D, per slice, in mm on the common 0.75 mm grid.",
    "A slice counts for a structure where both manual labels hold it before registration.",
    "A structure that registration moves out of view is lost. It is never dropped: it counts with the worst case, the "
    "diagonal of the field of view (224 pixels x 0.75 mm x sqrt 2 = 237.6 mm) as its distance and 0 as its Dice.",
    "The objective is the geometric mean over the five registration metrics of after / before: 1 is no better than "
    "doing nothing, lower is better. It holds none of the loss weights that the search varies.",
    "Models were selected on validation patients alone. The selection was recorded before the test patients were "
    "opened, so test values were not used to choose anything.",
)
ASSUMPTIONS = (
    "The t-test and its interval take patients as independent and their differences as near normal, which matters with "
    "few patients; Wilcoxon's signed-rank test takes them as symmetric.",
    "The bootstrap (BCa, 9999 resamples of patients) takes the patients seen as standing for all; with few it is too "
    "narrow.",
    "These three take the trained models as given. With folds, the corrected resampled t-test (Nadeau and Bengio 2003) "
    "stands beside them: it knows that folds share training patients, and with few folds finds only large differences.",
    "p values are corrected by Holm over the five metrics of one comparison. Different comparisons are not corrected "
    "for each other.",
    "A p above 0.05, or an interval that holds 0, is no evidence that nothing differs: the table below says which "
    "mean difference would probably have been found.",
)
DETECTABLE = (
    "Mean difference in mm that a paired t-test would find with 80 % power at two-sided 0.05, given the number of "
    "patients and the SD of their differences. The SD is itself an estimate."
)


def statistics(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the assumptions of the statistics and the detectable differences."""
    detectable = (detectable_table(analysis),) if analysis.patients else ()
    return Section("statistics", "What the statistics assume", (Bullets(ASSUMPTIONS), *detectable))


def conventions(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the conventions."""
    return Section("conventions", "Conventions", (Bullets(CONVENTIONS),))


def detectable_table(analysis: Analysis) -> Table:
    """Return the table of detectable differences: the smallest that a t-test finds with 80 % power."""
    rows = tuple(
        Row(
            f"{compared} against {reference}",
            tuple(Cell(number_or_empty(one.detectable)) for one in family),
            (compared,),
        )
        for (reference, compared), family in analysis.comparisons.items()
    )
    header = tuple(column.heading for column in REGISTRATION)
    return Table("detectable", "What could not have been detected.", header, rows, "Comparison", DETECTABLE)

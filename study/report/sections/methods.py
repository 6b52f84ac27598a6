"""Methods: what the statistical tests assume and can detect, and the conventions of the measurements."""

from collections.abc import Mapping

from jointnet.evaluate.aggregation import ratio_text
from study.report.analysis import Analysis, count_of
from study.report.page import Bullets, Section
from study.report.store.records import StudyRecord
from study.report.tables import Cell, Row, Table, number_or_empty, with_patients
from study.store_names import PSEUDO_LABELLED_SLICES, TEACHER_PATIENTS, TEACHER_SHA256, UNLABELLED_PATIENTS

CONVENTIONS = (
    "The unit of analysis is the patient. Values are averaged over a patient's slices, then over the retrainings of "
    "the arm's selected trial, if there are any; mean and sample SD (n - 1) are over patients. Pooled slices are "
    "reported in addition, because the paper does not state its convention. They are not tested: slices of one patient "
    "are not independent.",
    "CD is the distance between the centroids of the LGE and the cine label, ASD the symmetric average surface "
    "distance with both surfaces' distances pooled; both in 2D, per slice, in mm on the common 0.75 mm grid.",
    "A slice is evaluated for a structure if both manual labels contain the structure before registration, wholly in "
    "the field that both scans cover. What this common field cuts is left out and counted.",
    "A structure that registration moves out of the field of view is lost. It is not excluded: its distance is set to "
    "the worst case, the diagonal of the field of view (224 pixels x 0.75 mm x sqrt 2 = 237.6 mm), and its Dice to 0.",
)
OBJECTIVE = (
    "of the error after registration divided by the error before it. Lower is better; 1 is no better than no "
    "registration. It contains none of the loss weights that the search varies."
)
SELECTION = (
    "Models were selected on validation patients only. The selection was recorded before the evaluation on the test "
    "patients"
)
OPENED_ONCE = f"{SELECTION}, so test values were not used for any choice."
OPENED_AGAIN = f"{SELECTION}. An arm opened them more than once, so its later choices were made with test values known."
ASSUMPTIONS = (
    "The t-test and its interval assume independent patients and near-normal differences, which matters with few "
    "patients; Wilcoxon's signed-rank test assumes independent patients and symmetric differences.",
    "The bootstrap (BCa, 9999 resamples of patients) assumes that the patients represent the population; with few "
    "patients its intervals are too narrow.",
    "These three methods treat the trained models as fixed. With folds and retrainings, the deciding interval also "
    "covers training sets and seeds: it is the wider of the t interval over patients and one over the means of the "
    "folds, whose variance is increased by what training patients that folds share can add at most. The corrected "
    "resampled t-test (Nadeau and Bengio 2003) is reported in addition.",
    "p values are corrected by Holm over all metrics of one comparison. They are not corrected across comparisons.",
    "A p value above 0.05, or an interval that contains 0, is no evidence of equality: the table below gives the mean "
    "difference that would probably have been detected.",
)
DETECTABLE = (
    "Mean difference in mm that the deciding interval would detect with 80 % power at two-sided 0.05, given the number "
    "of patients and folds and the observed spread, which is itself an estimate."
)


def statistics(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the assumptions of the statistics and the detectable differences."""
    detectable = (detectable_table(analysis),) if analysis.patients else ()
    return Section("statistics", "Statistical methods", (Bullets(ASSUMPTIONS), *detectable))


def conventions(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the conventions."""
    openings = {arm.openings for arm in study.arms}
    objective, ratio = analysis.objective, f"the {ratio_text(analysis.endpoints)} {OBJECTIVE}"
    ranked = f"The objective is {ratio}"
    if not objective.is_ratio:
        unit = f" in {objective.unit}" if objective.unit else ""
        ranked = (
            f"The objective is {objective.title}{unit}, {objective.metric}; {objective.better}. The ratio is {ratio}"
        )
    if objective.further:
        others = " and ".join(f"{each.metric} ({each.better})" for each in objective.further)
        ranked += f". The search also followed {others}, for the Pareto front; the objective alone chose the winners"
    selection = OPENED_ONCE if openings == {1} else OPENED_AGAIN if max(openings, default=0) > 1 else f"{SELECTION}."
    return Section(
        "conventions", "Conventions", (Bullets((*CONVENTIONS, ranked, selection, *pseudo_labels(study.tags))),)
    )


def pseudo_labels(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paragraph about the patients without labels of a study; none without such patients."""
    if UNLABELLED_PATIENTS not in tags:
        return ()
    return (
        f"{count_of(int(tags[UNLABELLED_PATIENTS]), 'patient')} without labels took part by pseudo-labels, in the arms "
        f"whose model segments: segmentations of a teacher (SHA-256 {tags[TEACHER_SHA256]}) in "
        f"{tags[PSEUDO_LABELLED_SLICES]} slices, where those of both scans agree after its registration. They are not "
        f"counted as annotated, and neither are the {count_of(int(tags[TEACHER_PATIENTS]), 'patient')} that the "
        "teacher was trained and validated on. None of these is a validation or test patient of the study.",
    )


def detectable_table(analysis: Analysis) -> Table:
    """Return the table of detectable differences: the smallest that are found with 80 % power."""
    rows = tuple(
        Row(
            f"{compared} against {reference}",
            tuple(Cell(number_or_empty(one.deciding.detectable)) for one in family),
            (compared,),
        )
        for (reference, compared), family in analysis.comparisons.items()
    )
    families = list(zip(*analysis.comparisons.values(), strict=True))
    counts = [[one.test.patients for one in family] for family in families]
    header = with_patients([column.heading for column in analysis.columns], counts)
    return Table("detectable", "Smallest detectable differences.", header, rows, "Comparison", DETECTABLE)

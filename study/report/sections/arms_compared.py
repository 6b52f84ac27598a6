"""Arms compared with each other after registration, and every comparison with every test."""

from study.report.analysis import Analysis
from study.report.page import Details, Section
from study.report.statistics.claim_result import TITLES
from study.report.statistics.comparisons import Comparison, comparison_frame
from study.report.statistics.deciding import METHOD, ONE_SPLIT, ONE_TRAINING
from study.report.statistics.paired import significance_stars
from study.report.store.records import StudyRecord
from study.report.tables import Cell, Row, Table, interval, p_value, text_row, with_patients

SCOPES = {
    METHOD: "over patients, training sets and seeds",
    ONE_SPLIT: "over patients, for the models of this one split",
    ONE_TRAINING: "over patients, for the models that the searches chose",
}
"""The variation that the deciding intervals cover, by their scope."""


def arms_compared(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the differences between arms. Its CSV file also has the changes from before."""
    between = (between_table(analysis),) if analysis.between else ()
    every = Details("All comparisons and tests", (tests_table(analysis),))
    return Section(
        "arms",
        "Arms compared",
        (*between, every) if analysis.patients else (),
        {"comparisons": comparison_frame(analysis.comparisons)},
    )


def between_table(analysis: Analysis) -> Table:
    """Return the table of differences between the arms after registration, one row per pair."""
    counts = [[one.test.patients for one in family] for family in zip(*analysis.between.values(), strict=True)]
    header = with_patients([column.heading for column in analysis.columns], counts)
    rows = [
        Row(
            f"{compared} minus {reference}",
            tuple(Cell(deciding_interval(one), significance_stars(one.holm_deciding_p)) for one in family),
            (compared, reference),
        )
        for (reference, compared), family in analysis.between.items()
    ]
    scopes = dict.fromkeys(SCOPES[one.deciding.scope] for family in analysis.between.values() for one in family[:1])
    note = (
        f"Mean difference over patients with its 95 % interval {' or '.join(scopes)}; negative values favour the first "
        "arm. * p < 0.05, ** p < 0.005 (the p values of these intervals, Holm over all metrics)."
    )
    return Table("between", "Differences between arms.", header, tuple(rows), "Difference", note, in_paper=True)


def deciding_interval(one: Comparison) -> str:
    """Return the mean difference with the interval that decides."""
    return interval(one.test.difference, one.deciding.low, one.deciding.high)


def tests_table(analysis: Analysis) -> Table:
    """Return the table of all comparisons with all of their tests and intervals."""
    rows = []
    for (reference, compared), family in analysis.comparisons.items():
        for one in family:
            test, folds, relative = one.test, one.folds, one.relative
            words = [
                f"{compared} minus {reference}",
                TITLES[one.metric, one.structure],
                str(test.patients),
                interval(test.difference, test.low, test.high),
                p_value(test.p),
                p_value(one.holm_p),
                p_value(test.wilcoxon_p),
                p_value(one.holm_wilcoxon_p),
                interval(None, one.deciding.low, one.deciding.high),
                p_value(one.holm_deciding_p),
                interval(None, one.bootstrap.low, one.bootstrap.high),
                interval(100 * relative.estimate, 100 * relative.low, 100 * relative.high, 0),
                p_value(folds.p) if folds.folds > 1 else "",
                "; ".join(dict.fromkeys(reason for reason in (one.reason, one.bootstrap.reason) if reason)),
            ]
            rows.append(text_row(words, *([compared] if reference == "before" else [compared, reference])))
    header = (
        *("Endpoint", "n", "Mean difference [95 % t interval], mm", "p (t)", "p (t, Holm)", "p (Wilcoxon)"),
        *("p (Wilcoxon, Holm)", "Deciding interval, mm", "p (deciding, Holm)", "Bootstrap interval, mm"),
        *("Relative change [bootstrap], %", "p (Nadeau and Bengio)", "Remark"),
    )
    return Table("tests", "Mean differences with all tests and intervals.", header, tuple(rows), "Difference")

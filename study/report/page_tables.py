"""The page's tables of comparisons: claims, differences between arms, all tests, and detectable differences."""

from collections.abc import Iterable, Sequence

import pandas as pd

from study.report import mean_tables
from study.report.analysis import Analysis
from study.report.statements import DETECTABLE
from study.report.statistics.claim_result import TITLES, ClaimResult
from study.report.statistics.comparisons import Comparison
from study.report.statistics.paired import significance_stars
from study.report.tables import Cell, Row, Table, interval, number, number_or_empty, p_value, text_row


def claims(results: Sequence[ClaimResult]) -> Table:
    """Return the table of all claims in all endpoints, with their verdicts and the intervals that decide them."""
    rows = []
    for one in results:
        margin = "" if one.claim == "superior" else f"{number(one.margin_mm)} ({one.margin_source})"
        words = [
            f"{one.joint} is {one.claim} to {one.standalone}",
            TITLES[one.metric, one.structure] + (" (primary)" if one.primary else ""),
            one.verdict,
            interval(one.difference.difference, one.difference.low, one.difference.high),
            margin,
            interval(one.contrast.test.difference, one.contrast.test.low, one.contrast.test.high),
            p_value(one.contrast.holm_p),
            one.reason,
        ]
        rows.append(text_row(words, one.joint, one.standalone))
    header = ("Endpoint", "Verdict", "Difference", "Margin", "Difference minus margin", "p (Holm)", "Remark")
    note = "mm, with 95 % t intervals. The last difference decides: supported below 0, refuted above it."
    return Table("claims", "The claims made in advance, endpoint by endpoint.", header, tuple(rows), "Claim", note)


def between(analysis: Analysis) -> Table:
    """Return the table of differences between the arms after registration, one row per pair."""
    header = tuple(column.heading for column in mean_tables.REGISTRATION)
    rows = [
        Row(
            f"{compared} minus {reference}",
            tuple(
                Cell(interval(c.test.difference, c.test.low, c.test.high), significance_stars(c.holm_p)) for c in family
            ),
            (compared, reference),
        )
        for (reference, compared), family in analysis.between.items()
    ]
    note = (
        "Mean difference over patients with its 95 % t interval; below 0 the first arm is better. * p < 0.05, "
        "** p < 0.005 (paired t-test, Holm over the five metrics)."
    )
    return Table("between", "Arms compared with each other.", header, tuple(rows), "Difference", note)


def every_test(analysis: Analysis) -> Table:
    """Return the table of all comparisons with all of their tests and intervals."""
    families = {("before", name): family for name, family in analysis.changes.items()} | dict(analysis.between)
    rows = []
    for (reference, compared), family in families.items():
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
                interval(None, one.bootstrap.low, one.bootstrap.high),
                interval(100 * relative.estimate, 100 * relative.low, 100 * relative.high, 0),
                p_value(folds.p) if folds.folds > 1 else "",
                "; ".join(dict.fromkeys(reason for reason in (one.reason, one.bootstrap.reason) if reason)),
            ]
            rows.append(text_row(words, *([compared] if reference == "before" else [compared, reference])))
    header = (
        *("Endpoint", "n", "Mean difference [95 % t interval], mm", "p (t)", "p (t, Holm)", "p (Wilcoxon)"),
        *("p (Wilcoxon, Holm)", "Bootstrap interval, mm", "Relative change [bootstrap], %", "p (over folds)", "Remark"),
    )
    return Table("tests", "Every comparison with every test.", header, tuple(rows), "Difference")


def detectable(analysis: Analysis) -> Table:
    """Return the table of detectable differences: the smallest that a t-test finds with 80 % power."""
    families = {("before", name): family for name, family in analysis.changes.items()} | dict(analysis.between)

    def cells(family: Iterable[Comparison]) -> tuple[Cell, ...]:
        return tuple(Cell(number_or_empty(one.detectable)) for one in family)

    rows = tuple(
        Row(f"{compared} against {reference}", cells(family), (compared,))
        for (reference, compared), family in families.items()
    )
    header = tuple(column.heading for column in mean_tables.REGISTRATION)
    return Table("detectable", "What could not have been detected.", header, rows, "Comparison", DETECTABLE)


def efficiency(table: pd.DataFrame) -> Table:
    """Return the table of the annotation-efficiency curve."""
    header = tuple(column.heading for column in mean_tables.REGISTRATION)
    rows = []
    for arm, own in table.groupby("arm", sort=False):
        by = {(one["metric"], one["structure"]): one for one in own.to_dict("records")}
        found = [by[column.metric, column.structure] for column in mean_tables.REGISTRATION]
        words = [interval(one["mean"], one["low"], one["high"]) for one in found]
        name = "before" if arm == "before" else f"{own['model'].iloc[0]}, {own['train'].iloc[0]} patients"
        rows.append(text_row([name, *words], str(arm)))
    caption = "Mean error against the number of training patients, with 95 % t intervals of the mean."
    return Table("efficiency", caption, header, tuple(rows), "Model")

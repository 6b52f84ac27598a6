"""Question and answer: the pre-specified claims and their verdicts, and the best model on validation."""

import math
from collections.abc import Sequence
from itertools import groupby

from jointnet.evaluate.aggregation import registration_ratio
from study.report.analysis import Analysis, with_fold
from study.report.page import Block, Bullets, Section, Text, Verdicts
from study.report.records import ArmRecord, StudyRecord
from study.report.statistics.claim_result import TITLES, ClaimResult, claims_frame
from study.report.tables import Table, interval, number, p_value, text_row

NO_CLAIM = (
    "The pre-specified claims compare a joint model trained on few patients with stand-alone models trained on as few "
    "and on more patients. This study has no test values for these three arms, so no claim is assessed."
)


def answer(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the question, the claims and their verdicts, and the best model on validation."""
    questions = [str(search.get("question", "")) for search in study.specification.get("searches", [])]
    question = " ".join(questions) or str(study.specification.get("question", ""))
    primary = tuple((claim.verdict, claim.sentence) for claim in analysis.claims if claim.primary)
    judged: tuple[Block, ...] = (Verdicts(primary), claims_table(analysis.claims)) if primary else (Text(NO_CLAIM),)
    return Section(
        "answer",
        "Question and answer",
        (*((Text(question),) if question else ()), *judged, Bullets(tuple(best_models(study, analysis)))),
        {"claims": claims_frame(analysis.claims)},
    )


def claims_table(results: Sequence[ClaimResult]) -> Table:
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
    note = (
        "Differences in mm with 95 % t intervals. Difference minus margin decides: supported below 0, refuted above 0."
    )
    return Table("claims", "The pre-specified claims by endpoint.", header, tuple(rows), "Claim", note, in_paper=True)


def best_models(study: StudyRecord, analysis: Analysis) -> list[str]:
    """Return sentences with the best model on validation per number of training patients, warnings and missing arms."""
    lines = []
    values = {name: validation_objective(records) for name, records in analysis.arms.items()}
    chosen = sorted((n for n, value in values.items() if not math.isnan(value)), key=analysis.train)
    for train, group in groupby(chosen, key=analysis.train):
        ranked = sorted(group, key=lambda name: values[name], reverse=study.direction == "maximize")
        objectives = "; ".join(f"{name} {values[name]:.3f}" for name in ranked)
        over = ", mean over folds" if analysis.arms[ranked[0]][0].folds > 1 else ""
        text = f"With {train} training patients, the best model on validation is {ranked[0]} "
        text += f"(objective{over}: {objectives})."
        ratios = [f"{name} {analysis.test_ratio(name):.3f}" for name in ranked if name in analysis.slices]
        lines.append(text + (f" Objective on the test patients: {'; '.join(ratios)}." if ratios else ""))
    if not study.arms:
        lines.append("The store holds no arm of this study yet.")
    elif not analysis.slices:
        lines.append("No arm has test values yet.")
    lines += [warning for arm in study.arms for warning in _warnings(arm)]
    return lines + [f"Planned but not in the store: {arm}." for arm in study.missing]


def validation_objective(records: Sequence[ArmRecord]) -> float:
    """Return the validation objective of an arm's selected trials, averaged over folds; NaN without a selection."""
    recorded = [(record.selection or {}).get("objective", record.tags.get("selection.objective")) for record in records]
    values = [float(value) for value in recorded if value is not None]
    return sum(values) / len(values) if values else math.nan


def _warnings(arm: ArmRecord) -> list[str]:
    """Return warnings about an arm's test values: repeated test evaluations, or a logged objective that differs."""
    lines = []
    if arm.openings > 1:
        lines.append(
            with_fold(arm, f"{arm.arm} opened the test patients {arm.openings} times: they are no longer unseen.")
        )
    logged = arm.metrics.get("test/registration_ratio")
    if arm.rows is not None and logged is not None:
        own = registration_ratio(arm.rows)
        if not math.isclose(own, logged, rel_tol=1e-6):
            text = f"{arm.arm}: its logged test objective {logged:.4f} differs from that of its test rows, {own:.4f}."
            lines.append(with_fold(arm, text))
    return lines

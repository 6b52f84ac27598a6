"""Question and answer: a summary, the pre-specified claims and their verdicts, and the best model on validation."""

import math
from collections.abc import Sequence
from itertools import groupby

from jointnet.evaluate.aggregation import registration_ratio
from study.arm_differences import span
from study.report.analysis import Analysis, count_of, with_fold
from study.report.page import Block, Bullets, Section, Text, Verdicts
from study.report.sections.arms_compared import SCOPES, deciding_interval
from study.report.statistics.claim_result import TITLES, WHAT_TO_RUN, ClaimResult, claims_frame
from study.report.statistics.deciding import METHOD
from study.report.statistics.paired import significance_stars
from study.report.store.records import ArmRecord, StudyRecord
from study.report.tables import Table, number, p_value, text_row, with_patients
from study.store_names import DESCRIPTORS, REMARKS_TAG

NO_CLAIM = (
    "The pre-specified claims compare a joint model trained on few patients with stand-alone models trained on as few "
    "and on more patients. No claim is assessed"
)


def answer(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the question, the claims and their verdicts, and the best model on validation."""
    questions = [str(search.get("question", "")) for search in study.specification.get("searches", [])]
    question = " ".join(questions) or str(study.specification.get("question", ""))
    primary = tuple((claim.verdict, claim.sentence) for claim in analysis.claims if claim.primary)
    judged: tuple[Block, ...] = (Text(f"{NO_CLAIM}: {analysis.no_claim}."),)
    if primary:
        judged = (Verdicts(primary), claims_table(analysis.claims))
    lines = tuple(best_models(study, analysis))
    return Section(
        "answer",
        "Question and answer",
        (*((Text(question),) if question else ()), *judged, *((Bullets(lines),) if lines else ())),
        {"claims": claims_frame(analysis.claims)},
    )


def summary(study: StudyRecord, analysis: Analysis) -> tuple[str, ...]:
    """Return the reasons for the headline in a few sentences: claims, tests, what was compared, and limits."""
    ranked = analysis.ranked
    verdicts = [
        f"{claim.statement}: {'cannot be judged' if math.isnan(claim.difference.test.difference) else claim.verdict}."
        for claim in analysis.claims
        if claim.primary
    ]
    lines = [f"Pre-specified claims: {' '.join(verdicts)}"] if verdicts else []
    if not ranked:
        return tuple(lines)
    lines.append(_best_tested(analysis, ranked[0]))
    if len(ranked) > 1:
        lines.append(_margin_of_best(analysis, ranked[0], ranked[1]))
    if analysis.baselines:
        lines.append(_without_annotation(analysis, ranked[0]))
    lines.append(f"Limits: {'; '.join(_limits(study, analysis, ranked[0]))}.")
    remarks = study.tags.get(REMARKS_TAG, "").splitlines()
    return (*lines, f"Patients and splits: {'; '.join(remarks)}.") if remarks else tuple(lines)


def _best_tested(analysis: Analysis, best: str) -> str:
    """Return a sentence with the arm of the best objective on the test patients and its change from before."""
    changes = analysis.changes[best]
    lower = sum(one.test.difference < 0 and bool(significance_stars(one.holm_p)) for one in changes)
    return (
        f"{best} has {_named(analysis)} {_value(analysis, best)}; {lower} of {len(changes)} metrics improve from "
        "before registration at p < 0.05 (paired t-test, Holm)."
    )


def _named(analysis: Analysis) -> str:
    return "a ratio of" if analysis.objective.is_ratio else analysis.objective.title


def _value(analysis: Analysis, name: str) -> str:
    return analysis.objective.text(analysis.test_value(name))


def _margin_of_best(analysis: Analysis, best: str, second: str) -> str:
    """Return a sentence with the arm that follows the best and the tests of their differences."""
    family = next(family for pair, family in analysis.between.items() if set(pair) == {best, second})
    different = sum(bool(significance_stars(one.holm_deciding_p)) for one in family)
    of = "" if family[0].deciding.scope == METHOD else f" ({family[0].deciding.scope})"
    return (
        f"Next: {second} with {_value(analysis, second)}. These two arms differ at p < 0.05 in {different} of "
        f"{len(family)} metrics{of}."
    )


def _without_annotation(analysis: Analysis, best: str) -> str:
    """Return a sentence with the baselines and, for the descriptors, the tests against the best arm."""
    named = ", ".join(f"{name} ratio {analysis.test_ratio(name):.3f}" for name in analysis.baselines)
    if analysis.objective.is_ratio:
        named = named.replace(" ratio ", " ")
    text = f"Without any annotated patient: {named}"
    if (family := analysis.between.get((DESCRIPTORS, best))) is None:
        return f"{text}."
    different = sum(bool(significance_stars(one.holm_deciding_p)) for one in family)
    of = "" if family[0].deciding.scope == METHOD else f" ({family[0].deciding.scope})"
    side = "below" if analysis.test_ratio(DESCRIPTORS) < analysis.test_ratio(best) else "above"
    place = "lowest" if analysis.objective.is_ratio else "best"
    return (
        f"{text}. {DESCRIPTORS.capitalize()} are {side} the {place} arm, {best}, and differ from it at p < 0.05 in "
        f"{different} of {len(family)} metrics{of}."
    )


def _limits(study: StudyRecord, analysis: Analysis, best: str) -> list[str]:
    """Return the reasons that limit the trust in the results."""
    folds = analysis.arms[best][0].folds
    patients = count_of(analysis.patients[best]["patient"].nunique(), "test patient")
    limits = [f"{patients} {f'in {folds} folds' if folds > 1 else 'of one split'}"]
    if study.tags.get("data.kind") == "phantom":
        limits.insert(0, "synthetic scans")
    if not any(arm.retrains for arm in study.arms):
        limits.append("one training seed per arm")
    if repeated := [arm.arm for arm in study.arms if arm.openings > 1]:
        limits.append(f"test patients evaluated more than once by {', '.join(dict.fromkeys(repeated))}")
    if untested := [name for name in analysis.arms if name not in analysis.slices]:
        limits.append(f"no test values of {', '.join(untested)}")
    if study.missing:
        limits.append(f"not in the store: {', '.join(study.missing)}")
    return limits


def claims_table(results: Sequence[ClaimResult]) -> Table:
    """Return the table of all claims in all endpoints, with their verdicts and the intervals that decide them."""
    rows = []
    for one, endpoint in zip(results, _endpoints(results), strict=True):
        margin = "" if one.claim == "superior" else f"{number(one.margin_mm)} ({one.margin_source})"
        words = [
            f"{one.joint} is {one.claim} to {one.standalone}",
            endpoint + (" (primary)" if one.primary else ""),
            one.verdict,
            deciding_interval(one.difference),
            margin,
            deciding_interval(one.contrast),
            p_value(one.contrast.holm_deciding_p),
            one.reason,
        ]
        rows.append(text_row(words, one.joint, one.standalone))
    header = ("Endpoint", "Verdict", "Difference", "Margin", "Difference minus margin", "p (Holm)", "Remark")
    scope = results[0].difference.deciding.scope
    decides = "Difference minus margin decides: supported below 0, refuted above 0."
    note = f"Differences in mm with 95 % intervals {SCOPES[scope]}. " + (
        decides if scope == METHOD else f"They decide nothing about methods: that needs {WHAT_TO_RUN}."
    )
    return Table("claims", "The pre-specified claims by endpoint.", header, tuple(rows), "Claim", note, in_paper=True)


def _endpoints(results: Sequence[ClaimResult]) -> tuple[str, ...]:
    """Return the titles of the claims' endpoints, with the number of patients where they differ in it."""
    titles = [TITLES[one.metric, one.structure] for one in results]
    return with_patients(titles, [[one.difference.test.patients] for one in results])


def best_models(study: StudyRecord, analysis: Analysis) -> list[str]:
    """Return sentences with the best model on validation of several with one split, warnings and missing arms."""
    lines = []
    values = {name: validation_objective(records) for name, records in analysis.arms.items()}
    first = {name: records[0] for name, records in analysis.arms.items()}

    def split(name: str) -> tuple[int, int]:
        return first[name].train, first[name].validation

    chosen = sorted((name for name, value in values.items() if not math.isnan(value)), key=split)
    for (train, validation), group in groupby(chosen, key=split):
        ranked = sorted(group, key=lambda name: study.objective.cost(values[name]))
        if len(ranked) == 1:
            continue
        objectives = "; ".join(f"{name} {study.objective.text(values[name])}" for name in ranked)
        over = ", mean over folds" if analysis.arms[ranked[0]][0].folds > 1 else ""
        needs = span(record.annotated for name in ranked for record in analysis.arms[name])
        who = f"{train} training and {validation} validation patients ({needs} annotated)"
        text = f"With {who}, the best model on validation is {ranked[0]} (validation objective{over}: {objectives})."
        tested = [f"{name} {_value(analysis, name)}" for name in ranked if name in analysis.slices]
        lines.append(text + (f" Objective on the test patients: {'; '.join(tested)}." if tested else ""))
    if not study.arms:
        lines.append("The store holds no arm of this study yet.")
    elif not analysis.tested:
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
            text = (
                f"{arm.arm}: its logged registration ratio {logged:.4f} differs from that of its test rows, {own:.4f}."
            )
            lines.append(with_fold(arm, text))
    return lines

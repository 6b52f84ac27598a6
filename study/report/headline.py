"""The answer of a study in two or three sentences: which setting won, by how much, and whether to trust it.

The terminal, the report and the description of the study's MLflow run show these sentences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jointnet.evaluate.aggregation import summarise
from jointnet.train.objective import Objective
from study.report.analysis import Analysis, annotated, count_of
from study.report.search.front import front_sentence
from study.report.search.selection_warnings import NOISE_SD, doubts
from study.report.search.trial_table import search_parameters
from study.report.statistics.claim_result import TITLES
from study.report.statistics.paired import significance_stars
from study.report.store.records import ArmRecord, StudyRecord
from study.report.tables import number
from study.setting_text import setting_text

AS_GOOD = 2 * NOISE_SD
"""Two ratios that differ by at most two SD of the noise between seeds count as equally good."""


@dataclass(frozen=True)
class Headline:
    """The answer of a study.

    Attributes:
        result: the best setting, and the error before and after registration; or that nothing is better than none.
        trust: the reasons for doubt, or what to change where nothing is better than no registration.
        ratio: what the ratio of `result` is; empty where it has none.
        front: how many trials are on the Pareto front; empty where the objective has one metric.
    """

    result: str
    trust: str = ""
    ratio: str = ""
    front: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The parts that are not empty."""
        return tuple(part for part in (self.result, self.trust, self.front, self.ratio) if part)


def headline(study: StudyRecord, analysis: Analysis) -> Headline:
    """Return the answer of a study, from the arm with the best objective on the test patients."""
    return replace(_answer(study, analysis), front=front_sentence(study))


def _answer(study: StudyRecord, analysis: Analysis) -> Headline:
    """Return the answer without the sentence about the Pareto front."""
    if not analysis.ranked:
        return _without_test(study)
    best, arms, ratio = analysis.ranked[0], len(analysis.ranked), analysis.test_ratio(analysis.ranked[0])
    records, first = analysis.arms[best], analysis.changes[best][0]
    patients = count_of(first.test.patients, "unseen patient")
    error = f"{_change(analysis, best)} on {patients}, ratio {number(ratio)}"
    measured = (first.metric, first.structure) if analysis.objective.is_ratio else _endpoint(analysis.objective)
    explained = (
        f"{_measured(*measured)}Ratio: the error after registration divided by the error before "
        f"it, {analysis.ratio}; 1 means no improvement."
    )
    if _is_no_better(analysis, best):
        result = f"No arm is better than no registration. The best, {_who(study, records, arms)}: {error}."
        return Headline(result, _what_to_change(records), explained)
    reasons = [*_doubts(study, analysis, best), *_as_good(analysis, best)]
    trust = f"Doubtful: {'; '.join(reasons)}." if reasons else "The search gives no reason for doubt."
    return Headline(f"Best of {_who(study, records, arms)}; {error}.", trust, explained)


def _change(analysis: Analysis, name: str) -> str:
    """Return the objective's metric before and after registration with its unit; of the ratio the first of its own."""
    objective = analysis.objective
    if objective.is_ratio:
        first = analysis.changes[name][0]
        title = TITLES[first.metric, first.structure]
        return f"{title} {number(first.reference_mean)} to {number(first.compared_mean)} mm"
    before = _before(analysis, name)
    since = "" if math.isnan(before) else f"{number(before)} to "
    return f"{objective.title} {since}{_with_unit(objective, analysis.test_value(name))}"


def _with_unit(objective: Objective, value: float) -> str:
    """Return a value of the objective with its unit."""
    return f"{number(value)} {objective.unit}".rstrip()


def _before(analysis: Analysis, name: str) -> float:
    """Return the objective's metric before registration; NaN where it has none."""
    return float(summarise(analysis.slices[name])["before_mean"].get(_endpoint(analysis.objective), math.nan))


def _is_no_better(analysis: Analysis, name: str) -> bool:
    """Return whether the objective is no better than before registration; by the ratio where there is no such value."""
    before = math.nan if analysis.objective.is_ratio else _before(analysis, name)
    cost = analysis.objective.cost
    return analysis.test_ratio(name) >= 1 if math.isnan(before) else cost(analysis.test_value(name)) >= cost(before)


def _endpoint(objective: Objective) -> tuple[str, str]:
    """Return metric and structure of an objective."""
    metric, _, structure = objective.metric.removeprefix("val/").partition("/")
    return metric, structure


def _measured(metric: str, structure: str) -> str:
    """Return an explanation of the distance between centres, for its endpoint."""
    if metric != "cd_mm":
        return ""
    return f"{TITLES[metric, structure]}: the distance between the centres of the {structure.upper()} in both scans. "


def _without_test(study: StudyRecord) -> Headline:
    """Return the answer of a study without test values: the best selected trial on validation, if any."""
    objective = study.objective
    chosen = [(objective.cost(arm.selected.objective), place) for place, arm in enumerate(study.arms) if arm.selected]
    if not chosen:
        return Headline("No arm has test values yet, so there is no result.")
    value, place = min(chosen)
    who = _who(study, (study.arms[place],), len(study.arms))
    return Headline(
        f"No arm has test values yet, so there is no result. On validation the best of {who}: {objective.metric} "
        f"{objective.text(objective.cost(value))}."
    )


def _who(study: StudyRecord, records: Sequence[ArmRecord], arms: int) -> str:
    """Return the number of trials or arms, the annotated patients, and the winner with its setting."""
    arm = records[0]
    trials = sum(len(record.trials) for record in records)
    patients = f"{annotated(records)} patients"
    text = f"{count_of(trials, 'trial')} with {patients}: {arm.arm}" if arms == 1 else f"{arms} arms: {arm.arm}"
    within = "" if arms == 1 else f" of {count_of(trials, 'trial')} with {patients}"
    texts = {_setting(study, record) for record in records if record.selected is not None}
    if len(records) > 1:
        same = f" ({next(iter(texts))})" if len(texts) == 1 and "" not in texts else ""
        return f"{text} in {len(records)} folds{within}{same or ', with a setting of its own in each'}"
    if arm.selected is None:
        return text
    setting = next(iter(texts))
    return f"{text} {arm.selected.trial_id}{within}, {setting or 'the settings of its arm'}"


def _setting(study: StudyRecord, arm: ArmRecord) -> str:
    """Return the setting of the selected trial: the searched parameters."""
    names = [one.name for one in search_parameters(study.specification, arm)]
    return setting_text(arm.selected.parameters, names) if arm.selected is not None else ""


def _doubts(study: StudyRecord, analysis: Analysis, best: str) -> list[str]:
    """Return the reasons for doubt about the best arm and its search, short."""
    records = analysis.arms[best]
    reasons = ["synthetic scans"] if study.tags.get("data.kind") == "phantom" else []
    reasons += [
        reason for record in records for reason in doubts(record, search_parameters(study.specification, record))
    ]
    reasons += [reason for record in records if (reason := _default(study, record))]
    if any(record.openings > 1 for record in records):
        reasons.append("the test patients were opened more than once")
    if not any(one.test.difference < 0 and significance_stars(one.holm_p) for one in analysis.changes[best]):
        reasons.append("no metric changes significantly")
    return list(dict.fromkeys(reasons))


def _default(study: StudyRecord, arm: ArmRecord) -> str:
    """Return whether the default settings, where the first trial has them, are as good as the selected trial."""
    planned = [each for each in study.specification.get("arms", []) if each.get("arm") == arm.arm]
    of_arm = {each.get("search") for each in planned}
    searches = [each for each in study.specification.get("searches", []) if each.get("name") in of_arm]
    begins = any(each.get("settings_first") for each in (*planned, *searches))  # older studies: of the search
    if arm.selected is None or not arm.trials or not begins:
        return ""
    default = min(arm.trials, key=lambda trial: trial.trial_id)
    if default.trial_id == arm.selected.trial_id:
        return "the default won"
    noise = _as_good_within(study.objective)
    return "the default is as good" if abs(default.objective - arm.selected.objective) <= noise else ""


def _as_good_within(objective: Objective) -> float:
    """Return the difference up to which two objectives are equally good; 0 where the noise is not known."""
    return AS_GOOD if objective.is_ratio else 0.0


def _as_good(analysis: Analysis, best: str) -> list[str]:
    """Return the other arms, and the rows without training, whose objective is as good or better."""
    own, noise = analysis.objective, _as_good_within(analysis.objective)
    cost = own.cost(analysis.test_value(best))
    near = {
        name: value
        for name in analysis.titles
        if name != best and own.cost(value := analysis.test_value(name)) <= cost + noise
    }
    metric = "ratio" if own.is_ratio else own.title
    values = {name: f"({metric} {_with_unit(own, value)})" for name, value in near.items()}
    reasons = [f"{name} is as good {values[name]}" for name in near if name in analysis.arms]
    for name, value in near.items():
        if name not in analysis.arms:
            how = "as good" if own.cost(value) >= cost - noise else "better"
            reasons.append(f"without any training, {name} {'are' if name.endswith('s') else 'is'} {how} {values[name]}")
    return reasons


def _what_to_change(records: Sequence[ArmRecord]) -> str:
    """Return what to change where nothing is better than no registration."""
    epochs = max((trial.epochs for record in records for trial in record.trials), default=0)
    trials = max(len(record.trials) for record in records)
    return (
        f"What to change: longer training (--max-epochs; the longest trial had {count_of(epochs, 'epoch')}), more "
        f"trials (--num-samples; there were {trials}), more than {annotated(records)} patients, or "
        "the settings `default`, with a guided head and refinement."
    )

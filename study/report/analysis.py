"""The numbers of a study that several sections of the report share: per-patient means, comparisons and claims."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pandas as pd

from jointnet.evaluate.aggregation import ENDPOINTS, Endpoint, named_metrics, ratio_text, registration_ratio
from jointnet.models import MODELS
from jointnet.train.objective import Objective
from study.arm_differences import span
from study.report.mean_tables import REGISTRATION, Column
from study.report.statistics.claim_arms import ClaimArm, claim_arms
from study.report.statistics.claim_result import ClaimResult
from study.report.statistics.claims import LV_CD, given_margins, non_inferiority, superiority
from study.report.statistics.comparisons import Comparison, compare_arms, compare_with_before
from study.report.statistics.trainings import Trainings, together, trainings_of, unknown_trainings
from study.report.store.records import ArmRecord, BaselineRecord, StudyRecord, TrialRecord
from study.report.store.slice_rows import check_rows, over_folds, retrainings
from study.store_names import BASELINES, DESCRIPTORS, SHORT_TITLE_TAG, TITLE_TAG

Family = tuple[Comparison, ...]
_NUMBERS = ("no metric", "one metric", "two metrics", "three metrics", "four metrics", "five metrics")


@dataclass(frozen=True)
class Analysis:
    """The numbers of a study.

    Attributes:
        objective: the metric by which the trials were ranked, and by which the arms are.
        endpoints: the registration metrics of the data's structures.
        arms: the records by arm, one per fold, in the order of the tables.
        titles: the titles of the rows of Table 1: baselines, then arms.
        slices: per-slice test rows by baseline and arm, of all folds and seeds, with a column `fold`; tested ones only.
        patients: their patients over folds and seeds, as returned by `study.report.store.slice_rows.over_folds`.
        changes: each of them compared with before registration, in the registration metrics.
        between: the comparisons of each arm with the descriptors, then of two arms, by reference and compared arm.
        claims: the results of the claims stated in advance; empty where none is made.
        no_claim: why none is made; empty where they are.
    """

    objective: Objective
    endpoints: tuple[Endpoint, ...]
    arms: Mapping[str, tuple[ArmRecord, ...]]
    titles: Mapping[str, str]
    slices: Mapping[str, pd.DataFrame]
    patients: Mapping[str, pd.DataFrame]
    changes: Mapping[str, Family]
    between: Mapping[tuple[str, str], Family]
    claims: tuple[ClaimResult, ...]
    no_claim: str

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of tables and figures of the registration error."""
        return tuple(column for column in REGISTRATION if (column.metric, column.structure) in self.endpoints)

    @property
    def structures(self) -> frozenset[str]:
        """The data's structures."""
        return frozenset(structure for _, structure in self.endpoints)

    @property
    def number_of_metrics(self) -> str:
        """The number of registration metrics in words, such as `five metrics`."""
        return _NUMBERS[len(self.endpoints)]

    @property
    def ratio(self) -> str:
        """What the registration ratio is, with the metrics where they are not all."""
        return (
            ratio_text(self.endpoints) if len(self.endpoints) < len(ENDPOINTS) else "geometric mean over five metrics"
        )

    @property
    def comparisons(self) -> dict[tuple[str, str], Family]:
        """All comparisons, with before registration and between arms, by reference and compared arm."""
        return {**{("before", name): family for name, family in self.changes.items()}, **self.between}

    @property
    def baselines(self) -> tuple[str, ...]:
        """The names of the baselines with test values."""
        return tuple(name for name in self.patients if name not in self.arms)

    @property
    def tested(self) -> tuple[ArmRecord, ...]:
        """The first record of each arm that has test values."""
        return tuple(records[0] for name, records in self.arms.items() if name in self.patients)

    def test_ratio(self, name: str) -> float:
        """Return the registration ratio of an arm or a baseline on the test patients of all folds; NaN without any."""
        return registration_ratio(self.slices[name]) if name in self.slices else math.nan

    def test_value(self, name: str) -> float:
        """Return the objective of an arm or a baseline on the test patients of all folds; NaN without any."""
        return objective_value(self.objective, self.slices[name]) if name in self.slices else math.nan

    @property
    def ranked(self) -> tuple[str, ...]:
        """The arms with an objective on the test patients, the best first."""
        values = {name: value for name in self.arms if not math.isnan(value := self.test_value(name))}
        return tuple(sorted(values, key=lambda name: self.objective.cost(values[name])))


def objective_value(objective: Objective, rows: pd.DataFrame | None) -> float:
    """Return the objective of per-slice rows after registration; NaN where there are none, or they lack it."""
    if rows is None or rows.empty:
        return math.nan
    return named_metrics(rows, "val").get(objective.metric, math.nan)


def analyse(study: StudyRecord) -> Analysis:
    """Compute the analysis of a study.

    Raises:
        InputError: where rows are incomplete, arms contradict each other, or a patient is tested in two folds.
    """
    arms, baselines = study.by_arm, study.by_baseline
    everyone: dict[str, Sequence[ArmRecord | BaselineRecord]] = {**baselines, **arms}
    rows_of = {name: {r.fold: r.rows for r in records if r.rows is not None} for name, records in everyone.items()}
    rows_of = {name: folds for name, folds in rows_of.items() if folds}
    for fold in sorted({fold for folds in rows_of.values() for fold in folds}):
        check_rows({name: folds[fold] for name, folds in rows_of.items() if fold in folds})
    patients = {name: over_folds(folds) for name, folds in rows_of.items()}
    trainings = {
        name: _trainings(study, [r for r in arms[name] if r.fold in folds]) if name in arms else _untrained(len(folds))
        for name, folds in rows_of.items()
    }
    claims = _claims(study, {name: frame for name, frame in patients.items() if name in arms}, trainings)
    return Analysis(
        objective=study.objective,
        endpoints=study.endpoints,
        arms=arms,
        titles={
            **{name: f"{BASELINES[name]}, 0 annotated" for name in baselines if name in patients},
            **{name: arm_title(records) for name, records in arms.items()},
        },
        slices={
            name: pd.concat([rows.assign(fold=fold) for fold, rows in sorted(folds.items())], ignore_index=True)
            for name, folds in rows_of.items()
        },
        patients=patients,
        changes={
            name: compare_with_before(frame, trainings[name], study.endpoints) for name, frame in patients.items()
        },
        between={
            pair: compare_arms(
                patients, *pair, together(trainings[name] for name in pair if name in arms), study.endpoints
            )
            for pair in _pairs(patients, arms)
        },
        claims=() if isinstance(claims, str) else claims,
        no_claim=claims if isinstance(claims, str) else "",
    )


def arm_title(records: Sequence[ArmRecord]) -> str:
    """Return an arm's title in Table 1, such as `Joint model, 25 + 15 = 40 annotated`, from its records of all folds.

    A method that is not named after its model has its own name, with the model's in brackets.
    """
    arm, needs = records[0], annotated(records)
    title, short_title = _titles(arm)
    if arm.method == arm.model:
        return f"{title}, {needs}"
    return f"{arm.method} ({short_title.lower() if arm.model in MODELS else short_title}), {needs}"


def method_title(arm: ArmRecord) -> str:
    """Return the name of the arm's method in figures."""
    return _titles(arm)[1] if arm.method == arm.model else arm.method


def _titles(arm: ArmRecord) -> tuple[str, str]:
    """Return the title and the short title of the arm's model. Those of a user's own model are in the store."""
    if model := MODELS.get(arm.model):
        return model.title, model.short_title
    return arm.tags.get(TITLE_TAG, arm.model), arm.tags.get(SHORT_TITLE_TAG, arm.model)


def annotated(records: Sequence[ArmRecord]) -> str:
    """Return an arm's annotated patients, such as `25 + 15 = 40 annotated`: training and validation patients."""
    learned, total = (span(numbers) for numbers in zip(*((arm.learned, arm.annotated) for arm in records), strict=True))
    return f"{learned} + {records[0].validation} = {total} annotated"


def trial_endings(trials: Iterable[TrialRecord]) -> str:
    """Return the number of trials per ending, such as `8 complete, 4 failed`."""
    counted = Counter(trial.ending for trial in trials)
    return ", ".join(f"{count} {how}" for how, count in sorted(counted.items()))


def count_of(number: int, noun: str) -> str:
    """Return the number with the noun in singular or plural, such as `1 trial` or `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def with_fold(arm: ArmRecord, text: str) -> str:
    """Return a text about an arm's record, with its fold where there are several."""
    return f"Fold {arm.fold}: {text}" if arm.folds > 1 else text


def _trainings(study: StudyRecord, tested: Sequence[ArmRecord]) -> Trainings:
    """Return the trainings of an arm from its records of the folds that were tested."""
    seeds = min(retrainings(record.rows) for record in tested if record.rows is not None)
    sets = [study.training_patients(record) for record in tested]
    if all(sets):
        return trainings_of(sets, seeds)
    return unknown_trainings(tested[0].train or None, seeds, len(tested))


def _untrained(folds: int) -> Trainings:
    """Return the trainings of a baseline, which has none: its error depends on no training set and no seed."""
    return Trainings(None, 1, 0.0, folds - 1.0)


def _pairs(patients: Iterable[str], arms: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs that are compared: descriptors with each tested arm, then the tested arms with each other."""
    tested = [name for name in patients if name in arms]
    return [(DESCRIPTORS, arm) for arm in tested if DESCRIPTORS in patients] + list(combinations(tested, 2))


def _claims(
    study: StudyRecord, patients: Mapping[str, pd.DataFrame], trainings: Mapping[str, Trainings]
) -> tuple[ClaimResult, ...] | str:
    """Return the results of the claims, or the reason why none is made."""
    arms = claim_arms(
        ClaimArm(arm.arm, arm.method, arm.model, arm.train, arm.validation, arm.given) for arm in study.arms
    )
    if isinstance(arms, str):
        return arms
    if not patients:
        return "no arm has test values"
    arms = replace(arms, trainings=trainings)
    margins = given_margins(_margin(study.specification.get("searches", [])))
    primary = LV_CD if LV_CD in study.endpoints else study.endpoints[0]
    return (
        *non_inferiority(patients, arms, margins, primary, study.endpoints),
        *superiority(patients, arms, primary, study.endpoints),
    )


def _margin(searches: Sequence[Mapping[str, object]]) -> object:
    """Return the first margin that a search of the study defines; None where there is none."""
    claims = (search.get("claim") for search in searches)
    return next((claim["margin_mm"] for claim in claims if isinstance(claim, Mapping) and "margin_mm" in claim), None)

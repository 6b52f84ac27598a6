"""The numbers of a study that several sections of the report share: per-patient means, comparisons and claims."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pandas as pd

from jointnet.evaluate.aggregation import registration_ratio
from jointnet.models import MODELS
from study.report.records import ArmRecord, StudyRecord, TrialRecord
from study.report.slice_rows import check_rows, over_folds, retrainings
from study.report.statistics.claim_result import ClaimResult
from study.report.statistics.claims import claim_arms, given_margins, non_inferiority, superiority
from study.report.statistics.comparisons import Comparison, compare_arms, compare_with_before
from study.report.statistics.trainings import Trainings, together, trainings_of, unknown_trainings

_MODEL_TITLES = {name: model.title for name, model in MODELS.items()}
Family = tuple[Comparison, ...]


@dataclass(frozen=True)
class Analysis:
    """The numbers of a study.

    Attributes:
        arms: the records by arm, one per fold, in the order of the tables.
        titles: the names of the arms in the paper's Table 1.
        slices: per-slice test rows by arm, of all folds and seeds, with a column `fold`; tested arms only.
        patients: each arm's patients over folds and seeds, as returned by `study.report.slice_rows.over_folds`.
        changes: each tested arm compared with before registration, in the registration metrics.
        between: the comparisons of two arms, by reference and compared arm.
        claims: the results of the claims stated in advance; empty where the study lacks their arms.
    """

    arms: Mapping[str, tuple[ArmRecord, ...]]
    titles: Mapping[str, str]
    slices: Mapping[str, pd.DataFrame]
    patients: Mapping[str, pd.DataFrame]
    changes: Mapping[str, Family]
    between: Mapping[tuple[str, str], Family]
    claims: tuple[ClaimResult, ...]

    @property
    def comparisons(self) -> dict[tuple[str, str], Family]:
        """All comparisons, with before registration and between arms, by reference and compared arm."""
        return {**{("before", name): family for name, family in self.changes.items()}, **self.between}

    @property
    def tested(self) -> tuple[ArmRecord, ...]:
        """The first record of each arm that has test values."""
        return tuple(records[0] for name, records in self.arms.items() if name in self.patients)

    def train(self, arm: str) -> int:
        """Return the number of training patients of an arm."""
        return self.arms[arm][0].train

    def test_ratio(self, arm: str) -> float:
        """Return an arm's registration ratio on the test patients of all folds; NaN where nothing was tested."""
        return registration_ratio(self.slices[arm]) if arm in self.slices else math.nan


def analyse(study: StudyRecord) -> Analysis:
    """Compute the analysis of a study.

    Raises:
        InputError: where rows are incomplete, arms contradict each other, or a patient is tested in two folds.
    """
    arms = study.by_arm
    for fold in sorted({record.fold for record in study.arms}):
        check_rows(
            {record.arm: record.rows for record in study.arms if record.fold == fold and record.rows is not None}
        )
    rows_of = {name: {r.fold: r.rows for r in records if r.rows is not None} for name, records in arms.items()}
    rows_of = {name: folds for name, folds in rows_of.items() if folds}
    patients = {name: over_folds(folds) for name, folds in rows_of.items()}
    trainings = {name: _trainings(study, [r for r in arms[name] if r.fold in folds]) for name, folds in rows_of.items()}
    return Analysis(
        arms=arms,
        titles={name: arm_title(records[0]) for name, records in arms.items()},
        slices={
            name: pd.concat([rows.assign(fold=fold) for fold, rows in sorted(folds.items())], ignore_index=True)
            for name, folds in rows_of.items()
        },
        patients=patients,
        changes={name: compare_with_before(frame, trainings[name]) for name, frame in patients.items()},
        between={
            pair: compare_arms(patients, *pair, together(trainings[name] for name in pair))
            for pair in combinations(patients, 2)
        },
        claims=_claims(study, patients, trainings),
    )


def arm_title(arm: ArmRecord) -> str:
    """Return the arm's title as in the paper's Table 1."""
    return f"{_MODEL_TITLES.get(arm.model, arm.model)}, {arm.train} patients"


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


def _claims(
    study: StudyRecord, patients: Mapping[str, pd.DataFrame], trainings: Mapping[str, Trainings]
) -> tuple[ClaimResult, ...]:
    """Return the results of the claims; empty where the study lacks their three arms or has no test values."""
    arms = claim_arms((arm.arm, arm.model, arm.train) for arm in study.arms)
    if arms is None or not patients:
        return ()
    arms = replace(arms, trainings=trainings)
    return (*non_inferiority(patients, arms, given_margins(_margin(study.specification.get("searches", [])))),
            *superiority(patients, arms))  # fmt: skip


def _margin(searches: Sequence[Mapping[str, object]]) -> object:
    """Return the first margin that a search of the study defines; None where there is none."""
    claims = (search.get("claim") for search in searches)
    return next((claim["margin_mm"] for claim in claims if isinstance(claim, Mapping) and "margin_mm" in claim), None)

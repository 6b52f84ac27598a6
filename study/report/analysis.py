"""The analysis of a study's test rows: per-patient means, comparisons, claims and tables, without layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from study.report import mean_tables
from study.report.records import ArmRecord, StudyRecord
from study.report.slice_rows import check_rows, over_folds
from study.report.statistics.claim_result import ClaimResult
from study.report.statistics.claims import claim_arms, given_margins, non_inferiority, superiority
from study.report.statistics.comparisons import Comparison, compare_arms, compare_with_before

_MODEL_TITLES = {"standalone": "Stand-alone STN", "joint": "Joint model"}
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
        overlap_changes: the same in the Dice of the labels.
        between: the comparisons of two arms, by reference and compared arm.
        claims: the results of the claims stated in advance; empty where the study lacks their arms.
    """

    arms: Mapping[str, tuple[ArmRecord, ...]]
    titles: Mapping[str, str]
    slices: Mapping[str, pd.DataFrame]
    patients: Mapping[str, pd.DataFrame]
    changes: Mapping[str, Family]
    overlap_changes: Mapping[str, Family]
    between: Mapping[tuple[str, str], Family]
    claims: tuple[ClaimResult, ...]
    registration: mean_tables.MeanTable
    overlap: mean_tables.MeanTable
    segmentation: mean_tables.MeanTable
    pooled: mean_tables.MeanTable

    def train(self, *arms: str) -> int:
        """Return the number of training patients of an arm, or the smallest of several arms."""
        return min(self.arms[arm][0].train for arm in arms)


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
    slices = {
        name: pd.concat([rows.assign(fold=fold) for fold, rows in sorted(folds.items())], ignore_index=True)
        for name, folds in rows_of.items()
    }
    titles = {name: arm_title(records[0]) for name, records in arms.items()}
    train = {name: records[0].train or None for name, records in arms.items()}
    changes = {name: compare_with_before(frame, train[name]) for name, frame in patients.items()}
    dice = [(column.metric, column.structure) for column in mean_tables.OVERLAP]
    overlap = {name: compare_with_before(frame, train[name], dice) for name, frame in patients.items()}
    segmenting = {name: frame for name, frame in patients.items() if frame["metric"].isin(["dice_cine"]).any()}
    return Analysis(
        arms=arms,
        titles=titles,
        slices=slices,
        patients=patients,
        changes=changes,
        overlap_changes=overlap,
        between={pair: _between(patients, pair, train) for pair in combinations(patients, 2)},
        claims=_claims(study, patients),
        registration=mean_tables.mean_table(
            "table1", "Registration error on the test patients.", patients, titles, mean_tables.REGISTRATION, changes
        ),
        overlap=mean_tables.mean_table(
            "overlap", "Overlap (Dice) of the LGE label with cine's.", patients, titles, mean_tables.OVERLAP, overlap
        ),
        segmentation=mean_tables.mean_table(
            "segmentation",
            "Segmentation (Dice) of cine and LGE on the test patients.",
            segmenting,
            {name: titles[name] for name in segmenting},
            mean_tables.SEGMENTATION,
            with_before=False,
        ),
        pooled=mean_tables.mean_table(
            "pooled",
            "The same with all slices pooled, not tested.",
            slices,
            titles,
            mean_tables.REGISTRATION,
            unit="slices",
        ),
    )


def arm_title(arm: ArmRecord) -> str:
    """Return the arm's title as in the paper's Table 1."""
    return f"{_MODEL_TITLES.get(arm.model, arm.model)}, {arm.train} patients"


def _between(
    patients: Mapping[str, pd.DataFrame], pair: tuple[str, str], train: Mapping[str, int | None]
) -> tuple[Comparison, ...]:
    known = [count for arm in pair if (count := train[arm]) is not None]
    return compare_arms(patients, *pair, min(known, default=None))


def _claims(study: StudyRecord, patients: Mapping[str, pd.DataFrame]) -> tuple[ClaimResult, ...]:
    """Return the results of the claims; empty where the study lacks their three arms or has no test values."""
    arms = claim_arms((arm.arm, arm.model, arm.train) for arm in study.arms)
    if arms is None or not patients:
        return ()
    return (*non_inferiority(patients, arms, given_margins(_margin(study.specification.get("searches", [])))),
            *superiority(patients, arms))  # fmt: skip


def _margin(searches: Sequence[Mapping[str, object]]) -> object:
    """Return the first margin that a search of the study defines; None where there is none."""
    claims = (search.get("claim") for search in searches)
    return next((claim["margin_mm"] for claim in claims if isinstance(claim, Mapping) and "margin_mm" in claim), None)

"""What a study of folds and seeds is analysed with: its trainings, from the splits that the driver recorded."""

from dataclasses import replace

import invented_search as invented
import numpy as np
import pandas as pd
import pytest
import synthetic_store as synthetic

from study.plan.plan import Arm
from study.plan.splits import make_folds
from study.report.analysis import analyse
from study.report.store.reader import read_study
from study.report.store.records import StudyRecord
from study.search.file.split_counts import parse_counts

FOLDS = 4


@pytest.fixture
def nested(studies: str) -> StudyRecord:
    """A study of four folds and two seeds, twelve patients, in which both models have 3 and 6 training patients."""
    counts = parse_counts(["3/1", "6/1"], test_optional=True)
    folds = make_folds(list(map(str, range(1, 13))), FOLDS, counts, seed=0)
    generator = np.random.default_rng(0)
    records, splits = [], {}
    for fold, own in enumerate(folds, start=1):
        for model, error in (("standalone", 0.9), ("joint", 0.5)):
            for split in own:
                arm = Arm(model, split, None, fold, FOLDS)  # type: ignore[arg-type]
                splits[arm.split_key] = split.as_dict()
                rows = [
                    synthetic.slice_rows(error, False, patients=split.test).assign(seed_index=seed) for seed in (1, 2)
                ]
                after = pd.concat(rows, ignore_index=True)
                after["after"] *= generator.uniform(0.9, 1.1, len(after)) * generator.uniform(0.8, 1.2)
                records.append(
                    replace(
                        invented.arm(model=model),
                        arm=arm.name,
                        train=split.counts.train,
                        validation=split.counts.validation,
                        fold=fold,
                        folds=FOLDS,
                        rows=after,
                        tags={"split": str(split.counts)},
                    )
                )
    return replace(read_study(studies, "empty"), arms=tuple(records), splits=splits)


def test_claims_of_a_nested_study_are_about_methods(nested: StudyRecord) -> None:
    claims = analyse(nested).claims
    assert [one.contrast.deciding.scope for one in claims] == ["method"] * 10
    assert {one.verdict for one in claims if one.claim == "superior" and one.primary} == {"supported"}


def test_the_training_sets_are_those_of_the_recorded_splits(nested: StudyRecord) -> None:
    for record in nested.arms:
        key = f"fold-{record.fold}/{record.train}/1/3"
        assert nested.training_patients(record) == set(nested.splits[key]["train"])
    assert replace(nested, splits={}).training_patients(nested.arms[0]) == set()
    # Three of twelve are shared by no two folds. Where nothing is recorded, two thirds are assumed to be shared.
    pair = ("standalone-3", "joint-3")
    recorded, assumed = (analyse(one).between[pair] for one in (nested, replace(nested, splits={})))
    widths = [[one.deciding.high - one.deciding.low for one in family] for family in (recorded, assumed)]
    assert widths[1][0] > 1.1 * widths[0][0]


def test_without_retrainings_claims_are_about_these_models(nested: StudyRecord) -> None:
    arms = [
        replace(record, rows=record.rows[record.rows["seed_index"] == 1].drop(columns="seed_index"))  # type: ignore[index]
        for record in nested.arms
    ]
    assert {one.verdict for one in analyse(replace(nested, arms=tuple(arms))).claims} == {
        "not judged, these models only"
    }

"""Shared training patients by hand and by the folds of the planner, and the bound on correlations by simulation."""

import numpy as np
import pytest

from study.plan.splits import make_folds
from study.report.statistics.trainings import Trainings, together, trainings_of, unknown_trainings
from study.search.file.split_counts import parse_counts


def _sets(patients: int, folds: int, train: int) -> list[frozenset[str]]:
    """Return the training sets of a nested study with one validation patient."""
    counts = parse_counts([f"{train}/1"], test_optional=True)
    return [frozenset(split.train) for (split,) in make_folds(list(map(str, range(patients))), folds, counts, seed=0)]


@pytest.mark.parametrize(
    ("patients", "folds", "train", "shared", "freedom"),
    [
        (25, 5, 2, 0.0, 4.0),  # the training patients follow the test patients, so few of them are never shared
        (25, 5, 5, 0.0, 4.0),
        (25, 5, 15, 0.5, 18 / 7),  # three of five blocks: neighbours share two, others one
        (45, 5, 15, 0.2, 64 / 21),
        (12, 3, 7, 3 / 7, 2.0),
    ],
)
def test_folds_of_the_planner(patients: int, folds: int, train: int, shared: float, freedom: float) -> None:
    found = trainings_of(_sets(patients, folds, train), 3)
    assert (found.patients, found.seeds) == (train, 3)
    assert found.shared == pytest.approx(shared)
    assert found.freedom == pytest.approx(freedom)


def test_degrees_of_freedom_by_simulation() -> None:
    sets = _sets(25, 5, 15)
    influence = np.random.default_rng(0).standard_normal((200000, 25))
    means = influence @ np.array([[str(patient) in one for patient in range(25)] for one in sets]).T / np.sqrt(15)
    spread = means.var(axis=1, ddof=1)
    found = trainings_of(sets, 1)
    assert spread.mean() == pytest.approx(1 - found.shared, rel=0.01)
    assert 2 * spread.mean() ** 2 / spread.var() == pytest.approx(found.freedom, rel=0.02)
    # What `fold_error` adds to the variance of the mean.
    assert means.mean(axis=1).var() == pytest.approx(
        spread.mean() * (1 / 5 + found.shared / (1 - found.shared)), rel=0.02
    )


def test_the_share_bounds_the_correlation_of_an_interaction_of_two_patients() -> None:
    # f is the sum of h_i h_j over the pairs of a training set: four of six shared patients have 6 of 15 pairs.
    influence = np.random.default_rng(0).standard_normal((200000, 8))
    first, second = (
        (part.sum(axis=1) ** 2 - (part**2).sum(axis=1)) / 2 for part in (influence[:, :6], influence[:, 2:])
    )
    correlation = float(np.corrcoef(first, second)[0, 1])
    assert correlation == pytest.approx(6 / 15, abs=0.02)
    assert correlation < 4 / 6


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ([], Trainings(None, 1, 0.0, 0.0)),
        ([{1, 2}], Trainings(2, 1, 0.0, 0.0)),
        ([{1, 2}, set()], Trainings(None, 1, 0.0, 1.0)),
        ([{1, 2}, {3, 4}], Trainings(2, 1, 0.0, 1.0)),
        ([{1, 2}, {2, 3, 4}], Trainings(2, 1, 0.5, 1.0)),
        ([{1, 2}, {1, 2}], Trainings(2, 1, 1.0, 0.0)),
    ],
)
def test_small_cases(sets: list[set[int]], expected: Trainings) -> None:
    assert trainings_of(sets, 1) == expected


@pytest.mark.parametrize(("folds", "shared"), [(1, 0.0), (2, 0.0), (3, 0.5), (5, 0.75)])
def test_what_is_not_recorded_is_assumed_to_be_all_others(folds: int, shared: float) -> None:
    found = unknown_trainings(8, 2, folds)
    assert (found.patients, found.seeds, found.shared) == (8, 2, pytest.approx(shared))
    assert found.freedom == pytest.approx(folds - 1)


def test_arms_together_have_the_least_favourable_of_each() -> None:
    assert together([Trainings(2, 3, 0.0, 4.0), Trainings(15, 1, 0.5, 2.6)]) == Trainings(2, 1, 0.5, 2.6)
    assert together([Trainings(None, 3, 0.0, 4.0)]).patients is None

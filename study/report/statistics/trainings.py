"""The trainings behind a comparison: seeds, and how many training patients the models of two folds share."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Trainings:
    """The trainings of an arm over the folds, and what they say about the spread of the folds' means.

    Attributes:
        patients: number of training patients of a model, None where unknown.
        seeds: number of retrainings in each fold; 0 where the model that the search chose was tested itself.
        shared: mean share of training patients that the models of two folds have in common, from 0 to below 1.
        freedom: degrees of freedom of the sample variance of the folds' means; fewer than folds - 1 where some folds
            share more than others.
    """

    patients: int | None
    seeds: int
    shared: float
    freedom: float


def trainings_of(sets: Sequence[Set[Any]], seeds: int) -> Trainings:
    """Return the trainings of an arm.

    A model's error depends on its training set. Let f be its expected error, a symmetric function of n independent
    patients, and let two sets have c patients in common. By Hoeffding's decomposition the correlation of f between the
    sets is a mean of terms C(c, j) / C(n, j), j = 1 to n. Each is at most c / n, so c / n bounds the correlation,
    whatever the model. It is reached where patients contribute additively.

    Args:
        sets: the training patients of each fold, in the order of the folds.
        seeds: number of retrainings in each fold.
    """
    smallest = min((len(each) for each in sets), default=0)
    if len(sets) < 2 or smallest == 0:
        return Trainings(smallest or None, seeds, 0.0, max(len(sets) - 1.0, 0.0))
    overlap = np.array([[len(one & other) / min(len(one), len(other)) for other in sets] for one in sets])
    return _trainings(smallest, seeds, overlap)


def unknown_trainings(patients: int | None, seeds: int, folds: int) -> Trainings:
    """Return the trainings where the training sets are not recorded: two folds share as if all others were trained on.

    Two of K such training sets share K - 2 of K - 1 parts.
    """
    share = (folds - 2) / (folds - 1) if folds > 1 else 0.0
    return _trainings(patients, seeds, np.where(np.eye(folds, dtype=bool), 1.0, share))


def together(trainings: Iterable[Trainings]) -> Trainings:
    """Return the trainings that are assumed of a comparison of several arms: the least favourable of each."""
    every = tuple(trainings)
    most = max(every, key=lambda one: one.shared)
    known = [one.patients for one in every if one.patients]
    return Trainings(min(known, default=None), min(one.seeds for one in every), most.shared, most.freedom)


def _trainings(patients: int | None, seeds: int, overlap: np.ndarray) -> Trainings:
    """Return the trainings with the moments of the sample variance under covariances proportional to `overlap`.

    With C the centring matrix, the variance of K values has the mean trace(C overlap) / (K - 1) and, by Satterthwaite,
    trace(C overlap)^2 / trace((C overlap)^2) degrees of freedom.
    """
    count = len(overlap)
    if count < 2:
        return Trainings(patients, seeds, 0.0, max(count - 1.0, 0.0))
    shared = float((overlap.sum() - count) / (count * (count - 1)))
    centred = overlap - overlap.mean(axis=0)
    square = float(np.trace(centred @ centred))
    return Trainings(patients, seeds, shared, float(np.trace(centred)) ** 2 / square if square > 0 else 0.0)

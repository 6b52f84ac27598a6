"""Nested cross-validation over patients: every patient tests in exactly one outer fold, and never trains in it."""

from collections.abc import Iterable, Sequence

import numpy as np

from jointnet.faults import SettingsFaultError
from study.question.splits import Counts, Split

Folds = tuple[tuple[Split, ...], ...]
"""For each fold its splits."""


def fold_sizes(patients: int, folds: int) -> tuple[int, ...]:
    """Give the test patients of each fold: as equal as they can be, the larger ones first."""
    return tuple(patients // folds + (fold < patients % folds) for fold in range(folds))


def fold_faults(patients: int, folds: int) -> list[str]:
    """Give what is wrong with a number of folds: each needs a patient to train, to validate and to test."""
    if folds > patients or patients - -(-patients // folds) < 2:
        return [f"--folds: each of {folds} folds must have a patient to test and leave two, got a folder of {patients}"]
    return []


def make_folds(patients: Iterable[int], folds: int, counts: Sequence[Counts], seed: int) -> Folds:
    """Deal the patients out to the splits of every fold.

    One permutation by `seed` is cut into the folds' test patients. In each fold training grows from behind its test
    patients, around the end of the permutation, and validation grows towards it from the other side. So within a fold
    the smaller training set is inside each larger one, and the smaller validation set likewise.

    Args:
        patients: their numbers.
        folds: from 2 up.
        counts: of the splits; their `test` is not used, the folds say how many test.
        seed: of the permutation.

    Returns:
        For each fold its splits, in the order of `counts`.

    Raises:
        SettingsFaultError: where there are fewer patients than the folds need, or a split does not fit beside the
            largest fold.
    """
    patients = sorted(patients)
    sizes = fold_sizes(len(patients), folds)
    faults = fold_faults(len(patients), folds) or count_faults(len(patients), folds, counts)
    if faults:
        raise SettingsFaultError(faults)
    order = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    dealt, first = [], 0
    for size in sizes:
        test, rest = order[first : first + size], order[first + size :] + order[:first]
        dealt.append(
            tuple(
                Split(
                    Counts(count.train, count.validation, size),
                    train=tuple(sorted(rest[: count.train])),
                    validation=tuple(sorted(rest[len(rest) - count.validation :])),
                    test=tuple(sorted(test)),
                )
                for count in counts
            )
        )
        first += size
    return tuple(dealt)


def count_faults(patients: int, folds: int, counts: Sequence[Counts]) -> list[str]:
    """Give what is wrong with given counts beside the folds: too many to train and validate, or to test otherwise."""
    sizes = sorted(set(fold_sizes(patients, folds)))
    left = patients - sizes[-1]
    faults = []
    if too_many := [str(count) for count in counts if count.train + count.validation > left]:
        faults.append(
            f"--splits: must train and validate on at most the {left} of {patients} patients that --folds {folds} "
            f"leaves, got {' '.join(too_many)}; "
            f"try --splits {' '.join(str(count) for count in proportional(counts, patients, folds))}"
        )
    if others := [str(count) for count in counts if count.test and count.test not in sizes]:
        faults.append(
            f"--splits: must test on {' or '.join(map(str, sizes))} patients with --folds {folds}, or leave it out, "
            f"such as 25/15, got {' '.join(others)}"
        )
    return faults


def proportional(counts: Sequence[Counts], patients: int, folds: int) -> tuple[Counts, ...]:
    """Shrink counts that nobody insists on until they fit beside the largest fold.

    All are scaled by the same factor; each part keeps a patient. Of two that come to train on as many the last stays.
    """
    left = patients - max(fold_sizes(patients, folds))
    most = max(count.train + count.validation for count in counts)
    factor = min(1.0, left / most)
    found = []
    for count in counts:
        whole = max(2, round((count.train + count.validation) * factor))
        validation = min(whole - 1, max(1, round(count.validation * factor)))
        found.append(Counts(whole - validation, validation, 0))
    return tuple({count.train: count for count in found}.values())


def same_validation(counts: Sequence[Counts]) -> tuple[Counts, ...]:
    """Give every split the validation size of the one that trains on most.

    Validation patients are dealt from one end, so they are then the same in all splits; the others are unused.
    """
    size = max(counts, key=lambda count: count.train).validation
    return tuple(Counts(count.train, size, count.test) for count in counts)

"""Nested cross-validation over patients: each patient is in the test set of exactly one outer fold."""

from collections.abc import Iterable, Sequence

import numpy as np

from jointnet.errors import SettingsError
from study.plan.splits import Counts, Split

Folds = tuple[tuple[Split, ...], ...]
"""The splits of each fold."""


def fold_sizes(patients: int, folds: int) -> tuple[int, ...]:
    """Return the number of test patients of each fold. They differ by at most one; the larger folds come first."""
    return tuple(patients // folds + (fold < patients % folds) for fold in range(folds))


def fold_errors(patients: int, folds: int) -> list[str]:
    """Return the errors of a number of folds. Each fold needs a patient to train, one to validate and one to test."""
    if folds > patients or patients - -(-patients // folds) < 2:
        return [f"--folds: each of {folds} folds must have a patient to test and leave two, got a folder of {patients}"]
    return []


def make_folds(patients: Iterable[int], folds: int, counts: Sequence[Counts], seed: int) -> Folds:
    """Assign the patients to the splits of every fold.

    One permutation by `seed` is cut into consecutive blocks, the test patients of the folds. In each fold the
    permutation without its test block is read cyclically from behind that block. Training patients are taken from the
    start of it, validation patients from the end. Within a fold each smaller training set is therefore a subset of each
    larger one, and likewise for the validation sets.

    Args:
        patients: patient numbers.
        folds: number of folds, at least 2.
        counts: patient counts of the splits. Their `test` is ignored: the folds determine the number of test patients.
        seed: seed of the permutation.

    Returns:
        The splits of each fold, in the order of `counts`.

    Raises:
        SettingsError: there are fewer patients than the folds need, or a split does not fit beside the largest
            fold.
    """
    patients = sorted(patients)
    sizes = fold_sizes(len(patients), folds)
    errors = fold_errors(len(patients), folds) or count_errors(len(patients), folds, counts)
    if errors:
        raise SettingsError(errors)
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


def count_errors(patients: int, folds: int, counts: Sequence[Counts]) -> list[str]:
    """Return the errors of split counts: too many training and validation patients, or a test size that no fold has."""
    sizes = sorted(set(fold_sizes(patients, folds)))
    left = patients - sizes[-1]
    errors = []
    if too_many := [str(count) for count in counts if count.train + count.validation > left]:
        errors.append(
            f"--splits: must train and validate on at most the {left} of {patients} patients that --folds {folds} "
            f"leaves, got {' '.join(too_many)}; "
            f"try --splits {' '.join(str(count) for count in proportional(counts, patients, folds))}"
        )
    if others := [str(count) for count in counts if count.test and count.test not in sizes]:
        errors.append(
            f"--splits: must test on {' or '.join(map(str, sizes))} patients with --folds {folds}, or leave it out, "
            f"such as 25/15, got {' '.join(others)}"
        )
    return errors


def proportional(counts: Sequence[Counts], patients: int, folds: int) -> tuple[Counts, ...]:
    """Scale default split sizes to fit beside the largest fold.

    All counts are scaled by the same factor. Each part keeps at least one patient. Of several counts that end up with
    the same number of training patients only the last is kept.
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
    """Return the counts with the validation size of the split that has the most training patients.

    Validation patients are taken from one end of the permutation, so all splits then share the same ones. Patients
    that a split no longer needs stay unused.
    """
    size = max(counts, key=lambda count: count.train).validation
    return tuple(Counts(count.train, size, count.test) for count in counts)

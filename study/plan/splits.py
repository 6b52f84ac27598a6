"""Splits of the patients by one seeded permutation: one split, or nested folds.

All arms of a fold share its test patients. With folds (nested cross-validation) each patient is in the test set of
exactly one fold.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jointnet.data import proposed_splits
from jointnet.errors import SettingsError
from jointnet.patient_names import in_natural_order
from study.search.file.split_counts import Counts


@dataclass(frozen=True)
class Split:
    """The patients of one split, by name, each part in natural order."""

    counts: Counts
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def as_dict(self) -> dict[str, list[str]]:
        """Return the three parts as lists."""
        return {"train": list(self.train), "validation": list(self.validation), "test": list(self.test)}

    @property
    def sha256(self) -> str:
        """SHA-256 digest of the three parts. Equal splits have equal digests."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


Folds = tuple[tuple[Split, ...], ...]
"""The splits of each fold."""


def make_splits(
    patients: Iterable[str], counts: Sequence[Counts], seed: int, train_only: Collection[str] = ()
) -> tuple[Split, ...]:
    """Assign the patients to training, validation and test.

    The patients are permuted by `seed`. Test patients are the first ones, training patients follow them, validation
    patients come from the end. All splits share the test patients, and each smaller training set is a subset of each
    larger one. Patients of `train_only`, of whom not both scans are labelled, are neither validated nor tested on.

    Raises:
        SettingsError: a split needs more patients than there are. The message proposes splits that fit.
    """
    patients = in_natural_order(patients)
    if too_many := [f"{count} ({count.total} patients)" for count in counts if count.total > len(patients)]:
        proposal = " ".join(proposed_splits(len(patients)))
        raise SettingsError(
            f"--splits: must fit the {len(patients)} patients of the folder, got {', '.join(too_many)}; "
            + (f"try --splits {proposal}" if proposal else "a study needs at least 4 patients")
        )
    if errors := whole_errors(len(set(patients) - set(train_only)), counts):
        raise SettingsError(errors)
    order = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    whole = [name for name in order if name not in train_only]
    splits = []
    for count in counts:
        test = whole[: count.test]
        rest = [name for name in order if name not in test]
        splits.append(_split(count, test, _validated_last(rest, counts, train_only)))
    return tuple(splits)


def whole_errors(whole: int, counts: Sequence[Counts]) -> list[str]:
    """Return the error of counts that validate and test on more than the `whole` patients labelled in both scans."""
    if too_many := [str(count) for count in counts if count.validation + count.test > whole]:
        return [
            f"--splits: must validate and test on at most the {whole} patients of whom both scans are labelled, got "
            f"{', '.join(too_many)}"
        ]
    return []


def _validated_last(rest: Sequence[str], counts: Sequence[Counts], train_only: Collection[str]) -> list[str]:
    """Return the patients with those that any split validates on, none of `train_only`, at the end."""
    most = max(count.validation for count in counts)
    validated = [name for name in rest if name not in train_only][-most:]
    return [*(name for name in rest if name not in validated), *validated]


def _split(count: Counts, test: Sequence[str], rest: Sequence[str]) -> Split:
    """Return a split with its training patients from the start of `rest` and its validation patients from the end."""
    train, validation = rest[: count.train], rest[len(rest) - count.validation :]
    return Split(count, *(tuple(in_natural_order(part)) for part in (train, validation, test)))


def fold_sizes(patients: int, folds: int) -> tuple[int, ...]:
    """Return the number of test patients of each fold. They differ by at most one; the larger folds come first."""
    return tuple(patients // folds + (fold < patients % folds) for fold in range(folds))


def fold_errors(patients: int, folds: int) -> list[str]:
    """Return the errors of a number of folds. Each fold needs a patient to train, one to validate and one to test."""
    if folds > patients or patients - -(-patients // folds) < 2:
        return [
            f"--folds: each of {folds} folds must have a test patient and at least two others, got {patients} patients"
        ]
    return []


def make_folds(
    patients: Iterable[str], folds: int, counts: Sequence[Counts], seed: int, train_only: Collection[str] = ()
) -> Folds:
    """Assign the patients to the splits of every fold.

    One permutation by `seed` is cut into consecutive blocks, the test patients of the folds. In each fold the
    permutation without its test block is read cyclically from behind that block. Training patients are taken from the
    start of it, validation patients from the end. Within a fold each smaller training set is therefore a subset of each
    larger one, and likewise for the validation sets.

    Args:
        patients: the patients' names.
        folds: number of folds, at least 2.
        counts: patient counts of the splits. Their `test` is ignored: the folds determine the number of test patients.
        seed: seed of the permutation.
        train_only: patients of whom not both scans are labelled. They are in no block, and not validated on.

    Returns:
        The splits of each fold, in the order of `counts`.

    Raises:
        SettingsError: there are fewer patients than the folds need, or a split does not fit beside the largest
            fold.
    """
    patients = in_natural_order(patients)
    trained = len(set(patients) & set(train_only))
    sizes = fold_sizes(len(patients) - trained, folds)
    errors = fold_errors(len(patients) - trained, folds) or count_errors(len(patients), folds, counts, trained)
    errors = errors or whole_errors(
        len(patients) - trained - sizes[0], [Counts(c.train, c.validation, 0) for c in counts]
    )
    if errors:
        raise SettingsError(errors)
    order = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    whole = [name for name in order if name not in train_only]
    all_folds, first = [], 0
    for size in sizes:
        test = whole[first : first + size]
        behind = order.index(test[-1]) + 1
        rest = [name for name in order[behind:] + order[:behind] if name not in test]
        rest = _validated_last(rest, counts, train_only)
        all_folds.append(tuple(_split(Counts(count.train, count.validation, size), test, rest) for count in counts))
        first += size
    return tuple(all_folds)


def count_errors(patients: int, folds: int, counts: Sequence[Counts], train_only: int = 0) -> list[str]:
    """Return the errors of split counts: too many training and validation patients, or a test size that no fold has.

    `train_only` of the patients are not tested on.
    """
    sizes = sorted(set(fold_sizes(patients - train_only, folds)))
    left = patients - sizes[-1]
    errors = []
    if too_many := [str(count) for count in counts if count.train + count.validation > left]:
        errors.append(
            f"--splits: must train and validate on at most the {left} of {patients} patients that --folds {folds} "
            f"leaves, got {' '.join(too_many)}; "
            f"try --splits {' '.join(str(count) for count in scaled_counts(counts, patients, folds))}"
        )
    if others := [str(count) for count in counts if count.test and count.test not in sizes]:
        errors.append(
            f"--splits: must test on {' or '.join(map(str, sizes))} patients with --folds {folds}, or leave it out, "
            f"such as 25/15, got {' '.join(others)}"
        )
    return errors


def scaled_counts(counts: Sequence[Counts], patients: int, folds: int) -> tuple[Counts, ...]:
    """Scale default split sizes to fit beside the largest fold.

    All counts are scaled by the same factor. Each part keeps at least one patient. Of several counts that end up with
    the same number of training patients only the last is kept.
    """
    left = patients - max(fold_sizes(patients, folds))
    most = max(count.train + count.validation for count in counts)
    factor = min(1.0, left / most)
    scaled = []
    for count in counts:
        total = max(2, round((count.train + count.validation) * factor))
        validation = min(total - 1, max(1, round(count.validation * factor)))
        scaled.append(Counts(total - validation, validation, 0))
    return tuple({count.train: count for count in scaled}.values())


def same_validation(counts: Sequence[Counts]) -> tuple[Counts, ...]:
    """Return the counts with the validation size of the split that has the most training patients.

    Validation patients are taken from one end of the permutation, so all splits then share the same ones. Patients
    that a split no longer needs stay unused.
    """
    size = max(counts, key=lambda count: count.train).validation
    return tuple(Counts(count.train, size, count.test) for count in counts)

"""Splits of the patients by one seeded permutation, with the same test patients in every arm."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jointnet.data.patient_counts import PAPER_SPLITS, proposed_splits
from jointnet.errors import SettingsError

DEFAULT_SPLITS = PAPER_SPLITS


@dataclass(frozen=True)
class Counts:
    """The numbers of training, validation and test patients, written `25/15/5`.

    It is written `25/15` where the folds determine the number of test patients; `test` is then 0.
    """

    train: int
    validation: int
    test: int

    def __str__(self) -> str:
        return f"{self.train}/{self.validation}" + (f"/{self.test}" if self.test else "")

    @property
    def total(self) -> int:
        """Number of patients that the split needs."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Split:
    """The patients of one split, by number, each part in ascending order."""

    counts: Counts
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def as_dict(self) -> dict[str, list[int]]:
        """Return the three parts as lists."""
        return {"train": list(self.train), "validation": list(self.validation), "test": list(self.test)}

    @property
    def sha256(self) -> str:
        """SHA-256 digest of the three parts. Equal splits have equal digests."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def parse_counts(texts: Sequence[str], *, test_optional: bool = False) -> tuple[Counts, ...]:
    """Read split counts such as `25/15/5` (train/validation/test).

    Args:
        texts: one text for each split.
        test_optional: whether `25/15` is accepted, because folds determine the number of test patients.

    Raises:
        SettingsError: a text has another form, two splits have the same number of training patients, or the test
            counts differ.
    """
    errors, counts = [], []
    form = r"([1-9]\d{0,5})/([1-9]\d{0,5})" + (r"(?:/([1-9]\d{0,5}))?" if test_optional else r"/([1-9]\d{0,5})")
    shape = "train/validation, with or without /test" if test_optional else "train/validation/test"
    for text in texts:
        match = re.fullmatch(form, text.strip())
        if match is None:
            errors.append(f"must be {shape}, each from 1 up, such as 25/15/5, got {text!r}")
        else:
            counts.append(Counts(*(int(part or 0) for part in match.groups())))
    trains = [count.train for count in counts]
    if len(set(trains)) < len(trains):
        errors.append(f"must each train on another number of patients, got {' '.join(texts)}")
    if len({count.test for count in counts if count.test}) > 1:
        errors.append(f"must all test on the same number of patients, got {' '.join(texts)}")
    if errors:
        raise SettingsError(errors)
    return tuple(counts)


def make_splits(patients: Iterable[int], counts: Sequence[Counts], seed: int) -> tuple[Split, ...]:
    """Assign the patients to training, validation and test.

    The patients are permuted by `seed`. Test patients are the first ones, training patients follow them, validation
    patients come from the end. All splits share the test patients, and each smaller training set is a subset of each
    larger one.

    Raises:
        SettingsError: a split needs more patients than there are. The message proposes splits that fit.
    """
    patients = sorted(patients)
    if too_many := [str(count) for count in counts if count.total > len(patients)]:
        proposal = propose(len(patients))
        raise SettingsError(
            f"--splits: must need at most the {len(patients)} patients of the folder, got {' '.join(too_many)}; "
            + (f"try --splits {proposal}" if proposal else "a study needs at least 4 patients")
        )
    order = [patients[index] for index in np.random.default_rng(seed).permutation(len(patients))]
    splits = []
    for count in counts:
        rest = order[count.test :]
        splits.append(
            Split(
                count,
                train=tuple(sorted(rest[: count.train])),
                validation=tuple(sorted(rest[len(rest) - count.validation :])),
                test=tuple(sorted(order[: count.test])),
            )
        )
    return tuple(splits)


def propose(patients: int) -> str:
    """Return two splits of all patients in the proportions of the paper's; "" where there are too few patients."""
    return " ".join(proposed_splits(patients))

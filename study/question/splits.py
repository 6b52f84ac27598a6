"""Which patients train, validate and test: one seeded permutation, cut so that every arm shares its test patients."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jointnet.faults import SettingsFaultError
from jointnet.scans.patient_counts import PAPER_SPLITS, proposed_splits

DEFAULT_SPLITS = PAPER_SPLITS


@dataclass(frozen=True)
class Counts:
    """How many patients train, validate and test, written `25/15/5`; `25/15` where folds are to say how many test."""

    train: int
    validation: int
    test: int

    def __str__(self) -> str:
        return f"{self.train}/{self.validation}" + (f"/{self.test}" if self.test else "")

    @property
    def total(self) -> int:
        """Patients that the split needs."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Split:
    """The patients of one split, by number, each part in ascending order."""

    counts: Counts
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def as_dict(self) -> dict[str, list[int]]:
        """Give the parts as plain lists."""
        return {"train": list(self.train), "validation": list(self.validation), "test": list(self.test)}

    @property
    def sha256(self) -> str:
        """Digest of who is in which part: equal exactly where two splits are equal."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def parse_counts(texts: Sequence[str], *, test_optional: bool = False) -> tuple[Counts, ...]:
    """Read split counts such as `25/15/5` (train/validation/test).

    Args:
        texts: one for each split.
        test_optional: whether `25/15` will do, because folds say how many test.

    Raises:
        SettingsFaultError: where one is not of that form, two train on as many, or the test counts differ.
    """
    faults, counts = [], []
    form = r"([1-9]\d{0,5})/([1-9]\d{0,5})" + (r"(?:/([1-9]\d{0,5}))?" if test_optional else r"/([1-9]\d{0,5})")
    shape = "train/validation, with or without /test" if test_optional else "train/validation/test"
    for text in texts:
        match = re.fullmatch(form, text.strip())
        if match is None:
            faults.append(f"must be {shape}, each from 1 up, such as 25/15/5, got {text!r}")
        else:
            counts.append(Counts(*(int(part or 0) for part in match.groups())))
    trains = [count.train for count in counts]
    if len(set(trains)) < len(trains):
        faults.append(f"must each train on another number of patients, got {' '.join(texts)}")
    if len({count.test for count in counts if count.test}) > 1:
        faults.append(f"must all test on the same number of patients, got {' '.join(texts)}")
    if faults:
        raise SettingsFaultError(faults)
    return tuple(counts)


def make_splits(patients: Iterable[int], counts: Sequence[Counts], seed: int) -> tuple[Split, ...]:
    """Deal the patients out: the test ones alike in every split, a smaller training set inside each larger one.

    One permutation by `seed`: its first patients test; training grows from behind them, validation from the end.

    Raises:
        SettingsFaultError: where a split needs more patients than there are; the message proposes some that fit.
    """
    patients = sorted(patients)
    if too_many := [str(count) for count in counts if count.total > len(patients)]:
        proposal = propose(len(patients))
        raise SettingsFaultError(
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
    """Propose two splits in the proportions of the paper's that use all patients; "" where there are too few."""
    return " ".join(proposed_splits(patients))

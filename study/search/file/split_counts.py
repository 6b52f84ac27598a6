"""The numbers of training, validation and test patients of a split, as a command or a search file states them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jointnet.errors import SettingsError


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

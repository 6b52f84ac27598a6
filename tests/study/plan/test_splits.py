"""Splits: the same test patients in every arm, a smaller training set inside each larger one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jointnet.errors import SettingsError
from study.plan.splits import Counts, make_splits, parse_counts, propose

PAPER = parse_counts(["25/15/5", "35/5/5"])


def test_the_papers_splits_use_all_patients_and_nest():
    small, large = make_splits(range(1, 46), PAPER, seed=0)
    for split in (small, large):
        assert sorted((*split.train, *split.validation, *split.test)) == list(range(1, 46))
    assert small.test == large.test
    assert set(small.train) < set(large.train)
    assert set(large.validation) < set(small.validation)


@given(seed=st.integers(0, 1000), extra=st.integers(0, 20), small=st.integers(1, 9), test=st.integers(1, 6))
def test_parts_never_overlap_and_test_patients_are_shared(seed: int, extra: int, small: int, test: int):
    counts = (Counts(small, 5, test), Counts(small + 3, 2, test))
    patients = [7 * number + 3 for number in range(small + 5 + test + extra)]
    splits = make_splits(patients, counts, seed)
    assert splits[0].test == splits[1].test
    assert set(splits[0].train) < set(splits[1].train)
    for split, count in zip(splits, counts, strict=True):
        parts = (set(split.train), set(split.validation), set(split.test))
        assert [len(part) for part in parts] == [count.train, count.validation, count.test]
        assert len(set.union(*parts)) == count.total
        assert set.union(*parts) <= set(patients)


def test_the_seed_decides_and_the_order_of_patients_does_not():
    assert make_splits(range(1, 46), PAPER, 3) == make_splits(reversed(range(1, 46)), PAPER, 3)
    assert make_splits(range(1, 46), PAPER, 3) != make_splits(range(1, 46), PAPER, 4)
    first, again = (make_splits(range(1, 46), PAPER, 3)[0].sha256 for _ in range(2))
    assert first == again != make_splits(range(1, 46), PAPER, 4)[0].sha256


def test_too_few_patients_are_answered_with_splits_that_fit():
    with pytest.raises(SettingsError) as caught:
        make_splits(range(25), PAPER, 0)
    (error,) = caught.value.errors
    assert "at most the 25 patients" in error and "got 25/15/5 35/5/5" in error
    assert error.endswith("try --splits 10/10/5 15/5/5")


@pytest.mark.parametrize("patients", range(4, 80))
def test_proposals_fit(patients: int):
    counts = parse_counts(propose(patients).split())
    splits = make_splits(range(patients), counts, 0)
    assert max(count.total for count in counts) == patients and len({split.test for split in splits}) == 1


def test_three_patients_are_too_few():
    assert propose(3) == ""
    with pytest.raises(SettingsError, match="at least 4 patients"):
        make_splits(range(3), PAPER, 0)


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (["25/15"], "got '25/15'"),
        (["0/15/5"], "got '0/15/5'"),
        (["a/b/c"], "got 'a/b/c'"),
        (["25/15/5", "25/10/5"], "another number of patients"),
        (["25/15/5", "35/5/4"], "same number of patients"),
    ],
)
def test_counts_that_break_a_rule(texts: list[str], error: str):
    with pytest.raises(SettingsError, match=error):
        parse_counts(texts)

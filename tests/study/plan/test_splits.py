"""Splits: all arms share the test patients, small training sets nest; with folds each patient is tested once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointnet.data import PAPER_SPLITS, proposed_splits
from jointnet.errors import SettingsError
from jointnet.patient_names import in_natural_order
from study.plan.splits import fold_errors, fold_sizes, make_folds, make_splits, same_validation, scaled_counts
from study.search.file.split_counts import Counts, parse_counts

PAPER = parse_counts(PAPER_SPLITS)


def names(numbers) -> list[str]:
    return [str(number) for number in numbers]


def test_numbers_are_assigned_as_before_names_were_texts():
    """These are the splits of earlier versions, which sorted and permuted integers."""
    small, large = make_splits(names(range(1, 46)), PAPER, 0)
    assert small.test == ("3", "5", "19", "24", "35")
    assert small.validation == tuple(names((6, 7, 8, 10, 13, 14, 15, 16, 30, 32, 34, 37, 38, 42, 45)))
    assert large.validation == ("16", "30", "32", "34", "42")
    folded = make_folds(names(range(1, 13)), 3, (Counts(5, 3, 0),), 2)
    assert [(split.train, split.validation, split.test) for (split,) in folded] == [
        (("4", "6", "7", "8", "12"), ("2", "5", "9"), ("1", "3", "10", "11")),
        (("2", "3", "4", "5", "9"), ("1", "10", "11"), ("6", "7", "8", "12")),
        (("1", "3", "10", "11", "12"), ("6", "7", "8"), ("2", "4", "5", "9")),
    ]


def test_names_are_assigned_as_their_places_in_natural_order():
    named = [f"case_{number}" for number in range(8, 14)]
    (split,), (numbered,) = (make_splits(own, (Counts(3, 2, 1),), 5) for own in (named, names(range(8, 14))))
    assert split.as_dict() == {part: [f"case_{name}" for name in own] for part, own in numbered.as_dict().items()}


def test_the_papers_splits_use_all_patients_and_nest():
    small, large = make_splits(names(range(1, 46)), PAPER, seed=0)
    for split in (small, large):
        assert sorted((*split.train, *split.validation, *split.test)) == sorted(names(range(1, 46)))
    assert small.test == large.test
    assert set(small.train) < set(large.train)
    assert set(large.validation) < set(small.validation)


@given(seed=st.integers(0, 1000), extra=st.integers(0, 20), small=st.integers(1, 9), test=st.integers(1, 6))
def test_parts_never_overlap_and_test_patients_are_shared(seed: int, extra: int, small: int, test: int):
    counts = (Counts(small, 5, test), Counts(small + 3, 2, test))
    patients = names(7 * number + 3 for number in range(small + 5 + test + extra))
    splits = make_splits(patients, counts, seed)
    assert splits[0].test == splits[1].test
    assert set(splits[0].train) < set(splits[1].train)
    for split, count in zip(splits, counts, strict=True):
        parts = (set(split.train), set(split.validation), set(split.test))
        assert [len(part) for part in parts] == [count.train, count.validation, count.test]
        assert len(set.union(*parts)) == count.total
        assert set.union(*parts) <= set(patients)


def test_the_seed_decides_and_the_order_of_patients_does_not():
    assert make_splits(names(range(1, 46)), PAPER, 3) == make_splits(names(reversed(range(1, 46))), PAPER, 3)
    assert make_splits(names(range(1, 46)), PAPER, 3) != make_splits(names(range(1, 46)), PAPER, 4)
    first, again = (make_splits(names(range(1, 46)), PAPER, 3)[0].sha256 for _ in range(2))
    assert first == again != make_splits(names(range(1, 46)), PAPER, 4)[0].sha256


def test_too_few_patients_are_answered_with_splits_that_fit():
    with pytest.raises(SettingsError) as caught:
        make_splits(names(range(25)), PAPER, 0)
    (error,) = caught.value.errors
    assert error == (
        "--splits: must fit the 25 patients of the folder, got 25/15/5 (45 patients), 35/5/5 (45 patients); "
        "try --splits 10/5/5 15/5/5"
    )


@pytest.mark.parametrize("patients", range(4, 80))
def test_proposals_fit(patients: int):
    counts = parse_counts(proposed_splits(patients))
    splits = make_splits(names(range(patients)), counts, 0)
    assert max(count.total for count in counts) == patients and len({split.test for split in splits}) == 1
    assert len({split.validation for split in splits}) == 1


def test_three_patients_are_too_few():
    assert proposed_splits(3) == ()
    with pytest.raises(SettingsError, match="at least 4 patients"):
        make_splits(names(range(3)), PAPER, 0)


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


@st.composite
def designs(draw) -> tuple[list[str], int, tuple[Counts, Counts], int]:
    """Draw patients with gaps in their numbers, folds, two splits that fit beside the largest fold, and a seed."""
    count = draw(st.integers(5, 40))
    folds = draw(st.integers(2, min(8, count - 3)).filter(lambda k: count - -(-count // k) >= 3))
    left = count - max(fold_sizes(count, folds))
    large = draw(st.integers(2, left - 1))
    small = draw(st.integers(1, large - 1))
    sizes = [draw(st.integers(1, left - train)) for train in (small, large)]
    counts = Counts(small, sizes[0], 0), Counts(large, sizes[1], 0)
    return names(7 * number + 3 for number in range(count)), folds, counts, draw(st.integers(0, 99))


@given(designs())
@settings(deadline=None)
def test_every_patient_is_tested_once_and_parts_never_overlap(design):
    patients, folds, counts, seed = design
    folded = make_folds(patients, folds, counts, seed)
    assert in_natural_order(name for splits in folded for name in splits[0].test) == patients
    assert max(sizes := [len(splits[0].test) for splits in folded]) - min(sizes) <= 1
    for splits in folded:
        small, large = splits
        assert small.test == large.test and set(small.train) < set(large.train)
        for split, count in zip(splits, counts, strict=True):
            parts = [set(split.train), set(split.validation), set(split.test)]
            assert [len(part) for part in parts] == [count.train, count.validation, split.counts.test]
            assert len(set.union(*parts)) == split.counts.total and set.union(*parts) <= set(patients)
        smaller, larger = sorted((small.validation, large.validation), key=len)
        assert set(smaller) <= set(larger)


@given(designs())
@settings(deadline=None)
def test_the_seed_decides_the_folds_and_the_order_of_patients_does_not(design):
    patients, folds, counts, seed = design
    assert make_folds(patients, folds, counts, seed) == make_folds(reversed(patients), folds, counts, seed)


@given(designs())
@settings(deadline=None)
def test_the_same_validation_patients_where_that_is_asked_for(design):
    patients, folds, counts, seed = design
    same = same_validation(counts)
    assert {count.validation for count in same} == {counts[1].validation}
    for small, large in make_folds(patients, folds, same, seed):
        assert small.validation == large.validation and set(small.train) < set(large.train)


def test_the_papers_counts_fit_nine_folds_of_five():
    folded = make_folds(names(range(1, 46)), 9, PAPER, 0)
    assert {str(split.counts) for splits in folded for split in splits} == {"25/15/5", "35/5/5"}
    assert make_folds(names(range(1, 46)), 9, PAPER, 0) != make_folds(names(range(1, 46)), 9, PAPER, 1)


@pytest.mark.parametrize(
    ("patients", "folds", "sizes"), [(45, 9, (5,) * 9), (8, 3, (3, 3, 2)), (7, 2, (4, 3)), (3, 3, (1, 1, 1))]
)
def test_folds_are_as_equal_as_they_can_be(patients, folds, sizes):
    assert fold_sizes(patients, folds) == sizes


@pytest.mark.parametrize(
    ("patients", "folds", "counts", "errors"),
    [
        (
            45,
            5,
            ["25/15", "35/5"],
            [
                "--splits: must train and validate on at most the 36 of 45 patients that --folds 5 leaves, got 25/15 "
                "35/5; try --splits 22/14 32/4"
            ],
        ),
        (
            45,
            9,
            ["25/15/6"],
            ["--splits: must test on 5 patients with --folds 9, or leave it out, such as 25/15, got 25/15/6"],
        ),
        (
            7,
            2,
            ["9/9/9", "1/1/3"],
            [
                "--splits: must train and validate on at most the 3 of 7 patients that --folds 2 leaves, got 9/9/9; "
                "try --splits 1/1",
                "--splits: must test on 3 or 4 patients with --folds 2, or leave it out, such as 25/15, got 9/9/9",
            ],
        ),
        (
            4,
            5,
            ["1/1"],
            ["--folds: each of 5 folds must have a test patient and at least two others, got 4 patients"],
        ),
        (
            3,
            2,
            ["1/1"],
            ["--folds: each of 2 folds must have a test patient and at least two others, got 3 patients"],
        ),
    ],
)
def test_counts_and_folds_that_do_not_fit_are_refused_with_their_values(patients, folds, counts, errors):
    counts = tuple(Counts(*(int(part) for part in text.split("/")), *([0] * (2 - text.count("/")))) for text in counts)
    with pytest.raises(SettingsError) as caught:
        make_folds(names(range(patients)), folds, counts, 0)
    assert list(caught.value.errors) == errors


@pytest.mark.parametrize("folds", range(2, 12))
@pytest.mark.parametrize("patients", [4, 5, 8, 13, 45, 100])
def test_default_counts_are_scaled_to_fit_the_folds(patients: int, folds: int):
    if fold_errors(patients, folds):
        pytest.skip("too few patients")
    counts = scaled_counts(PAPER, patients, folds)
    folded = make_folds(names(range(patients)), folds, counts, 0)
    assert len(folded) == folds and 1 <= len(counts) <= 2
    if patients - max(fold_sizes(patients, folds)) >= 40:
        assert [(c.train, c.validation) for c in counts] == [(25, 15), (35, 5)]


def test_the_test_may_be_left_out_only_where_folds_say_it():
    assert parse_counts(["25/15", "35/5/5"], test_optional=True) == (Counts(25, 15, 0), Counts(35, 5, 5))
    assert [str(count) for count in parse_counts(["25/15", "35/5/5"], test_optional=True)] == ["25/15", "35/5/5"]
    with pytest.raises(SettingsError, match="with or without /test"):
        parse_counts(["25"], test_optional=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folds", [1, 3])
def test_patients_of_whom_one_scan_is_labelled_are_trained_on_only(seed, folds):
    names = [f"case {number}" for number in range(16)]
    train_only = set(names[3:8])
    counts = (Counts(4, 3, 2), Counts(7, 2, 2))
    made = (
        (make_splits(names, counts, seed, train_only),)
        if folds == 1
        else make_folds(names, folds, [Counts(c.train, c.validation, 0) for c in counts], seed, train_only)
    )
    trained = set()
    for splits in made:
        small, large = splits
        assert set(small.train) < set(large.train)
        assert small.test == large.test
        for split in splits:
            assert not train_only & {*split.validation, *split.test}
            assert len({*split.train, *split.validation, *split.test}) == sum(
                map(len, (split.train, split.validation, split.test))
            )
            assert (len(split.train), len(split.validation)) == (split.counts.train, split.counts.validation)
            trained |= set(split.train)
    assert trained & train_only
    if folds > 1:
        assert sorted(name for splits in made for name in splits[0].test) == sorted(set(names) - train_only)


def test_more_validation_and_test_patients_than_have_both_scans_labelled_are_refused():
    names = [str(number) for number in range(10)]
    with pytest.raises(SettingsError, match="at most the 3 patients of whom both scans are labelled, got 5/2/2"):
        make_splits(names, [Counts(5, 2, 2)], 0, names[:7])
    with pytest.raises(SettingsError, match="both scans are labelled"):
        make_folds(names, 3, [Counts(4, 3, 0)], 0, names[:6])


def test_splits_of_wholly_labelled_patients_do_not_depend_on_the_rule_for_others():
    names = [str(number) for number in range(12)]
    (split,) = make_splits(names, [Counts(6, 3, 2)], 5)
    order = [names[place] for place in np.random.default_rng(5).permutation(12)]
    assert (set(split.test), set(split.train), set(split.validation)) == (
        set(order[:2]),
        set(order[2:8]),
        set(order[-3:]),
    )

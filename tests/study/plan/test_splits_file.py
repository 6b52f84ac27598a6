"""Splits from files: the three forms, their folds and arms, and all errors of a file together."""

import json
from pathlib import Path
from typing import Any

import pytest

from jointnet.errors import SettingsError
from study.plan.splits_file import StatedSplits, read_splits_file

NAMES = [*(f"case_{number}" for number in range(1, 13)), "Ana Müller", "7"]
ONE = {"train": ["case_10", "case_9"], "validation": ["case_1"], "test": ["Ana Müller"]}


def read(folder: Path, content: Any, seed: int = 0, name: str = "splits.json", names=NAMES) -> StatedSplits:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_splits_file(path, names, seed)


def errors_of(folder: Path, content: Any, name: str = "splits.json") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, content, name=name)
    start = f"--splits-file: {folder / name}"
    assert all(error.startswith(start) for error in caught.value.errors)
    return [error.removeprefix(start).removeprefix(": ") for error in caught.value.errors]


def test_one_split_and_the_same_in_toml(tmp_path: Path):
    stated = read(tmp_path, ONE)
    ((split,),) = stated.folds
    assert split.as_dict() == ONE | {"train": ["case_9", "case_10"]}  # in natural order
    assert str(split.counts) == "2/1/1"
    toml = '[[split]]\ntrain = ["case_10", "case_9"]\nvalidation = ["case_1"]\ntest = ["Ana Müller"]\n'
    assert read(tmp_path, toml, name="splits.toml").folds == stated.folds == read(tmp_path, [ONE]).folds
    assert stated.remarks[0] == f"the splits are those of {tmp_path / 'splits.json'}: 1 fold"
    assert stated.remarks[1].startswith("patients in no split of the file, left unused: 10 [7, case_2, case_3, ")


def test_numbers_are_names(tmp_path: Path):
    ((split,),) = read(
        tmp_path, {"train": [3, 10], "validation": [1], "test": ["2"]}, names=["1", "2", "3", "10"]
    ).folds
    assert (split.train, split.validation, split.test) == (("3", "10"), ("1",), ("2",))


def test_splits_with_the_same_test_patients_are_arms_and_others_folds(tmp_path: Path):
    def entry(test: int, train: int) -> dict[str, list[str]]:
        own = [f"case_{number}" for number in range(1, 13) if number not in (test, test + 1)]
        return {"train": own[:train], "validation": own[-2:], "test": [f"case_{test + 1}", f"case_{test}"]}

    stated = read(tmp_path, [entry(1, 3), entry(5, 3), entry(1, 6), entry(5, 6)])
    assert [[split.counts.train for split in splits] for splits in stated.folds] == [[3, 6], [3, 6]]
    assert [[split.test for split in splits] for splits in stated.folds] == [
        [("case_1", "case_2")] * 2,
        [("case_5", "case_6")] * 2,
    ]


NNUNET = [
    {"train": [f"case_{n}" for n in range(1, 11) if n not in held], "val": [f"case_{n}" for n in held]}
    for held in ((1, 2, 3, 4), (5, 6, 7), (8, 9, 10))
]


def test_nnunet_s_held_out_fold_is_the_test_set_and_the_seed_draws_who_validates(tmp_path: Path):
    stated = read(tmp_path, NNUNET, name="splits_final.json")
    assert [split.test for (split,) in stated.folds] == [tuple(own["val"]) for own in NNUNET]
    assert [str(split.counts) for (split,) in stated.folds] == ["5/1/4", "5/2/3", "5/2/3"]  # a fifth of 6, rounded
    for (split,), own in zip(stated.folds, NNUNET, strict=True):
        assert {*split.train, *split.validation} == set(own["train"])
    assert read(tmp_path, NNUNET).folds == stated.folds
    assert read(tmp_path, NNUNET, seed=1).folds != stated.folds
    assert stated.remarks[1] == (
        "nnU-Net's `val` is the test set of its fold; 1 or 2 of its training patients are drawn by the seed to validate"
    )


def test_all_errors_of_a_file_come_together(tmp_path: Path):
    found = errors_of(
        tmp_path,
        [
            ONE | {"train": ["case_01", "nobody"]},
            ONE | {"validation": ["case_9"], "test": []},
            {"train": ["case_1"], "val": ["case_2"]},
            ONE | {"train": ["case_9", "case_9", 1.5]},
        ],
    )
    assert len(found) == 5
    assert found[0].startswith("split 1, train: must be patients of the data, [7, Ana Müller, case_1, ")
    assert "got [case_01, nobody]; is case_1 " in found[0]
    assert found[1] == "split 2, test: must be a list of at least one patient, got []"
    assert found[2] == "split 2: a patient must be in one part, got [case_9] in train and validation"
    assert found[3] == (
        "split 3: must have train, validation, test (or train and val in every split, as nnU-Net), got ['train', 'val']"
    )
    assert found[4] == "split 4, train: must be names of patients, got [1.5]"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "must be JSON"),
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "must be a list of 1 to 1000 splits"),
        ("3", "must be a list of 1 to 1000 splits"),
        ("[3]", "must have train, validation, test"),
        ("{}", "must have train, validation, test"),
        (ONE | {"name": "a"}, "must have train, validation, test"),
        (ONE | {"train": "case_9"}, "train: must be a list of at least one patient, got 'case_9'"),
        (ONE | {"train": [True]}, "train: must be names of patients, got [True]"),
        (ONE | {"train": ["a/b"]}, "train: must be names of patients, got ['a/b']"),
        (ONE | {"train": ["case_9", " case_9 "]}, "train: must have each patient once, got [case_9] more than once"),
        ([ONE, ONE], "splits with the same test patients must train on different numbers of patients"),
        (
            [ONE, ONE | {"train": ["case_3", "case_4"], "test": ["case_7", "Ana Müller"]}],
            "split 2, test: must be the test patients of split 1, in another split of the same fold, or have none of "
            "them, in another fold, got [Ana Müller] in both",
        ),
        (
            [ONE, ONE | {"train": ["case_3"], "test": ["case_7"]}],
            "all folds must train on the same numbers of patients, after which arms are named, got 2, 1; move "
            "patients from train to validation",
        ),
        (
            [{"train": ["case_1"], "val": ["case_2"]}],
            "train: must have at least two patients, one of them to validate, got one",
        ),
        (" " * 300_000, "must have at most 262144 bytes"),
    ],
)
def test_what_is_no_file_of_splits_is_refused(tmp_path: Path, content: Any, error: str):
    (found,) = errors_of(tmp_path, content)
    assert error in found
    assert len(found) < 400


@pytest.mark.parametrize("content", ["", "split = 3", "[split]\na = 1", "[[split]]\ntrain = ['1']\n[more]", "[[split"])
def test_what_is_no_toml_of_splits_is_refused(tmp_path: Path, content: str):
    (found,) = errors_of(tmp_path, content, name="splits.TOML")
    assert "must" in found


def test_patients_that_can_only_train_neither_validate_nor_test(tmp_path: Path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(ONE))
    with pytest.raises(SettingsError) as caught:
        read_splits_file(path, NAMES, 0, ["case_1", "case_9", "Ana Müller"])
    rule = "must be patients of whom both scans are labelled, got"
    assert [error.partition(f"{path}, ")[2] for error in caught.value.errors] == [
        f"validation: {rule} [case_1]",
        f"test: {rule} [Ana Müller]",
    ]
    path.write_text(json.dumps([{"train": ["case_1", "case_2", "case_3"], "val": ["case_4"]}]))
    for seed in range(8):
        ((split,),) = read_splits_file(path, NAMES, seed, ["case_1", "case_3"]).folds
        assert split.validation == ("case_2",)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(SettingsError, match="must be a readable file") as caught:
            read_splits_file(path, NAMES, 0)
        assert str(path) in str(caught.value)

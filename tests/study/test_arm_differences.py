"""What arms differ in, and whether that is more than the question."""

import pytest

from study.arm_differences import (
    LENGTH,
    MODEL,
    STEPS,
    TRAIN,
    VALIDATION,
    beyond_question,
    by_value,
    differences,
    length_text,
    sentence,
    span,
)


def arm(model: str, train: int, steps: int | None = None, **others: str) -> dict[str, str]:
    """Return what an arm was given."""
    own = {MODEL: model, TRAIN: str(train), VALIDATION: "5", LENGTH: length_text(steps, 60, train)}
    return {**own, "model.head": "fully_connected", **others}


@pytest.mark.parametrize(("numbers", "text"), [((7,), "7"), ((20, 20), "20"), ((22, 20, 21), "20-22")])
def test_numbers_of_folds_are_one_or_a_span(numbers, text):
    assert span(numbers) == text


def test_arms_that_differ_in_the_model_only_differ_in_the_question():
    given = {"joint-25": arm("joint", 25), "standalone-25": arm("standalone", 25)}
    assert differences(given) == {MODEL: {"joint-25": "joint", "standalone-25": "standalone"}}
    assert beyond_question(given) == ()
    assert sentence(given) == "The arms differ in model only."


def test_equal_epochs_of_different_patients_are_different_numbers_of_steps_and_equal_steps_are_not():
    epochs = {"joint-5": arm("joint", 5), "joint-25": arm("joint", 25)}
    assert beyond_question(epochs) == (LENGTH,)
    assert sentence(epochs).startswith(
        "The arms differ in more than the question: in number of optimiser steps besides training patients."
    )
    steps = {"joint-5": arm("joint", 5, 900), "joint-25": arm("joint", 25, 900)}
    assert beyond_question(steps) == () and sentence(steps) == "The arms differ in training patients only."


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"joint-25": arm("joint", 25)}, ""),
        ({"a-25": arm("joint", 25), "b-25": arm("joint", 25)}, "The arms do not differ."),
        ({"a-25": arm("joint", 25), "old-25": {}}, "The arms do not differ."),
        (
            {"a-25": arm("joint", 25), "b-25": arm("joint", 25, x="1", y="2"), "c-25": arm("joint", 25, x="2", y="3")},
            "The arms differ in more than the question: in x and y. A difference between two arms may be due to any of "
            "these that they do not share.",
        ),
    ],
)
def test_a_setting_without_effect_on_an_arm_is_no_difference(given: dict, expected: str):
    assert sentence(given) == expected


def test_what_named_arms_fix_for_themselves_is_the_question_and_other_differences_are_not():
    given = {"a-25": arm("joint", 25, x="1", y="1"), "b-25": arm("joint", 25, x="2", y="1")}
    assert sentence(given, ["x"]) == "The arms differ in x only."
    more = {**given, "c-25": arm("joint", 25, x="2", y="2")}
    assert beyond_question(more, ["x"]) == ("y",)
    assert sentence(more, ["x"]).startswith("The arms differ in more than the question: in y besides x. ")


def test_steps_that_arms_fix_for_themselves_explain_their_lengths_and_epochs_of_other_patients_do_not():
    short, long = (arm("joint", 25, steps, **{STEPS: str(steps)}) for steps in (300, 1600))
    steps = {"short-25": short, "long-25": long}
    assert set(beyond_question(steps)) == {STEPS, LENGTH} and beyond_question(steps, [STEPS]) == ()
    epochs = {f"epochs-{train}": arm("joint", train, **{STEPS: "None"}) for train in (25, 35)}
    assert beyond_question({**steps, **epochs}, [STEPS]) == (LENGTH,)


def test_a_method_stands_for_its_arms_where_they_have_the_same_value():
    methods = {"a-2": "a", "a-5": "a", "b-2": "b", "b-5": "b"}
    assert by_value({"a-2": "x", "a-5": "x", "b-2": "y", "b-5": "y"}, methods) == {"x": ("a",), "y": ("b",)}
    assert by_value({"a-2": "x", "a-5": "y", "b-2": "x", "b-5": "y"}, methods) == {
        "x": ("a-2", "b-2"),
        "y": ("a-5", "b-5"),
    }
    assert by_value({"a-2": "x", "a-5": "x", "b-5": "x"}, methods) == {"x": ("a", "b")}

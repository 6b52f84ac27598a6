"""Which arms the claims are about, and what is said of them."""

import pytest

from study.arm_differences import LENGTH, MODEL, TRAIN, VALIDATION
from study.report.statistics.claim_arms import ClaimArm, ClaimArms, claim_arms, comparability

JOINT = ("joint", "joint")
ALONE = ("standalone", "standalone")


def _arm(method: str, model: str, train: int, validation: int = 4, **given: str) -> ClaimArm:
    return ClaimArm(f"{method}-{train}", method, model, train, validation, given)


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        ([(*JOINT, 25), (*ALONE, 25), (*ALONE, 35), (*JOINT, 35)], ("joint-25", "standalone-25", "standalone-35")),
        ([(*JOINT, 10), (*ALONE, 10), (*ALONE, 20), (*ALONE, 30)], ("joint-10", "standalone-10", "standalone-30")),
        ([(*JOINT, 10), (*JOINT, 20), (*ALONE, 20), (*ALONE, 30)], ("joint-20", "standalone-20", "standalone-30")),
        ([("a", "joint", 5), ("b", "standalone", 5), ("b", "standalone", 9)], ("a-5", "b-5", "b-9")),
        ([(*JOINT, 5), (*ALONE, 5), (*ALONE, 9), ("d", "descriptors", 5)], ("joint-5", "standalone-5", "standalone-9")),
        ([(*JOINT, 25), (*ALONE, 25)], "does not have these three arms"),
        ([(*JOINT, 35), (*ALONE, 25), (*ALONE, 35)], "does not have these three arms"),
        ([(*ALONE, 25), (*ALONE, 35)], "does not have these three arms"),
        ([], "does not have these three arms"),
        (
            [("a", "joint", 5), ("b", "joint", 5), (*ALONE, 5), (*ALONE, 9)],
            "a and b have the same model, joint, so it is not stated which",
        ),
        (
            [(*JOINT, 5), ("b", "standalone", 5), ("c", "standalone", 9)],
            "b and c have the same model, standalone, so it is not stated which",
        ),
    ],
)
def test_which_arms_the_claims_are_about(
    arms: list[tuple[str, str, int]], expected: tuple[str, str, str] | str
) -> None:
    found = claim_arms([_arm(*arm) for arm in (*arms, *arms)])  # once per fold
    if isinstance(found, ClaimArms):
        assert (found.joint_small.name, found.standalone_small.name, found.standalone_large.name) == expected
    else:
        assert isinstance(expected, str) and expected in found


@pytest.mark.parametrize(
    ("joint", "standalone", "text"),
    [
        (_arm(*JOINT, 5), _arm(*ALONE, 15), "They need 9 and 19 annotated patients, both with 4 validation patients."),
        (_arm(*JOINT, 5, 1), _arm(*ALONE, 5, 1), "Each needs 6 annotated patients, both with 1 validation patient."),
        (
            _arm(*JOINT, 5, **{TRAIN: "5"}),
            _arm(*ALONE, 15, **{TRAIN: "12"}),
            "They need 9 and 16 annotated patients, both with 4 validation patients.",
        ),
        (_arm(*JOINT, 5), _arm(*ALONE, 5), "Each needs 9 annotated patients, both with 4 validation patients."),
        (
            _arm(*JOINT, 25, 15),
            _arm(*ALONE, 35, 5),
            "Each needs 40 annotated patients, with 15 and 5 validation patients, which is a difference.",
        ),
        (
            _arm(*JOINT, 5, 4),
            _arm(*ALONE, 5, 2),
            "They need 9 and 7 annotated patients, with 4 and 2 validation patients, which is a difference.",
        ),
    ],
)
def test_annotated_patients_are_training_and_validation_patients(
    joint: ClaimArm, standalone: ClaimArm, text: str
) -> None:
    assert comparability(joint, standalone) == text


def test_of_folds_the_one_that_needs_most_annotation_counts() -> None:
    folds = [_arm(*ALONE, 9, **{TRAIN: learned}) for learned in ("7", "9", "8")]
    found = claim_arms([_arm(*JOINT, 5), _arm(*ALONE, 5), *folds])
    assert isinstance(found, ClaimArms)
    assert found.standalone_large.annotated == 9 + 4


def test_what_arms_differ_in_besides_the_question_is_said() -> None:
    given = {MODEL: "joint", TRAIN: "5", VALIDATION: "4", LENGTH: "900 steps", "registration.pooling": "patient"}
    other = {**given, MODEL: "standalone", TRAIN: "15"}
    joint, alone = _arm(*JOINT, 5, **given), _arm(*ALONE, 15, **other)
    assert "differ" not in comparability(joint, alone)
    more = {
        **other,
        VALIDATION: "4",
        LENGTH: "300 steps",
        "registration.pooling": "independent",
        "model.head": "guided",
    }
    assert comparability(joint, _arm(*ALONE, 15, **more)).endswith(
        "They also differ in number of optimiser steps and registration.pooling, so the result need not be due to the "
        "models."
    )

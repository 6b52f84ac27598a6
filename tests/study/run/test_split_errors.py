"""Errors for parts of splits whose patients cannot be used for training, validation or test."""

from dataclasses import replace

from plans import plan_of
from simulation import space

from jointnet.evaluate.aggregation import ENDPOINTS
from study.plan.folds import make_folds
from study.plan.plan import Plan, make_arms
from study.plan.splits import parse_counts
from study.run.conduct import split_errors

ALL = dict.fromkeys(ENDPOINTS, True)
NO_RV = {endpoint: True for endpoint in ENDPOINTS if endpoint[1] != "rv"}


def leave_one_out(counts: str) -> Plan:
    """Return a plan of five folds of five patients, with one test patient per fold."""
    dealt = make_folds(range(1, 6), 5, parse_counts([counts], test_optional=True), 0)
    arms = [make_arms([space()], splits, fold=fold, folds=5) for fold, splits in enumerate(dealt, 1)]
    return replace(plan_of(), arms=tuple(arm for fold in arms for arm in fold))


def test_the_test_patients_of_all_folds_count_together_and_the_others_fold_by_fold():
    shown = {number: ALL if number > 1 else NO_RV for number in range(1, 6)}
    assert split_errors(leave_one_out("2/2"), shown) == []
    errors = split_errors(leave_one_out("1/1"), shown)
    assert sorted(error.split(": ")[1].split(" ")[0] for error in errors) == ["training", "validation"]
    assert all(error.startswith("--splits fold-") and "show rv " in error and " got 1, " in error for error in errors)
    errors = split_errors(leave_one_out("2/2"), dict.fromkeys(range(1, 6), NO_RV))
    assert len(errors) == 5 + 5 + 1
    assert errors[-1].startswith(
        "--splits: test patients must show rv in both segmentations of a slice, got 1, 2, 3, 4, 5"
    )

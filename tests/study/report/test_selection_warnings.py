"""Warnings about a winner: each is raised in its case only."""

import math

import invented_search as invented
import pandas as pd
import pytest

from jointnet.train.objective import Objective
from study.report.search import selection_warnings
from study.report.search.selection_warnings import expected_maximum, on_bound, optimism, optimism_table
from study.report.search.trial_table import trial_table


@pytest.mark.parametrize(
    ("count", "value"),
    [(0, 0), (1, 0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)), (10, 1.5387527), (100, 2.5075936)],
)
def test_the_expected_largest_of_normal_values(count: int, value: float):
    # 2 and 3 in closed form; 10 and 100 from H. Harter, "Expected values of normal order statistics", 1961.
    assert expected_maximum(count) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("parameter", "value", "bound"),
    [
        (invented.ALPHA, 0.0, 0.0),
        (invented.ALPHA, 0.0199, 0.0),
        (invented.ALPHA, 0.0201, None),
        (invented.ALPHA, 0.981, 1.0),
        (invented.RATIO_2, 0.1 * 100**0.019, 0.1),
        (invented.RATIO_2, 0.1 * 100**0.021, None),
        (invented.RATIO_2, 0.19, None),  # within 2 % of the range on a linear scale, but it is logarithmic
        (invented.RATIO_2, 10 / 100**0.019, 10.0),
        (invented.RATIO_2, 9.0, None),
        (invented.RATIO_2, math.nan, None),
        (invented.SearchParameter("fixed", 1.0, 1.0, False), 1.0, None),
    ],
)
def test_a_bound_is_near_on_the_parameters_own_scale(parameter, value, bound):
    assert on_bound(parameter, value) == bound


def _arm(values, alphas, selected=None, ending="complete", **changes):
    pairs = enumerate(zip(values, alphas, strict=True))
    trials = [invented.trial(k, value, ending, parameters={"alpha": alpha}) for k, (value, alpha) in pairs]
    return invented.arm(*trials, selected=selected, **changes)


@pytest.mark.parametrize(
    ("values", "alphas", "found"),
    [
        ([0.5, 0.51, 0.52, 0.9], [0.1, 0.5, 0.9, 0.3], {"alpha": 0.8}),
        ([0.5, 0.51, 0.52, 0.9], [0.4, 0.5, 0.6, 0.0], {}),  # they agree
        ([0.5, 0.51, 0.54, 0.9], [0.1, 0.5, 0.9, 0.3], {}),  # the third is worse
        ([0.5, 0.5], [0.0, 1.0], {}),  # fewer than three
        ([0.5] * 5, [0.3] * 5, {}),
        ([], [], {}),
    ],
)
def test_the_best_trials_may_not_agree(values, alphas, found):
    table = trial_table([_arm(values, alphas)], [invented.ALPHA])
    assert selection_warnings.undetermined(table, [invented.ALPHA])[1] == pytest.approx(found)


def test_the_best_tenth_is_judged_where_there_are_many():
    values = [0.5 + k / 10000 for k in range(50)]
    alphas = [0.5] * 5 + [k / 45 for k in range(45)]
    table = trial_table([_arm(values, alphas)], [invented.ALPHA])
    assert selection_warnings.undetermined(table, [invented.ALPHA]) == (5, {})


def _about(arm, space=(invented.ALPHA,)) -> str:
    return "\n".join(selection_warnings.warnings(arm, space))


def test_a_sound_search_only_tells_its_optimism():
    alphas = [k / 30 for k in range(31)]
    arm = _arm([0.5 + abs(alpha - 0.5) for alpha in alphas], alphas, selected=15)
    (line,) = selection_warnings.warnings(arm, [invented.ALPHA])
    expected = expected_maximum(31) * 0.015
    assert line.startswith("joint-25: the selected trial's objective on validation is 0.500; as the best of 31 ")
    assert f"it is expected to look about {expected:.3f} better than it is (if all" in line


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (
            _arm([0.5, 0.6], [0.99, 0.5], selected=0),
            "0.99, is on the bound 1 of the search: the end of what is possible",
        ),
        (_arm([0.5, 0.6], [0.5, 0.5], selected=0), "2 of 2 trials trained all epochs, fewer than 15"),
        (_arm([0.5], [0.5], selected=0, ending="early"), "stopped early after 4"),
        (_arm([0.5], [0.5], selected=0, ending="cut"), "stopped by the time budget after 4"),
        (_arm([0.5], [0.5], ending="failed"), "none of 1 trial trained all epochs"),
        (_arm([0.5] * 20, [k / 19 for k in range(20)]), "best 20 complete trials are equally good (within 0.030)"),
        (_arm([0.5], [0.5], selected=0, fold=2, folds=3), "joint-25, fold 2:"),
    ],
)
def test_what_speaks_against_a_winner_is_told(arm, words: str):
    assert words in _about(arm)


def test_beyond_a_bound_that_could_be_moved_there_may_be_something_better():
    arm = invented.arm(invented.trial(0, 0.5, parameters={"lambda_2_to_1": 9.9}), selected=0)
    assert "on the bound 10 of the search: the best may lie beyond it" in _about(arm, [invented.RATIO_2])


@pytest.mark.parametrize("arm", [invented.arm(), _arm([math.nan] * 3, [0.5] * 3, ending="failed"), _arm([0.5], [0.5])])
def test_without_a_winner_there_is_no_optimism(arm):
    assert optimism(arm) is None
    assert optimism_table([arm]).empty


def test_nothing_is_said_of_an_arm_without_trials():
    assert selection_warnings.warnings(invented.arm(), [invented.ALPHA]) == []


def test_optimism_is_test_minus_validation():
    keys = [("cd_mm", "lv"), ("asd_mm", "lv"), ("asd_mm", "myo"), ("cd_mm", "rv"), ("asd_mm", "rv")]
    rows = pd.DataFrame([("1", 1, s, m, 2.0, 1.2, False) for m, s in keys])
    rows.columns = pd.Index(["patient", "slice", "structure", "metric", "before", "after", "lost"])
    arm = _arm([0.5, 0.7, 0.2], [0.4, 0.5, 0.6], selected=0, rows=rows)
    failed = invented.trial(9, 0.1, "failed")
    found = optimism(invented.arm(*arm.trials, failed, selected=0, rows=rows))
    assert found is not None
    assert found.candidates == 3  # a failed trial could not have been selected
    assert found.difference == pytest.approx(0.6 - 0.5)
    assert found.expected == pytest.approx(1.5 * selection_warnings.NOISE_SD / math.sqrt(math.pi))
    assert optimism_table([arm])["difference"].tolist() == pytest.approx([0.1])
    assert "on test 0.600, 0.100 worse" in _about(arm)


def test_of_another_objective_nothing_is_said_that_needs_the_noise_between_seeds():
    arm = _arm([0.5] * 20, [k / 19 for k in range(20)], selected=0, ranked_by=Objective("val/dice/lv", "maximize"))
    lines = selection_warnings.warnings(arm, [invented.ALPHA])
    assert lines == [
        "joint-25: alpha of the selected trial, 0, is on the bound 0 of the search: the end of what is possible.",
        "joint-25: the selected trial's objective on validation is 0.500.",
    ]


def test_worse_on_test_follows_the_direction_and_has_the_unit():
    rows = pd.DataFrame([("1", 1, "lv", "dice", 0.5, 0.4, False), ("1", 1, "lv", "cd_mm", 2.0, 0.4, False)])
    rows.columns = pd.Index(["patient", "slice", "structure", "metric", "before", "after", "lost"])
    for objective, text in (
        (Objective("val/dice/lv", "maximize"), "0.500, on test 0.400, 0.100 worse (other patients)."),
        (Objective("val/cd_mm/lv"), "0.500 mm, on test 0.400 mm, 0.100 mm better (other patients)."),
    ):
        arm = _arm([0.5], [0.5], selected=0, rows=rows, ranked_by=objective)
        assert selection_warnings.warnings(arm, [invented.ALPHA])[-1].endswith(text)

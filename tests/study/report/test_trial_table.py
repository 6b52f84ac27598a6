"""The parameters of a search: positions between bounds, the space from the specification, and kinds of trials."""

import math

import invented_search as invented
import numpy as np
import pytest

from study.report.search.trial_table import SearchParameter, fewest_complete, search_parameters, trial_table


@pytest.mark.parametrize(
    ("low", "high", "log", "value", "place"),
    [
        (0.0, 1.0, False, 0.0, 0.0),
        (0.0, 1.0, False, 0.25, 0.25),
        (-2.0, 2.0, False, 2.0, 1.0),
        (0.1, 10.0, True, 0.1, 0.0),
        (0.1, 10.0, True, 1.0, 0.5),
        (0.1, 10.0, True, 10.0, 1.0),
        (1e-4, 1e-1, True, 1e-3, 1 / 3),
        (2.0, 2.0, False, 2.0, 0.5),
        (1.0, 10.0, True, 0.0, math.nan),
        (1.0, 10.0, True, math.nan, math.nan),
    ],
)
def test_a_value_has_its_place_on_the_scale_it_was_drawn_on(low, high, log, value, place):
    assert SearchParameter("p", low, high, log).position(value) == pytest.approx(place, nan_ok=True)


SPECIFICATION = {
    "arms": [{"arm": "joint-25", "search": "both"}, {"arm": "standalone-25", "search": "both"}],
    "searches": [
        {"name": "other", "parameters": {"x": {"low": 0, "high": 1, "scale": "linear", "models": ["joint"]}}},
        {
            "name": "both",
            "parameters": {
                "optimiser.learning_rate": {
                    "low": 1e-4,
                    "high": 1e-2,
                    "scale": "log",
                    "models": ["joint", "standalone"],
                },
                "lambda_2_to_1": {"low": 0.1, "high": 10, "scale": "log", "models": ["joint"]},
                "alpha": {"low": 0, "high": 1, "scale": "linear", "models": ["joint", "standalone"]},
            },
        },
    ],
}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("joint", ["alpha", "lambda_2_to_1", "optimiser.learning_rate"]),
        ("standalone", ["alpha", "optimiser.learning_rate"]),
        ("unplanned", []),
    ],
)
def test_an_arm_has_the_parameters_of_its_search_and_model(model: str, names: list[str]):
    found = search_parameters(SPECIFICATION, invented.arm(model=model))
    assert [one.name for one in found] == names
    assert all(one.log == (one.name != "alpha") for one in found)


@pytest.mark.parametrize("specification", [{}, {"arms": []}, {"arms": [{"arm": "joint-25"}], "searches": []}])
def test_a_store_that_does_not_say_what_was_searched_gives_no_parameter(specification):
    assert search_parameters(specification, invented.arm()) == ()


def test_trials_are_distinguished_by_how_they_ended():
    trials = [invented.trial(place, 0.7, ending) for place, ending in enumerate(invented.ENDINGS)]
    table = trial_table([invented.arm(*trials, selected=1)])
    assert list(table["kind"]) == ["complete", "early", "cut", "other", "other", "other"]
    assert list(table["selected"]) == [False, True, False, False, False, False]
    assert table["ending"].is_unique


@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_is_none(objective: float):
    assert np.isnan(trial_table([invented.arm(invented.trial(0, objective, "failed"))])["objective"]).all()


def test_folds_of_an_arm_are_told_in_one_table():
    arms = [invented.arm(invented.trial(0, 0.5), fold=fold, folds=2) for fold in (1, 2)]
    assert list(trial_table(arms)["fold"]) == [1, 2]
    assert trial_table([]).empty


@pytest.mark.parametrize(("parameters", "fewest"), [(0, 15), (1, 15), (3, 15), (4, 20), (10, 50)])
def test_more_parameters_need_more_complete_trials(parameters: int, fewest: int):
    assert fewest_complete([invented.ALPHA] * parameters) == fewest

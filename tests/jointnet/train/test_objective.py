"""The objective of a training: the best epoch in either direction, and the metrics that it can be."""

import math

import pytest

from jointnet.structures import STRUCTURES
from jointnet.train.objective import OBJECTIVE, REGISTRATION_RATIO, EpochReport, Objective, known_directions


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        ([], None, None),
        ([math.nan], None, None),
        ([None, 0.9], 2, 2),
        ([0.5, math.nan, 0.4, 0.4], 3, 1),
        ([math.inf, 0.2, 0.7, 0.7], 2, 3),
    ],
)
def test_the_best_report_is_the_first_of_the_best_finite_value(values, least, most):
    reports = [
        EpochReport(number, 1.0, {} if value is None else {"val/dice/lv": value})
        for number, value in enumerate(values, start=1)
    ]
    for direction, epoch in (("minimize", least), ("maximize", most)):
        best = Objective("val/dice/lv", direction).best(reports)
        assert (best and best.epoch) == epoch
    assert REGISTRATION_RATIO.best(reports) is None  # they lack its metric


@pytest.mark.parametrize(
    ("objective", "title", "text", "better"),
    [
        (REGISTRATION_RATIO, "registration ratio", "0.457", "lower is better"),
        (Objective("val/cd_mm/lv"), "LV CD", "0.457 mm", "lower is better"),
        (Objective("val/asd_mm/myo"), "myocardium ASD", "0.457 mm", "lower is better"),
        (Objective("val/dice_lge/rv", "maximize"), "RV LGE Dice", "0.457", "higher is better"),
        (Objective("val/stretch/lv", "maximize"), "LV stretch", "0.457", "higher is better"),
        (Objective("val/lost"), "structures moved out of view", "0.457", "lower is better"),
    ],
)
def test_a_metric_has_a_name_and_a_unit(objective, title, text, better):
    assert (objective.title, objective.text(0.4567), objective.better) == (title, text, better)
    assert (objective.cost(2.0) < objective.cost(1.0)) == (objective.direction == "maximize")


DICE = Objective("val/dice/lv", "maximize")
SEVERAL = Objective("val/cd_mm/lv", further=(DICE,))


@pytest.mark.parametrize("objective", [REGISTRATION_RATIO, DICE, SEVERAL])
def test_an_objective_survives_as_plain_values(objective: Objective):
    plain = objective.as_dict()
    assert Objective.from_dict(plain) == objective
    assert ("further" in plain) == bool(objective.further)  # older specifications have no such key
    assert [each.metric for each in objective.all] == objective.rule.replace(" and ", " ").split()[1::2]


def test_further_metrics_choose_no_epoch():
    values = {1: (2.0, 0.9), 2: (1.0, 0.5), 3: (1.0, 0.8), 4: (3.0, 1.0)}
    names = ("val/cd_mm/lv", "val/dice/lv")
    reports = [EpochReport(epoch, 1.0, dict(zip(names, own, strict=True))) for epoch, own in values.items()]
    best = SEVERAL.best(reports)
    assert best is reports[1] and SEVERAL.values(best.metrics) == (1.0, 0.5)
    assert SEVERAL.values({"val/cd_mm/lv": 1.0}) is None
    assert SEVERAL.values({"val/cd_mm/lv": 1.0, "val/dice/lv": math.inf}) is None


@pytest.mark.parametrize(
    ("values", "front"),
    [
        ([], []),
        ([(1, 0.5)], [True]),
        ([(1, 0.5), (2, 0.6), (3, 0.55), (0.5, 0.1)], [True, True, False, True]),
        ([(1, 0.5), (1, 0.5), (1, 0.4)], [True, True, False]),  # equal ones are both on it
        ([(1, 0.5), (1, 0.6), (2, 0.6)], [False, True, False]),
        ([(math.nan, 0.9), (0.1, math.nan), (2, 0.1)], [False, False, True]),
        ([(-math.inf, 0.9), (0.1, math.inf), (2, 0.1)], [False, False, True]),
    ],
)
def test_on_the_front_is_what_no_other_is_better_than(values, front):
    assert SEVERAL.front(values) == front
    turned = Objective("val/dice/lv", "maximize", (Objective("val/cd_mm/lv"),))
    assert turned.front([(second, first) for first, second in values]) == front


def test_what_is_known_of_a_metric_follows_from_the_data_the_model_and_the_users_own_metrics():
    every = known_directions(STRUCTURES, STRUCTURES, ("stretch",))
    assert every[OBJECTIVE] == every["val/cd_mm/rv"] == every["val/lost"] == "minimize"
    assert every["val/dice/myo"] == every["val/dice_cine/myo"] == "maximize" and every["val/stretch/rv"] is None
    fewer = known_directions(("lv", "myo"), (), ())
    assert set(fewer) == {OBJECTIVE, "val/lost"} | {
        f"val/{name}" for name in ("cd_mm/lv", "asd_mm/lv", "asd_mm/myo", "dice/lv", "dice/myo")
    }

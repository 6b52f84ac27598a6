"""The objective of a search must be logged by every arm and defined for the data, and it is one for all searches."""

from dataclasses import replace

import pytest
from simulation import DICE
from simulation import space as alpha_space

from jointnet.errors import SettingsError
from jointnet.settings import Settings, with_values
from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.search.file.objective_rules import check_objective, objective_errors

JOINT = with_values(Settings(), {"model.name": "joint"})
STANDALONE = with_values(Settings(), {"model.name": "standalone"})
STRETCH = with_values(STANDALONE, {"training.metrics": ["own/metrics.py:stretch"]})


def errors_of(metric: str, direction: str, *settings: Settings) -> list[str]:
    arms = {f"arm{number}": own for number, own in enumerate(settings, start=1)}
    return [*objective_errors({"metric": metric, "direction": direction}, arms)]


@pytest.mark.parametrize(
    ("metric", "direction", "settings"),
    [
        ("val/registration_ratio", "minimize", (JOINT, STANDALONE)),
        ("val/dice_lge/rv", "maximize", (JOINT,)),
        ("val/stretch/lv", "minimize", (STRETCH,)),  # of a metric of one's own either direction
        ("val/stretch/lv", "maximize", (STRETCH, STRETCH)),
    ],
)
def test_a_metric_that_every_arm_logs_is_accepted(metric, direction, settings):
    assert not errors_of(metric, direction, *settings)


@pytest.mark.parametrize(
    ("metric", "direction", "settings", "error"),
    [
        ("val/dice_lge/rv", "maximize", (JOINT, STANDALONE), "metric: must be logged by every arm, arm2 does not log"),
        ("val/stretch/lv", "maximize", (STANDALONE, STRETCH), "metric: must be logged by every arm, arm1 does not log"),
        ("val/stretch/lv", "maximize", (STANDALONE,), "metric: unknown metric 'val/stretch/lv', "),
        ("val/loss", "minimize", (JOINT,), "metric: must be a metric of the validation, not a loss, by which a search"),
        ("val/dice/lv", "minimize", (JOINT,), "direction: must be maximize for val/dice/lv, got 'minimize'"),
    ],
)
def test_other_metrics_are_refused_with_the_reason(metric, direction, settings, error):
    (line,) = errors_of(metric, direction, *settings)
    assert line.startswith(error)


def test_each_of_several_metrics_follows_the_rules_of_one():
    table = {"metrics": ("val/dice/lv", "val/cut", "val/loss"), "directions": ("minimize", "minimize", "minimize")}
    assert [line.partition(", ")[0] for line in objective_errors(table, {"arm": JOINT})] == [
        "directions: must be maximize for val/dice/lv",
        "metrics: unknown metric 'val/cut'",
        "metrics: must be a metric of the validation",
    ]
    assert not [*objective_errors({"metrics": ("val/dice/lv", "val/cd_mm/lv")}, {"arm": JOINT})]


def test_a_structure_that_the_data_do_not_have_is_refused():
    own = replace(alpha_space(), objective=Objective("val/cd_mm/rv"))
    check_objective([own], ("lv", "myo", "rv"))
    several = replace(own, objective=replace(DICE, further=(own.objective,)))
    for space, key in ((own, "metric"), (several, "metrics")):
        rule = f"^own: objective.{key}: must be of a structure of the data, lv, myo, got 'val/cd_mm/rv'$"
        with pytest.raises(SettingsError, match=rule):
            check_objective([space], ("lv", "myo"))


def test_all_searches_of_a_study_have_one_objective():
    one, other = alpha_space(), replace(alpha_space(), name="other", objective=DICE)
    check_objective([one, replace(other, objective=REGISTRATION_RATIO)], ("lv",))
    with pytest.raises(
        SettingsError, match=r"the same \[objective\], got own minimizes val/reg.*, other maximizes val/di"
    ):
        check_objective([one, other], ("lv",))
    both = replace(one, objective=replace(REGISTRATION_RATIO, further=(DICE,)))
    with pytest.raises(SettingsError, match=r"_ratio, other minimizes val/reg.*_ratio and maximizes val/dice/lv$"):
        check_objective([one, replace(both, name="other")], ("lv",))

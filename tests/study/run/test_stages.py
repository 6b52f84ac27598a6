"""How the arms of a search share its time budget."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from plans import plan_of

from study.plan.plan import Plan
from study.run.stages import arm_seconds


def left(plan: Plan, *searched: float) -> list[float | None]:
    """Return the seconds that each arm has left after searches of these seconds."""
    known = dict(zip([arm.key for arm in plan.arms], searched, strict=False))
    ledger = SimpleNamespace(searched_seconds=lambda key: known.get(key, 0.0))
    return [arm_seconds(plan, arm, ledger) for arm in plan.arms]  # type: ignore[arg-type]


def of(minutes: float | None, per_arm: bool = False) -> Plan:
    """Return a plan of one search with two arms."""
    plan = plan_of()
    budget = replace(plan.arms[0].space.budget, minutes=minutes, per_arm=per_arm)
    return replace(plan, arms=tuple(replace(arm, space=replace(arm.space, budget=budget)) for arm in plan.arms))


def test_what_an_arm_leaves_is_for_those_after_it():
    assert left(of(10))[0] == 300
    assert left(of(10), 100) == [200, 500]
    assert left(of(10), 100, 150) == [200, 350]
    assert left(of(None)) == [None, None]


def test_an_arm_that_waited_for_a_first_validation_takes_nothing_of_the_others():
    assert left(of(10), 360) == [-60, 300]
    assert left(of(0.5), 75, 5) == [-60, 10]


@pytest.mark.parametrize("searched", [0, 100, 400])
def test_with_equal_compute_each_arm_has_the_same(searched: float):
    assert left(of(10, per_arm=True), searched) == [600 - searched, 600]

"""The plan: arms, expected minutes, identity, and what it says on the terminal."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jointnet.faults import SettingsFaultError
from study.plan import (
    SECONDS_PER_PATIENT_EPOCH,
    Data,
    Plan,
    Resources,
    arm_minutes,
    budget_share_minutes,
    make_arms,
    make_plan,
    render,
    specification,
)
from study.space_file import load_spaces, with_overrides
from study.splits import make_splits, parse_counts

SPLITS = make_splits(range(1, 46), parse_counts(["25/15/5", "35/5/5"]), 0)
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def _plan(*searches: str, seed: int = 0, kind: str = "phantom") -> Plan:
    return make_plan(
        make_arms(load_spaces(searches or ("joint",)), SPLITS),
        data=Data(kind, Path("/data/scans"), 45),
        resources=Resources(2, 1.0, 0.0, "cpu"),
        seed=seed,
        out=Path("runs"),
        cache=Path("/cache"),
        tracking_uri="sqlite:////store/mlflow.db",
        now=NOON,
    )


def test_arms_cross_models_and_splits():
    assert [arm.name for arm in _plan("joint", "standalone").arms] == [
        "joint-25",
        "joint-35",
        "standalone-25",
        "standalone-35",
    ]


def test_an_arm_that_two_searches_ask_for_is_refused():
    with pytest.raises(SettingsFaultError, match="joint-25 must come from one search only, got joint and smoke"):
        make_arms(load_spaces(["joint", "smoke"]), SPLITS)


def test_the_id_is_the_moment_and_a_digest_of_the_specification():
    plan = _plan()
    assert plan.study_id.startswith("20260102-120000-") and len(plan.study_id) == 24
    assert plan.study_id == _plan().study_id != _plan(seed=1).study_id
    assert plan.folder.is_absolute() and plan.folder.name == plan.study_id


def test_expected_minutes_are_the_estimate_up_to_the_budgets_share():
    space = with_overrides(load_spaces(["joint"])[0], num_samples=2, max_epochs=1)
    plan = _plan()
    arms = make_arms([replace(space, budget=replace(space.budget, minutes=None))], SPLITS)
    free = replace(plan, arms=arms)
    # two trials at once, one epoch each: 25 patients of training, 15 of validation at half the price
    assert arm_minutes(free, arms[0]) == pytest.approx(SECONDS_PER_PATIENT_EPOCH["joint"] * (25 + 15 / 2) / 60)
    assert budget_share_minutes(free, arms[0]) is None
    tight = make_arms([replace(space, budget=replace(space.budget, minutes=0.02))], SPLITS)
    assert arm_minutes(replace(plan, arms=tight), tight[0]) == pytest.approx(0.01)


def test_the_default_study_is_planned_within_twelve_minutes():
    plan = _plan()
    share = [budget_share_minutes(plan, arm) for arm in plan.arms]
    assert sum(minutes or 99 for minutes in share) <= 10


def test_the_plan_says_where_everything_goes_and_that_a_phantom_is_no_scan():
    text = render(_plan())
    assert "PHANTOM, not real scans" in text
    for said in ("joint-25", "joint-35", "25/15/5", "trials of", "sqlite:////store/mlflow.db", "/runs/2026", "/cache"):
        assert said in text, said
    assert "PHANTOM" not in render(_plan(kind="folder"))


def test_the_specification_holds_what_the_report_reads():
    content = specification(_plan("joint", "standalone"))
    assert content["objective"] == {"metric": "val/registration_ratio", "direction": "minimize"}
    assert set(content["splits"]) == {"25/15/5", "35/5/5"}
    assert [search["name"] for search in content["searches"]] == ["joint", "standalone"]

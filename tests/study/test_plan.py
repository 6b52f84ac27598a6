"""The plan: arms, identity, and what it says on the terminal."""

import pytest
from plans import SPLITS, plan_of

from jointnet.faults import SettingsFaultError
from study.plan import make_arms, specification
from study.plan_text import render
from study.space_file import load_spaces


def test_arms_cross_models_and_splits():
    assert [arm.name for arm in plan_of("joint", "standalone").arms] == [
        "joint-25",
        "joint-35",
        "standalone-25",
        "standalone-35",
    ]


def test_an_arm_that_two_searches_ask_for_is_refused():
    with pytest.raises(SettingsFaultError, match="joint-25 must come from one search only, got joint and smoke"):
        make_arms(load_spaces(["joint", "smoke"]), SPLITS)


def test_the_plan_says_where_everything_goes_and_that_a_phantom_is_no_scan():
    text = render(plan_of())
    assert "PHANTOM, not real scans" in text
    for said in (
        "joint-25",
        "joint-35",
        "25/15/5",
        "trials of",
        "sqlite:////store/mlflow.db",
        "/nowhere/2026",
        "/cache",
        "MB of models",
    ):
        assert said in text, said
    assert "PHANTOM" not in render(plan_of(kind="folder"))


def test_the_specification_holds_what_the_report_reads():
    content = specification(plan_of("joint", "standalone"))
    assert content["objective"] == {"metric": "val/registration_ratio", "direction": "minimize"}
    assert set(content["splits"]) == {"25/15/5", "35/5/5"}
    assert [search["name"] for search in content["searches"]] == ["joint", "standalone"]
    assert [search["base"] for search in specification(plan_of(settings="paper"))["searches"]] == ["paper"]


def test_the_plan_names_the_settings_and_what_is_fixed_over_them():
    (space,) = plan_of(settings="paper").spaces
    assert f"  Settings  joint: paper{', with ' if space.fixed else ''}" in render(plan_of(settings="paper"))

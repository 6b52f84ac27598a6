"""A search that begins with what another study found, and what of another study is refused."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plans import NOON, plan_of

from jointnet.errors import SettingsError
from jointnet.train.objective import Objective
from study.arm_differences import WARM_START, beyond_question
from study.plan.identity import SPECIFICATION_FILE, with_identity
from study.plan.plan import Plan, given, make_arms, specification
from study.plan.plan_text import render
from study.plan.splits import make_splits
from study.run.warm_start import MOST_POINTS, warm_started
from study.search.file.split_counts import parse_counts
from study.search.parameters import Range
from study.search.space import Budget
from study.trials.ledger import Ledger

COUNTS = parse_counts(["25/15/5", "35/5/5"])
Trials = Mapping[str, list[tuple[float, float]]]
"""Objective and alpha of the trials of each arm."""


def sample(alpha: float) -> dict[str, float]:
    return {"lambda_2_to_1": 1.0, "lambda_3_to_1": 1.0, "alpha": alpha, "optimiser.learning_rate": 1e-3}


def other_study(out: Path, trials: Trials, **changes: Any) -> Plan:
    """Write a study of the search `joint` in which these trials ended, and return its plan."""
    plan = replace(plan_of(out=out), study_id="20260101-120000-00000000", **changes)
    plan.folder.mkdir(parents=True)
    (plan.folder / SPECIFICATION_FILE).write_text(json.dumps(specification(plan)))
    with Ledger(plan.folder) as ledger:
        for arm, ended in trials.items():
            for number, (value, alpha) in enumerate(ended, start=1):
                own = {"arm": arm, "trial": f"t{number:04}"}
                ledger.append("drawn", **own, number=number, sample=sample(alpha))
                ledger.append("epoch", **own, epoch=1, metrics={plan.objective.metric: value}, pruned=False, node="")
                ledger.append("ended", **own, state="complete", reason="", model=None)
    return plan


def searching(plan: Plan, **changes: Any) -> Plan:
    """Return the plan with changes of its search."""
    arms = tuple(replace(arm, space=replace(arm.space, **changes)) for arm in plan.arms)
    return replace(plan, arms=arms, study_id="", continues=False)


def asking(plan: Plan, other: str, **changes: Any) -> Plan:
    """Return the plan of a search that is to begin with another study's points, with its id."""
    search = replace(plan.arms[0].space.search, warm_start=other)
    return with_identity(searching(plan, search=search, **changes))


def alphas(plan: Plan) -> list[float]:
    """Return alpha of the first trials of `joint`, apart from those of the settings."""
    return [one["alpha"] for one in plan.arms[0].first_samples[1:]]


def test_the_best_points_of_each_arm_come_after_the_settings(tmp_path: Path):
    trials = {"joint-25": [(0.7, 0.1), (0.5, 0.2), (0.6, 0.3)], "joint-35": [(0.4, 0.4), (0.8, 0.6)]}
    other = other_study(tmp_path, trials)
    plan = warm_started(asking(plan_of(out=tmp_path), other.study_id))
    assert alphas(plan) == [0.4, 0.2, 0.3]  # the best of each arm, then the second best
    assert plan.arms[0].begins_with_settings and len(plan.arms[0].first_samples) == 1 + MOST_POINTS
    assert plan.study_id != plan_of(out=tmp_path).study_id
    text = render(plan)
    assert f"trial 2 of joint: from {other.study_id}: lambda_2_to_1 1" in text
    assert "alpha 0.4" in text
    two = replace(plan.arms[0].space, budget=Budget(2, None))
    text = render(replace(plan, arms=tuple(replace(arm, space=two) for arm in plan.arms)))
    assert "trial 2 of joint: " in text and "trial 3 of joint: " not in text


DICE = Objective("val/dice/lv", "maximize")
BOTH = replace(DICE, further=(Objective("val/cd_mm/lv"),))


@pytest.mark.parametrize("dice", [DICE, BOTH])
def test_where_high_values_are_good_the_highest_are_the_best(dice: Objective, tmp_path: Path):
    """Of several metrics the first one ranks."""
    arms = searching(plan_of(), objective=dice).arms
    other = other_study(tmp_path, {"joint-25": [(0.7, 0.1), (0.9, 0.2), (0.8, 0.3)]}, arms=arms)
    plan = warm_started(asking(plan_of(out=tmp_path), other.study_id, objective=dice))
    assert alphas(plan) == [0.2, 0.3, 0.1]


def test_a_study_of_other_further_metrics_is_refused(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.7, 0.1)]}, arms=searching(plan_of(), objective=DICE).arms)
    rule = (
        "must have this study's objective, maximize val/dice/lv and minimize val/cd_mm/lv, it has maximize val/dice/lv"
    )
    with pytest.raises(SettingsError, match=f"{rule}$"):
        warm_started(asking(plan_of(out=tmp_path), other.study_id, objective=BOTH))


def test_points_outside_a_smaller_space_are_left_out_and_said(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.9), (0.6, 0.2), (0.7, 0.3), (0.8, 0.1), (0.9, 0.95)]})
    plan = plan_of(out=tmp_path)
    smaller = tuple(
        replace(one, domain=Range(0.0, 0.5)) if one.name == "alpha" else one for one in plan.spaces[0].parameters
    )
    plan = warm_started(asking(plan, other.study_id, parameters=smaller))
    assert alphas(plan)[-3:] == [0.2, 0.3, 0.1]
    assert f"1 better of {other.study_id} lie outside the space of joint and are left out" in render(plan)
    assert plan.spaces[0].warm_start is not None and plan.spaces[0].warm_start.outside == {"joint": 1}


def test_a_study_that_has_begun_needs_the_other_no_more(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.2)]})
    first = warm_started(asking(plan_of(out=tmp_path), other.study_id))
    first.folder.mkdir()
    (first.folder / SPECIFICATION_FILE).write_text(json.dumps(specification(first)))
    shutil.rmtree(other.folder)
    for name in (other.study_id, str(other.folder)):
        again = warm_started(asking(plan_of(out=tmp_path), name))
        assert (again.study_id, again.continues) == (first.study_id, True)
        assert again.arms[0].first_samples == first.arms[0].first_samples
        assert (
            json.loads(json.dumps(specification(again)))["searches"][0]["warm_start"]
            == json.loads(json.dumps(specification(first)))["searches"][0]["warm_start"]
        )
    with pytest.raises(SettingsError, match=r"joint: search.warm_start: must be one of the studies 2026"):
        warm_started(with_identity(replace(again, study_id=""), new=True))


def test_every_reason_against_another_study_is_said_at_once(tmp_path: Path):
    others = make_splits(list(map(str, range(1, 46))), COUNTS, 1)
    arms = make_arms([replace(plan_of().spaces[0], objective=Objective("val/cd_mm/lv"))], others)
    data = replace(plan_of().data, fingerprint="f" * 16)
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.2)]}, arms=arms, data=data)
    plan = plan_of(out=tmp_path)
    fewer = tuple(one for one in plan.spaces[0].parameters if one.name != "alpha")
    with pytest.raises(SettingsError) as caught:
        warm_started(asking(plan, other.study_id, parameters=fewer))
    lines = [line.removeprefix("joint: search.warm_start: ") for line in caught.value.errors]
    assert [line.partition(", ")[0] for line in lines] == [
        "must have this study's training and validation data",
        "must have this study's objective",
        "must not have trained or validated on this study's test patients",
        "must have searched parameters of the arm joint only",
    ]
    assert lines[1].endswith("minimize val/registration_ratio, it has minimize val/cd_mm/lv")
    assert lines[3].endswith("it also searched alpha")


def test_what_another_teacher_labelled_is_refused(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.2)]})
    content = json.loads((other.folder / SPECIFICATION_FILE).read_text())
    content["data"]["teacher"] = "abc"
    (other.folder / SPECIFICATION_FILE).write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="must have this study's teacher of pseudo-labels, None, it has abc"):
        warm_started(asking(plan_of(out=tmp_path), other.study_id))


def test_patients_of_the_study_before_the_other_are_no_test_patients_either(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.2)]})
    tested = plan_of().arms[0].split.test
    content = json.loads((other.folder / SPECIFICATION_FILE).read_text())
    content["searches"][0]["warm_start"] = {"patients": [tested[0], "999"]}
    (other.folder / SPECIFICATION_FILE).write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=f"no longer be unseen, it did on 1: .{tested[0]}.$"):
        warm_started(asking(plan_of(out=tmp_path), other.study_id))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere", "must be one of the studies 20260101-120000-00000000 in"),
        ("../elsewhere", "must be the id of a study, or its folder in --out"),
        ("/", "must be the id of a study, or its folder in --out"),
    ],
)
def test_a_study_that_is_not_there_is_refused(name: str, error: str, tmp_path: Path):
    other_study(tmp_path, {"joint-25": [(0.5, 0.2)]})
    with pytest.raises(SettingsError, match=error):
        warm_started(asking(plan_of(out=tmp_path), name))


def test_a_study_of_another_model_or_without_a_trial_is_refused(tmp_path: Path):
    other = other_study(tmp_path, {})
    with pytest.raises(SettingsError, match="must have a trial with an objective in this search's space"):
        warm_started(asking(plan_of(out=tmp_path), other.study_id))
    with pytest.raises(
        SettingsError, match="must be a study of the model standalone of the arm standalone, it has joint"
    ):
        warm_started(asking(plan_of("standalone", out=tmp_path), other.study_id))


def test_arms_of_which_one_was_warm_started_differ_in_more_than_the_question(tmp_path: Path):
    other = other_study(tmp_path, {"joint-25": [(0.5, 0.2)]})
    plan = plan_of("joint", "standalone", out=tmp_path)
    search = replace(plan.arms[0].space.search, warm_start=other.study_id)
    arms = tuple(
        replace(arm, space=replace(arm.space, search=search)) if arm.model == "joint" else arm for arm in plan.arms
    )
    warm = warm_started(with_identity(replace(plan, arms=arms, study_id="", continues=False)))
    had = {arm.name: given(warm.data, arm) for arm in warm.arms}
    assert (had["joint-25"][WARM_START], had["standalone-25"][WARM_START]) == (other.study_id, "none")
    assert WARM_START in beyond_question(had)
    text = " ".join(render(warm).split())
    assert "differ in more than the question" in text and "warm start" in text
    assert warm.started == NOON

"""Which study a command continues or begins."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from plans import plan_of

from jointnet.errors import SettingsError
from jointnet.train.objective import Objective
from study.plan.identity import SPECIFICATION_FILE, differences, digest, identity, with_identity
from study.plan.plan import Design, Plan, specification
from study.search.space import with_overrides

MOST = plan_of().spaces[0].fidelity.max_epochs


def begun(plan: Plan) -> Plan:
    """Write the study's specification, as if it had begun, and return the plan."""
    plan.folder.mkdir(parents=True)
    (plan.folder / SPECIFICATION_FILE).write_text(json.dumps(specification(plan)))
    return plan


def changed(plan: Plan, **overrides) -> Plan:
    arms = tuple(replace(arm, space=with_overrides(arm.space, **overrides)) for arm in plan.arms)
    return replace(plan, arms=arms, study_id="", continues=False)


def searching(plan: Plan, **changes) -> Plan:
    arms = tuple(replace(arm, space=replace(arm.space, **changes)) for arm in plan.arms)
    return replace(plan, arms=arms, study_id="", continues=False)


def test_the_id_is_the_moment_and_a_digest_of_the_identity():
    plan = plan_of()
    assert plan.study_id.startswith("20260102-120000-") and len(plan.study_id) == 24
    assert plan.study_id == plan_of().study_id != plan_of(seed=1).study_id
    assert plan.folder.is_absolute() and plan.folder.name == plan.study_id and not plan.continues


def test_the_same_command_continues_its_study_and_new_begins_another(tmp_path: Path):
    first = begun(plan_of(out=tmp_path))
    later = replace(plan_of(out=tmp_path), started=first.started + timedelta(days=1))
    again = with_identity(later)
    assert (again.study_id, again.continues) == (first.study_id, True)
    second = with_identity(later, new=True)
    assert (second.study_id.startswith("20260103-120000-"), second.continues) == (True, False)
    begun(second)
    assert with_identity(later).study_id == second.study_id  # the newest one is continued


def test_trials_minutes_concurrency_and_texts_are_not_part_of_it(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path))
    assert with_identity(changed(plan, num_samples=99, minutes=500.0)).study_id == plan.study_id
    other = replace(plan, resources=replace(plan.resources, concurrent=7, cpus_per_trial=2.0))
    assert with_identity(other).study_id == plan.study_id
    content = specification(plan)
    content["searches"][0]["question"] = "Another?"
    content["searches"][0]["parameters"]["alpha"]["why"] = "because"
    assert digest(content) == digest(specification(plan))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: replace(p, seed=7), "seed: must be 0 as when the study began, got 7"),
        (
            lambda p: replace(p, data=replace(p.data, fingerprint="fedcba9876543210")),
            'data.fingerprint: must be "0123456789abcdef" as when the study began, got "fedcba9876543210"',
        ),
        (
            lambda p: changed(p, max_epochs=5),
            f"search.joint.fidelity.max_epochs: must be {MOST} as when the study began, got 5",
        ),
        (
            lambda p: replace(p, resources=replace(p.resources, device="cuda")),
            'device: must be "cpu" as when the study began, got "cuda"',
        ),
        (
            lambda p: searching(p, objective=replace(p.objective, further=(Objective("val/lost"),))),
            'objective.further: must be nothing as when the study began, got [{"metric": "val/lost", "direction": ',
        ),
        (lambda p: replace(p, arms=p.arms[:1]), 'arms: must be ["joint-25", "joint-35"] as when'),
    ],
)
def test_a_changed_specification_is_another_study_and_refused_under_the_old_name(tmp_path: Path, change, named):
    plan = begun(plan_of(out=tmp_path))
    requested = change(plan)
    assert with_identity(requested).study_id != plan.study_id
    with pytest.raises(SettingsError) as caught:
        with_identity(requested, study=plan.study_id)
    assert any(error.startswith(f"--study {plan.study_id}: {named}") for error in caught.value.errors)
    assert len(caught.value.errors) == len(differences(specification(plan), specification(requested)))


def test_every_difference_has_a_line_of_its_own(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path))
    with pytest.raises(SettingsError) as caught:
        with_identity(replace(changed(plan, max_epochs=5), seed=3), study=plan.study_id)
    keys = {error.split(": ")[1] for error in caught.value.errors}
    assert {"seed", "search.joint.fidelity.max_epochs"} <= keys


def test_a_study_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path))
    with pytest.raises(SettingsError, match=f"--study: must be one of {plan.study_id} in"):
        with_identity(plan, study="other")
    assert with_identity(plan, study=plan.study_id).continues


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"searches": 3}'])
def test_a_folder_without_a_sound_specification_is_no_study(tmp_path: Path, content: str):
    plan = begun(plan_of(out=tmp_path))
    (plan.folder / SPECIFICATION_FILE).write_text(content)
    assert not with_identity(replace(plan, study_id="")).continues


def test_an_identity_is_flat_and_plain():
    found = identity(specification(plan_of("joint", "standalone")))
    assert found["search.standalone.parameters.alpha.low"] == 0.0
    assert json.loads(json.dumps(found)).keys() == found.keys()


def test_other_endpoints_begin_another_study_and_one_whose_file_names_none_continues(tmp_path: Path, monkeypatch):
    plan = plan_of(out=tmp_path)
    content = {key: value for key, value in specification(plan).items() if key != "endpoints"}
    assert digest(content) == digest(specification(plan)) == plan.study_id.rpartition("-")[2]
    plain = json.loads(json.dumps(content))
    plain["searches"][0]["search"]["seed_trials"] = []  # as before the first trial had the settings by default
    plain["searches"][0]["settings"] = {}  # new settings begin other studies, what else identifies one stays
    assert digest(plain) == "3f68edfe"  # as before specifications named the endpoints, for patients by name
    plan.folder.mkdir(parents=True)
    (plan.folder / SPECIFICATION_FILE).write_text(json.dumps(content))
    assert with_identity(plan_of(out=tmp_path)).continues
    monkeypatch.setattr("study.plan.plan.endpoints_of", lambda structures: (("cd_mm", "lv"),))
    assert not with_identity(replace(plan, study_id="")).continues
    with pytest.raises(
        SettingsError, match=r'endpoints: must be \["cd_mm/lv", "asd_mm/lv".* began, got \["cd_mm/lv"\]'
    ):
        with_identity(replace(plan, study_id=""), study=plan.study_id)


def test_seeds_are_no_part_of_it_and_those_asked_for_before_stay(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path, design=Design(seeds=2)))
    assert [with_identity(plan_of(out=tmp_path, design=Design(seeds=k))).design.seeds for k in (0, 2, 3)] == [2, 2, 3]
    assert with_identity(plan_of(out=tmp_path, design=Design(seeds=3))).study_id == plan.study_id
    assert with_identity(replace(plan, design=Design()), new=True).design.seeds == 0


@pytest.mark.parametrize(
    ("design", "line"),
    [
        (Design(folds=2), "folds: must be 1 as when the study began, got 2"),
        (Design(same_validation=True), "same_validation: must be false as when the study began, got true"),
    ],
)
def test_folds_and_validation_patients_are_part_of_it(tmp_path: Path, design: Design, line: str):
    plan = begun(plan_of(out=tmp_path))
    with pytest.raises(SettingsError, match=line):
        with_identity(plan_of(out=tmp_path, design=design), study=plan.study_id)


def test_a_margin_does_not_move_once_a_study_has_begun(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path))
    arms = tuple(replace(arm, space=replace(arm.space, margin_mm=1.0)) for arm in plan.arms)
    with pytest.raises(SettingsError, match=r"search\.joint\.claim\.margin_mm: must be nothing as when"):
        with_identity(replace(plan, arms=arms), study=plan.study_id)
    assert specification(replace(plan, arms=arms))["searches"][0]["claim"] == {"margin_mm": 1.0}


def test_a_study_s_name_leads_out_of_no_folder(tmp_path: Path):
    plan = begun(plan_of(out=tmp_path / "elsewhere"))
    inside = replace(plan_of(out=tmp_path / "runs"), study_id="")
    for name in (f"../elsewhere/{plan.study_id}", str(plan.folder), "..", "a\0b", "a" * 300):
        with pytest.raises(SettingsError, match="--study: must be one of"):
            with_identity(inside, study=name)


def test_a_study_from_before_arms_had_names_is_continued(tmp_path: Path):
    plan = plan_of("efficiency", out=tmp_path)
    requested, content = (json.loads(json.dumps(specification(plan))) for _ in range(2))
    for search in content["searches"]:
        del search["search"]
        search["settings_first"] = True
        search["models"] = list(search.pop("methods"))
        for parameter in search["parameters"].values():
            parameter["models"] = parameter.pop("methods")
    for arm in content["arms"]:
        del arm["method"]
    assert digest(content) == digest(requested) and not differences(content, requested)
    plan.folder.mkdir(parents=True)
    (plan.folder / SPECIFICATION_FILE).write_text(json.dumps(content))
    assert with_identity(replace(plan, study_id="")).continues

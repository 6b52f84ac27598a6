"""The plan: arms, identity, and its text on the terminal."""

from dataclasses import replace

import pytest
from plans import SPLITS, plan_of

from jointnet.errors import SettingsError
from jointnet.train.objective import Objective
from study.arm_differences import TRAIN
from study.plan.plan import Autoscaler, Design, Node, Resources, given, make_arms, specification
from study.plan.plan_text import WIDTH, fitted, render
from study.plan.splits import make_folds, same_validation
from study.search.file.reading import load_spaces
from study.search.file.split_counts import parse_counts


def test_arms_cross_models_and_splits():
    assert [arm.name for arm in plan_of("joint", "standalone").arms] == [
        "joint-25",
        "joint-35",
        "standalone-25",
        "standalone-35",
    ]


def test_an_arm_of_two_searches_is_refused():
    with pytest.raises(SettingsError, match="joint-25 must come from one search only, got joint and smoke"):
        make_arms(load_spaces(["joint", "smoke"]), SPLITS)


def test_the_plan_lists_where_everything_goes_and_marks_a_phantom():
    text = render(plan_of())
    assert "PHANTOM, not real scans" in text
    for text_part in (
        "joint-25",
        "joint-35",
        "25/15/5",
        "trials, the first its settings, of",
        "sqlite:////store/mlflow.db",
        "/nowhere/2026",
        "/cache",
        "MB of models",
    ):
        assert text_part in text, text_part
    assert "PHANTOM" not in render(plan_of(kind="folder"))


ASLEEP = Autoscaler((Node("w", 2, 0),) * 2, 2)


@pytest.mark.parametrize(
    ("cluster", "concurrent", "machine"),
    [
        ({"address": None}, 2, "2 concurrent trainings on cpu"),
        ({"autoscaler": ASLEEP}, 4, "as many concurrent trainings as fit, now 0 of up to 4, on cpu"),
        ({"autoscaler": Autoscaler(None, 0)}, 1, "as many concurrent trainings as fit, now 0, on cpu"),
        ({"nodes": (Node("a", 3, 0),)}, 3, "as many concurrent trainings as fit, now 3, on cpu"),
        ({"nodes": (Node("a", 3, 0),), "at_once": 2}, 2, "2 concurrent trainings on cpu"),
        ({"autoscaler": ASLEEP, "at_once": 3}, 3, "3 concurrent trainings (now 0) on cpu"),
    ],
)
def test_the_number_of_trainings_on_a_cluster_is_that_of_this_moment_and_its_limit(cluster, concurrent, machine):
    one = Resources(concurrent, 1.0, 0.0, "cpu")
    plan = replace(plan_of(), **{"address": "10.0.0.1:6379", "nodes": (), "resources": one, **cluster})
    text = render(plan)
    assert f"  Machine   {machine}, 1 CPU each" in text
    assert (f"with {concurrent} at once" in text) == ("now 0" in machine)


def test_the_specification_holds_what_the_report_reads():
    content = specification(plan_of("joint", "standalone"))
    assert content["objective"] == {"metric": "val/registration_ratio", "direction": "minimize"}
    assert set(content["splits"]) == {"25/15/5", "35/5/5"}
    assert [search["name"] for search in content["searches"]] == ["joint", "standalone"]
    assert [search["base"] for search in specification(plan_of(settings="paper"))["searches"]] == ["paper"]


def test_the_plan_names_the_objective_with_its_unit_and_direction():
    assert "  Objective val/registration_ratio, registration ratio on the validation patients: lower is" in render(
        plan_of()
    )
    plan = plan_of()
    own = replace(plan.arms[0].space, objective=Objective("val/cd_mm/lv"))
    text = render(replace(plan, arms=tuple(replace(arm, space=own) for arm in plan.arms)))
    assert "  Objective val/cd_mm/lv, LV CD in mm on the validation patients: lower is better\n" in text
    assert "front" not in text


def test_the_plan_names_the_further_metrics_and_says_which_one_chooses():
    objective = Objective("val/cd_mm/lv", further=(Objective("val/dice/lv", "maximize"), Objective("val/lost")))
    plan = plan_of()
    own = replace(plan.arms[0].space, objective=objective)
    plan = replace(plan, arms=tuple(replace(arm, space=own) for arm in plan.arms))
    text = render(plan)
    assert (
        "beside it val/dice/lv, LV overlap: higher is better; val/lost, structures moved out of view: lower is" in text
    )
    assert "; the report shows the Pareto front of 3 metrics\n" in text
    assert "val/cd_mm/lv alone chooses: a trial's best epoch, the winner, and so what is tested and retrained\n" in text
    assert specification(plan)["objective"] == objective.as_dict()


def test_the_plan_names_the_settings_and_what_is_fixed_over_them():
    (space,) = plan_of(settings="paper").spaces
    assert f"  Settings  joint: paper{', with ' if space.fixed else ''}" in render(plan_of(settings="paper"))


def test_an_arm_whose_model_only_registers_needs_no_annotation_of_patients_with_one_labelled_scan():
    plan = plan_of("joint", "standalone")
    small, large = (set(split.train) for split in SPLITS)
    plan = replace(plan, data=replace(plan.data, partly=(*sorted(small)[:3], *sorted(large - small)[:1])))
    assert {arm.name: given(plan.data, arm)[TRAIN] for arm in plan.arms} == {
        "joint-25": "25",
        "joint-35": "35",
        "standalone-25": "22",
        "standalone-35": "31",
    }
    lines = {line.split()[0]: " ".join(line.split()) for line in render(plan).splitlines() if " annotated, " in line}
    assert "joint-25 25/15/5 40 annotated, " in lines["joint-25"]
    assert "standalone-25 25/15/5 37 annotated, " in lines["standalone-25"]


def test_a_plan_of_folds_names_folders_splits_and_what_is_left_unused():
    design = Design(folds=9, same_validation=True, seeds=2)
    counts = same_validation(parse_counts(["25/15/5", "35/5/5"]))
    folds = make_folds(list(map(str, range(1, 46))), 9, counts, 0)
    spaces = load_spaces(["joint"])
    arms = tuple(a for fold, splits in enumerate(folds, 1) for a in make_arms(spaces, splits, fold=fold, folds=9))
    plan = replace(plan_of(design=design), arms=arms)
    assert [arm.key for arm in plan.arms][:3] == ["fold-1/joint-25", "fold-1/joint-35", "fold-2/joint-25"]
    assert plan.arm_folder(plan.arms[2]) == plan.folder / "fold-2" / "joint-25"
    content = specification(plan)
    assert list(content["splits"])[:2] == ["fold-1/25/5/5", "fold-1/35/5/5"] and len(content["splits"]) == 18
    assert content["arms"][2] == {
        "arm": "joint-25",
        "search": "joint",
        "method": "joint",
        "model": "joint",
        "split": "25/5/5",
        "fold": 2,
        "folds": 9,
        "settings_first": True,
    }
    assert content["design"] == {"folds": 9, "same_validation": True, "seeds": 2, "splits_file": None}
    text = render(plan)
    assert "patients left unused: 10 of 25/5/5" in text and "9 folds, each patient is tested in exactly one" in text
    assert "2 models: its selected trial, retrained with new seeds" in text
    assert "the model of its selected trial (--seeds K" in render(plan_of())


@pytest.mark.parametrize("width", [80, 100, 1000])
def test_lines_are_broken_only_where_the_next_word_does_not_fit(width: int):
    plan = plan_of("joint", "standalone", design=Design(folds=2))
    lines = fitted(render(plan), width).splitlines()
    most = min(width, WIDTH)
    assert max(map(len, lines)) <= most
    whole = render(plan).splitlines()
    begins = [line.split() for line in whole]
    assert [word for line in lines for word in line.split()] == [word for line in begins for word in line]
    place = 0
    for line in whole:
        words = line.split()
        while words:
            shown = lines[place].split()
            words = words[len(shown) :]
            assert not words or len(lines[place]) + 1 + len(words[0]) > most
            place += 1

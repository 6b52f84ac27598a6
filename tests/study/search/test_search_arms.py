"""Search files with named arms, and arms with nothing to search."""

import re
from pathlib import Path

import pytest
from own_search import errors, read
from plans import SPLITS, plan_of

from study.arm_differences import LENGTH, MODEL, TRAIN, beyond_question, differences, sentence
from study.plan.identity import digest
from study.plan.plan import given, make_arms, specification
from study.plan.plan_text import render
from study.plan.splits import make_splits
from study.search.file.reading import load_spaces
from study.search.file.split_counts import parse_counts
from study.search.space import Budget

DATA = plan_of().data
FILE = """
question = "Which?"
settings = "quick"
fixed = {"loss.alpha" = 0.25, "training.batch_size" = 4}
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[fidelity]
max_epochs = 8
grace_epochs = 2
reduction_factor = 2
"""
ARMS = """
[arms.joint]
model = "joint"
[arms.joint-dense]
model = "joint"
fixed = {"model.head" = "fully_connected", "training.batch_size" = 2}
[arms.alone]
model = "standalone"
"""
RATE = """
[parameters."optimiser.learning_rate"]
low = 1e-4
high = 1e-2
scale = "log"
why = "?"
"""
BUDGET = "[budget]\nnum_samples = 4\n"


def test_named_arms_have_their_model_and_their_own_settings(tmp_path: Path):
    space = read(tmp_path, FILE + ARMS)
    assert [(method.name, method.model) for method in space.methods] == [
        ("joint", "joint"),
        ("joint-dense", "joint"),
        ("alone", "standalone"),
    ]
    joint, dense, alone = (space.settings_of(method.name) for method in space.methods)
    assert (joint.model.head, dense.model.head) == ("guided", "fully_connected")
    assert (joint.training.batch_size, dense.training.batch_size) == (4, 2)
    assert alone.model.name == "standalone" and {s.loss.alpha for s in (joint, dense, alone)} == {0.25}


def test_two_arms_of_one_model_have_keys_and_folders_of_their_own(tmp_path: Path):
    arms = make_arms([read(tmp_path, FILE + ARMS)], SPLITS)
    assert [arm.key for arm in arms[:4]] == ["joint-25", "joint-35", "joint-dense-25", "joint-dense-35"]
    assert len({arm.key for arm in arms}) == 6
    assert arms[2].model == "joint" and arms[2].settings.model.head == "fully_connected"


def test_the_specification_tells_the_arms_apart(tmp_path: Path):
    read(tmp_path, FILE + ARMS)
    content = specification(plan_of(str(tmp_path / "own.toml")))
    (search,) = content["searches"]
    assert search["methods"]["joint-dense"] == {
        "model": "joint",
        "fixed": {"model.head": "fully_connected", "training.batch_size": 2},
    }
    assert search["settings"]["joint-dense"]["model"]["head"] == "fully_connected"
    assert content["arms"][2] == {
        "arm": "joint-dense-25",
        "search": "own",
        "method": "joint-dense",
        "model": "joint",
        "split": "25/15/5",
        "settings_first": False,
    }
    before = digest(content)
    search["settings"]["joint-dense"]["model"]["head"] = "guided"
    assert digest(content) != before


def test_a_parameter_names_the_arms_or_the_models_that_it_applies_to(tmp_path: Path):
    for choice, expected in {
        "": ["joint", "joint-dense", "alone"],
        'arms = ["joint-dense", "alone"]\n': ["joint-dense", "alone"],
        'models = ["joint"]\n': ["joint", "joint-dense"],
    }.items():
        space = read(tmp_path, FILE + ARMS + RATE + choice + BUDGET)
        assert [method.name for method in space.methods if space.parameters_of(method.name)] == expected


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("[arms.alone]", "[arms.joint_2]", "arms: a name must have .* letters, digits and inner hyphens.* 'joint_2'"),
        ("[arms.alone]", "[arms.a-]", "arms: a name must have .* got 'a-'"),
        ("[arms.alone]", '[arms."../x"]', "arms: a name must have .* got '../x'"),
        ("[arms.alone]", "[arms.JOINT]", "arms.JOINT: must differ from arms.joint in more than"),
        (
            '[arms.joint]\nmodel = "joint"',
            '[arms.joint]\nmodel = "standalone"',
            "arms.joint: must have the model of its name, joint, or another name, got model = 'standalone'",
        ),
        (
            'model = "standalone"',
            'model = "other"',
            "arms.alone.model: must be one of standalone, joint, or own code as .*, got 'other'",
        ),
        ('model = "standalone"', "", "arms.alone.model: is missing; must be one of"),
        ('"model.head" = "fully', '"model.had" = "fully', "arms.joint-dense.fixed.model.had: unknown key 'had'"),
        (
            '"model.head" = "fully_connected"',
            '"model.name" = "joint"',
            "arms.joint-dense.fixed.model.name: must be left to .*arms.NAME.model",
        ),
        ('"model.head" =', '"training.epochs" = 3, "model.head" =', "arms.joint-dense.fixed.training.epochs: must be"),
        ('question = "Which?"', 'question = "?"\nmodels = ["joint"]', r"models: must be left out .* got \['joint'\]"),
        (
            'why = "?"',
            'why = "?"\narms = ["one"]',
            "learning_rate.arms: must be a list of the file's arms, joint, joint-d",
        ),
        (
            'why = "?"',
            'why = "?"\narms = ["alone"]\nmodels = ["joint"]',
            "arms: must be left out where there is the key",
        ),
        ('"optimiser.learning_rate"', '"training.batch_size"', ".*low: must be a whole number"),
        (
            'learning_rate"]\nlow = 1e-4\nhigh = 1e-2',
            'x"]\nlow = 0\nhigh = 1',
            "parameters.optimiser.x: unknown key",
        ),
    ],
)
def test_one_broken_rule_of_an_arm_gives_its_error(tmp_path: Path, old: str, new: str, error: str):
    text = FILE + ARMS + RATE + BUDGET
    assert old in text
    found = errors(tmp_path, text.replace(old, new))
    assert any(re.match(error, line) or re.match(f"parameters.*{error}", line) for line in found), found


def test_a_parameter_without_effect_on_an_arm_is_refused_with_the_arms_that_have_it(tmp_path: Path):
    hidden = RATE.replace("optimiser.learning_rate", "model.hidden").replace("1e-4", "8").replace("1e-2", "64")
    assert errors(tmp_path, FILE + ARMS + hidden + BUDGET) == [
        "parameters.model.hidden.arms: must leave out joint, on which model.hidden has no effect with model.head = "
        "guided; write arms = [\"joint-dense\", \"alone\"], got ['joint', 'joint-dense', 'alone']"
    ]
    space = read(tmp_path, FILE + ARMS + hidden + 'arms = ["joint-dense"]\n' + BUDGET)
    assert [each.name for each in space.parameters_of("joint-dense")] == ["model.hidden"]
    ratio = hidden.replace('"model.hidden"', "lambda_2_to_1")
    (line,) = errors(tmp_path, FILE + ARMS + ratio + BUDGET)
    assert "must leave out alone, on which lambda_2_to_1 has no effect" in line


def test_what_one_arm_fixes_is_searched_for_the_others_only(tmp_path: Path):
    batch = RATE.replace("optimiser.learning_rate", "training.batch_size").replace("1e-4", "2").replace("1e-2", "8")
    text = FILE.replace(', "training.batch_size" = 4', "") + ARMS + batch
    assert errors(tmp_path, text + BUDGET) == [
        "parameters.training.batch_size: must not be searched while arms.joint-dense.fixed.training.batch_size holds 2"
    ]
    assert read(tmp_path, text + 'arms = ["joint", "alone"]\n' + BUDGET).parameters[0].methods == ("joint", "alone")


def test_an_arm_without_parameters_is_trained_once_at_its_settings(tmp_path: Path):
    space = read(tmp_path, FILE + ARMS)
    assert space.budget_of("joint") == Budget(1, None) and space.first_samples_of("joint") == ({},)
    some = read(tmp_path, FILE + ARMS + RATE + 'arms = ["alone"]\n' + BUDGET)
    assert [some.budget_of(method.name).num_samples for method in some.methods] == [1, 1, 4]
    assert some.first_samples_of("joint") == ({},) and some.first_samples_of("alone") == (
        {"optimiser.learning_rate": 2e-3},
    )
    text = render(plan_of(str(tmp_path / "own.toml")))
    assert "joint-25       25/15/5    40 annotated,   1 trial, its settings, of 8 epochs" in text
    assert "alone-25       25/15/5    40 annotated,   4 trials, the first its settings, of 2-8 epochs" in text
    assert "an arm without parameters is trained once at its settings" in text and "equal effort" in text


def test_parameters_need_a_budget(tmp_path: Path):
    assert errors(tmp_path, FILE + ARMS + RATE) == [
        "budget: is missing; must be a table with num_samples where there are parameters"
    ]


RATIO = RATE.replace('"optimiser.learning_rate"', "lambda_2_to_1").replace("1e-4", "0.1").replace("1e-2", "10.0")
FIRST = f"{BUDGET}[search]\nseed_trials = [{{}}]\n"
DRAWN = f"{BUDGET}[search]\nseed_trials = []\n"


def test_the_first_trial_may_have_the_settings_themselves(tmp_path: Path):
    (tmp_path / "base.toml").write_text("[loss]\nlambda_1 = 1\nlambda_2 = 2")
    weights = FILE.replace('"quick"', f'"{tmp_path / "base.toml"}"')
    models = ARMS.replace("alone]", "joint-other]").replace('"standalone"', '"joint"')
    space = read(tmp_path, weights + models + RATIO + FIRST)
    assert space.first_samples_of("joint") == ({"lambda_2_to_1": 2.0},)
    assert errors(tmp_path, weights + models + RATIO.replace("10.0", "1.5") + FIRST)[0] == (
        "search.seed_trials[0]: lambda_2_to_1 must be of 0.1 to 1.5 (log), got 2.0, the value of the settings; state "
        "another or widen the parameter (arm joint)"
    )
    assert read(tmp_path, weights + models + RATIO + BUDGET).first_samples_of("joint") == ({"lambda_2_to_1": 2.0},)
    assert read(tmp_path, weights + models + RATIO + DRAWN).first_samples_of("joint") == ()
    outside = read(tmp_path, weights + models + RATIO.replace("10.0", "1.5") + BUDGET)
    assert outside.first_samples_of("joint") == ()  # the settings lie outside, and nobody asked for them


def test_the_first_trial_is_part_of_the_identity_and_its_absence_changes_no_digest(tmp_path: Path):
    read(tmp_path, FILE + ARMS + RATE + FIRST)
    first = specification(plan_of(str(tmp_path / "own.toml")))
    read(tmp_path, FILE + ARMS + RATE + DRAWN)
    drawn = specification(plan_of(str(tmp_path / "own.toml")))
    read(tmp_path, FILE + ARMS + RATE + BUDGET)
    default = specification(plan_of(str(tmp_path / "own.toml")))
    assert digest(first) == digest(default) != digest(drawn)
    for content, own in ((first, {"settings_first": True}), (drawn, {})):  # as in specifications of before
        before = digest(content)
        del content["searches"][0]["search"]
        content["searches"][0] |= own
        assert digest(content) == before


def test_the_paper_s_search_begins_with_equal_weights():
    (space,) = load_spaces(["paper"])
    assert space.splits == ("25/15/5", "35/5/5")
    assert space.first_samples_of("joint") == ({"lambda_2_to_1": 1.0, "lambda_3_to_1": 1.0, "alpha": 0.5},)
    assert space.first_samples_of("standalone") == ({"alpha": 0.5},)
    settings = space.settings_of("joint")
    assert (settings.model.head, settings.model.sharing, settings.model.stem) == ("fully_connected", "none", 1)
    assert (settings.training.epochs, settings.training.downsampling) == (100, 1)


def test_what_an_arm_was_given_has_the_settings_that_have_an_effect_on_it(tmp_path: Path):
    space = read(tmp_path, FILE + ARMS + RATIO + 'arms = ["joint"]\n' + BUDGET)
    joint, _, dense, _, alone, _ = (given(DATA, arm) for arm in make_arms([space], SPLITS))
    assert (joint["model.head"], dense["model.head"], alone["model.head"]) == (
        "guided",
        "fully_connected",
        "fully_connected",
    )
    assert joint["loss.lambda_2"] == "0.333333" and "loss.lambda_2" not in alone and "model.sharing" not in alone
    assert (joint["model.widths"], joint["training.length"]) == ("16, 32, 64, 96", "8 epochs of 25 patients")
    assert (joint["search.loss_weights"], dense["search.loss_weights"]) == ("lambda_2_to_1", "none")
    assert {each["search.parameters"] for each in (joint, dense, alone)} == {"none"}


def test_the_plan_says_what_the_arms_differ_in(tmp_path: Path):
    read(tmp_path, FILE + ARMS)
    text = " ".join(render(plan_of(str(tmp_path / "own.toml"))).split())
    assert (
        "Compared The arms differ in more than the question: in validation patients and number of optimiser steps "
        "besides model, model.head, training.batch_size and training patients." in text
    )
    assert "model.head: guided (joint), fully_connected (joint-dense, alone)" in text
    assert (
        "validation patients: 15 (joint-25, joint-dense-25, alone-25), 5 (joint-35, joint-dense-35, alone-35)" in text
    )


def test_the_plan_says_that_arms_search_different_parameters_where_more_than_one_trial_is_drawn():
    row = "searched loss weights: lambda_2_to_1, lambda_3_to_1 (joint), none (standalone)"
    text = " ".join(render(plan_of("efficiency")).split())
    assert "question: in model.head, validation patients and searched loss weights besides model and training" in text
    assert row in text
    assert "searched loss weights" not in render(plan_of("paper"))  # one trial, the settings


@pytest.mark.parametrize(
    ("search", "pooling", "refinement"), [("matched", "patient", "descriptors"), ("networks", "independent", "none")]
)
def test_matched_arms_differ_in_the_question_only(search, pooling, refinement):
    (space,) = load_spaces([search])
    splits = make_splits(list(map(str, range(25))), parse_counts(space.splits), 0)
    arms = {arm.name: given(DATA, arm) for arm in make_arms([space], splits)}
    assert list(arms) == ["joint-2", "joint-5", "joint-15", "standalone-2", "standalone-5", "standalone-15"]
    assert beyond_question(arms) == () and set(differences(arms)) == {MODEL, TRAIN}
    assert len({split.validation for split in splits}) == 1
    text = render(plan_of(search))
    assert "  1 trial, its settings, of 12 epochs (600 steps)" in text
    for key, value in (("head", "fully_connected"), ("pooling", pooling), ("refinement", refinement)):
        assert f".{key}: {value} (joint, standalone)" in text


def test_networks_is_matched_without_the_stages_after_the_network():
    matched, networks = load_spaces(["matched"])[0], load_spaces(["networks"])[0]
    stages = {"registration.pooling": "independent", "registration.refinement": "none"}
    assert networks.fixed == matched.fixed | stages
    for name in ("methods", "splits", "objective", "parameters", "fidelity", "budget", "search"):
        assert getattr(networks, name) == getattr(matched, name)


def test_an_ablation_changes_one_step_at_a_time():
    (space,) = load_spaces(["ablation"])
    arms = {arm.method: given(DATA, arm) for arm in make_arms([space], SPLITS[:1])}
    long = {LENGTH, "training.steps"}
    steps = [
        ("joint", "joint-no-descriptors", {"registration.refinement"}),
        ("joint", "joint-no-pooling", {"registration.pooling"}),
        ("joint-no-descriptors", "joint-no-stages", {"registration.pooling"}),
        ("joint-no-pooling", "joint-no-stages", {"registration.refinement"}),
        ("joint", "joint-dense", {"model.head"}),
        ("joint-no-stages", "joint-dense-no-stages", {"model.head"}),
        ("joint-dense", "standalone", {MODEL}),
        ("joint-dense-no-stages", "standalone-no-stages", {MODEL}),
        ("joint", "joint-long", long),
        ("joint-dense-no-stages", "joint-dense-no-stages-long", long),
        ("standalone-no-stages", "standalone-no-stages-long", long),
    ]
    for one, other, keys in steps:
        assert set(differences({one: arms[one], other: arms[other]})) == keys, (one, other)
    assert {name for step in steps for name in step[:2]} == set(arms)
    own = {key for method in space.methods for key in method.fixed}
    assert sentence(arms, own) == (
        "The arms differ in model, model.head, registration.pooling, registration.refinement, training.steps and "
        "number of optimiser steps only."
    )
    assert beyond_question({**arms, "other": arms["joint"] | {"loss.alpha": "0.9"}}, own) == ("loss.alpha",)

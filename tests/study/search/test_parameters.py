"""Parameters by choices, in steps and under conditions: what a file may say, and what becomes of it."""

import re
from pathlib import Path

import pytest
from own_search import errors, read
from plans import plan_of

from jointnet.settings import Settings
from study.plan.identity import digest
from study.plan.plan import specification
from study.plan.plan_text import render
from study.search.first_trials import first_samples
from study.search.grid import points
from study.search.parameters import Choices, Parameter, Range, in_order, settings_of_sample, value_text

FILE = """
question = "Which?"
models = ["joint", "standalone"]
settings = "quick"
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[fidelity]
max_epochs = 8
grace_epochs = 2
reduction_factor = 2
[budget]
num_samples = 4
"""
HEAD = '[parameters."model.head"]\nchoices = ["guided", "fully_connected"]\nmodels = ["joint"]\n'
WIDTHS = '[parameters."model.widths"]\nchoices = [[8, 16, 24, 32], [16, 32, 64, 96]]\n'
BATCH = '[parameters."training.batch_size"]\nlow = 4\nhigh = 16\nstep = 4\n'
GUIDE = '[parameters."model.guide_steps"]\nlow = 2\nhigh = 8\nmodels = ["joint"]\nwhen = {"model.head" = "guided"}\n'
HIDDEN = (
    '[parameters."model.hidden"]\nchoices = [16, 32]\nmodels = ["joint"]\nwhen = {"model.head" = "fully_connected"}\n'
)


def test_settings_of_every_kind_are_searched(tmp_path: Path):

    space = read(tmp_path, FILE + HEAD + WIDTHS + BATCH + GUIDE)
    assert [(one.name, one.domain) for one in space.parameters] == [
        ("model.head", Choices(("guided", "fully_connected"))),
        ("model.widths", Choices(([8, 16, 24, 32], [16, 32, 64, 96]))),
        ("training.batch_size", Range(4, 16, "linear", 4)),
        ("model.guide_steps", Range(2, 8)),
    ]
    assert space.parameters[3].when == {"model.head": ("guided",)} and space.parameters[3].why == ""
    joint = space.settings_of("joint")
    sample = {"model.head": "fully_connected", "model.widths": [8, 16, 24, 32], "training.batch_size": 12}
    drawn = settings_of_sample(joint, sample)
    assert (drawn.model.head, drawn.model.widths, drawn.training.batch_size) == (
        "fully_connected",
        (8, 16, 24, 32),
        12,
    )
    assert drawn.model.guide_steps == joint.model.guide_steps


def test_a_parameter_follows_those_of_its_condition_whatever_the_order_in_the_file(tmp_path: Path):
    space = read(tmp_path, FILE + HIDDEN + GUIDE + HEAD)
    assert [one.name for one in space.parameters_of("joint")] == ["model.head", "model.hidden", "model.guide_steps"]
    assert space.parameters_of("standalone") == ()
    every = points(space.parameters_of("joint"))
    assert len(every) == 2 + 7 and {"model.head": "fully_connected", "model.hidden": 16} in every
    with pytest.raises(ValueError, match="a, b"):
        in_order([Parameter("a", Choices((1,)), (), {"b": (1,)}), Parameter("b", Choices((1,)), (), {"a": (1,)})])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (HEAD.replace('"guided",', '"led",'), r"model.head.choices: must be one of guided, .* got 'led'"),
        (HEAD.replace('"fully_connected"]', '"guided"]'), "head.choices: must differ .* got guided twice"),
        (HEAD.replace('models = ["joint"]', ""), r'must leave out standalone.*; write models = \["joint"\]'),
        (HEAD + 'low = 1\n', "model.head.low: must be left out where there are choices, got 1"),
        (HEAD + 'scale = "log"\n', "model.head.scale: must be left out where there are choices, got 'log'"),
        (WIDTHS.replace("[8, 16, 24, 32]", "[8]"), r"widths.choices: must be at least two .* got \[8\]"),
        (BATCH.replace("step = 4", "step = 5"), "batch_size.step: must lead from low, 4, to high, 16, got 5"),
        (BATCH.replace("step = 4", "step = 1.5"), "step: must be a whole number as training.batch.* is one, got 1.5"),
        (BATCH.replace("step = 4", "step = 0"), "batch_size.step: must be a number above 0, got 0"),
        (BATCH + 'scale = "log"\n', "batch_size.step: must be left out on a log scale, got 4"),
        (
            HEAD + GUIDE.replace('"guided"}', '"led"}'),
            r"when.model.head: must be of the values of parameters.model.head, .* got led",
        ),
        (GUIDE, r"guide_steps.when.model.head: must be another parameter of the file, \(none\)"),
        (HEAD + GUIDE.replace('when = {"model.head" = "guided"}', 'when = 3'), "when: must be a table, got 3"),
        (
            HEAD + BATCH.replace("step = 4", 'when = {"model.head" = "guided"}'),
            "batch_size.when.model.head: must be a parameter of the same arms, got none of standalone",
        ),
        (
            HEAD + HIDDEN.replace('when = {"model.head" = "fully_connected"}', ""),
            'hidden.when: must leave out model.head = guided, with which model.hidden has no effect on joint; '
            'write when = {"model.head" = "fully_connected"}',
        ),
        (
            HEAD + HIDDEN.replace('"fully_connected"}', '"guided"}'),
            "hidden.models: must leave out joint, on which model.hidden has no effect",
        ),
        (
            HEAD.replace('models = ["joint"]', 'models = ["joint"]\nwhen = {"model.hidden" = 16}') + HIDDEN,
            "parameters: conditions .when. must not depend on each other in a circle, got model.head, model.hidden",
        ),
        ("[parameters.lambda_2_to_1]\nchoices = [1, -1]\nmodels = ['joint']\n", "choices: must be at least 0, got -1"),
    ],
)  # fmt: skip
def test_one_broken_rule_of_a_parameter_gives_one_error(tmp_path: Path, text: str, error: str):
    found = errors(tmp_path, FILE + text)
    assert len(found) == 1 and re.search(error, found[0]), found


def test_bounds_without_a_point_are_no_reason_to_draw_whole_numbers(tmp_path: Path):
    space = read(tmp_path, FILE + "[parameters.alpha]\nlow = 0\nhigh = 1\nstep = 0.25\n[search]\nsampler = 'grid'\n")
    assert space.parameters[0].domain.values == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert space.budget_of("joint").num_samples == 4  # of five points


def test_values_that_are_valid_alone_must_be_valid_together(tmp_path: Path):
    two = '[parameters."model.stem"]\nchoices = [1, 2]\n[parameters."training.downsampling"]\nlow = 1\nhigh = 2\n'
    (line,) = errors(tmp_path, FILE.replace('"quick"', '"paper"') + two)
    rule = r"parameters: every combination must be valid, got model.stem = 2, training.downsampling = 2 \(training.down"
    assert re.match(rule, line), line


SEEDS = HEAD + GUIDE + "[parameters.alpha]\nlow = 0\nhigh = 1\n[search]\nseed_trials = "


def test_seed_trials_are_tried_first_and_take_what_they_leave_out_from_the_settings(tmp_path: Path):
    space = read(
        tmp_path,
        FILE + SEEDS + '[{"model.head" = "fully_connected"}, {alpha = 0, "model.guide_steps" = 3}, {alpha = 0}]',
    )
    own = space.settings_of("joint")
    assert space.first_samples_of("joint") == (
        {"model.head": "fully_connected", "alpha": 0.5},
        {"model.head": "guided", "model.guide_steps": 3, "alpha": 0.0},
        {"model.head": "guided", "model.guide_steps": own.model.guide_steps, "alpha": 0.0},
    )
    assert space.first_samples_of("standalone") == ({"alpha": 0.5}, {"alpha": 0.0})


def test_a_seed_trial_outside_is_refused_and_the_settings_outside_are_not_tried(tmp_path: Path):
    assert errors(tmp_path, FILE + SEEDS + "[{alpha = 2}, {alpah = 1}]") == [
        "search.seed_trials[1].alpah: must be a parameter of the file, alpha, model.guide_steps, model.head",
        "search.seed_trials[0]: alpha must be of 0 to 1, got 2 (arm joint)",
        "search.seed_trials[0]: alpha must be of 0 to 1, got 2 (arm standalone)",
    ]
    narrow = "[parameters.alpha]\nlow = 0.6\nhigh = 1\n"
    assert read(tmp_path, FILE + narrow).first_samples_of("joint") == ()
    text = render(plan_of(str(tmp_path / "own.toml")))
    assert "no trial of joint has the settings themselves, which lie outside: alpha must be of 0.6 to 1" in text


def test_the_settings_must_be_on_a_step_to_be_a_trial():
    batch = Parameter("training.batch_size", Range(3, 99, "linear", 4), ("joint",))
    assert Settings().training.batch_size % 4 != 3
    assert first_samples([batch], Settings(), None) == ((), [])


def test_the_plan_lists_what_is_searched_and_how(tmp_path: Path):
    read(tmp_path, FILE + HEAD + WIDTHS + BATCH + GUIDE + '[search]\nsampler = "random"\nscheduler = "none"\n')
    text = render(plan_of(str(tmp_path / "own.toml")))
    for line in (
        "  Search    own: sampler random, no early stopping",
        "              model.head guided, fully_connected (joint only)",
        "              model.widths [8, 16, 24, 32], [16, 32, 64, 96]",
        "              training.batch_size 4 to 16 in steps of 4",
        "              model.guide_steps 2 to 8, where model.head = guided (joint only)",
        "              trial 1 of joint: the settings: model.head guided, model.widths [16, 32, 64, 96], training",
        "4 trials, the first its settings, of 8 epochs",
        "time and disk are those of the settings; model.widths, training.batch_size of the trials may differ",
    ):
        assert line in text, line


def test_what_is_searched_is_part_of_the_identity(tmp_path: Path):
    found = set()
    for text in (
        HEAD + WIDTHS,
        HEAD + WIDTHS.replace("[8, 16, 24, 32]", "[4, 8, 12, 16]"),
        HEAD + WIDTHS + BATCH,
        HEAD + WIDTHS + BATCH.replace("step = 4", ""),
        HEAD + WIDTHS + GUIDE,
        HEAD + WIDTHS + '[search]\nsampler = "random"\n',
        HEAD + WIDTHS + '[search]\nscheduler = "none"\n',
        HEAD + WIDTHS + "[search]\nseed_trials = [{}, {'model.widths' = [8, 16, 24, 32]}]\n",
        HEAD + WIDTHS + "[search]\noptions = {n_startup_trials = 2}\n",
    ):
        read(tmp_path, FILE + text)
        found.add(digest(specification(plan_of(str(tmp_path / "own.toml")))))
    assert len(found) == 9


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00312345, "0.003123"), (3, "3"), ("guided", "guided"), ((16, 32), "[16, 32]"), (True, "true")],
)
def test_values_of_a_sample_as_text(value: object, text: str):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Range(0.0, 1.0), [0, 0.5, 1.0], [-0.1, 1.01, "a", True]),
        (Range(1, 8), [1, 8], [2.5, 0]),
        (Range(0.1, 0.7, "linear", 0.2), [0.1, 0.3, 0.5, 0.7], [0.2, 0.9]),
        (Range(4, 16, "linear", 4), [4, 8, 16], [6, 20]),
        (Choices(("a", [1, 2])), ["a", (1, 2), [1, 2]], ["b", [1]]),
    ],
)
def test_what_lies_in_a_domain(domain: Range | Choices, inside: list, outside: list):
    assert all(domain.has(value) for value in inside) and not any(domain.has(value) for value in outside)


def test_a_similar_name_is_proposed_and_a_long_list_of_names_stands_once(tmp_path: Path):
    text = FILE + HEAD.replace("model.head", "model.heads") + BATCH.replace("training.batch", "train.batch")
    found = errors(
        tmp_path, text + BATCH.replace("training.batch_size", "zzz") + BATCH.replace("training.batch_size", "yyy")
    )
    assert [line.partition(", got")[0].partition(" one of lambda")[0] for line in found] == [
        "parameters.model.heads: unknown key 'model.heads', did you mean model.head?",
        "parameters.train.batch_size: unknown key 'train.batch_size', did you mean training.batch_size?",
        "parameters.zzz: unknown key 'zzz', must be",
        "parameters.yyy: unknown key 'yyy', must be one of the names above",
    ]

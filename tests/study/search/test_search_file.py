"""Search files: strict reading with all errors at once, and their JSON schema."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from jointnet.errors import SettingsError
from jointnet.settings import load_settings, with_values
from jointnet.settings.validation import json_schema
from study.search.file.reading import SearchFile, load_spaces

SHIPPED = Path(__file__).parents[3] / "search_spaces"
GOOD = """
question = "Which?"
models = ["joint"]
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[parameters.lambda_2_to_1]
low = 0.1
high = 10.0
scale = "log"
why = "both sides of 1"
[fidelity]
max_epochs = 8
grace_epochs = 2
reduction_factor = 2
[budget]
num_samples = 4
"""


def _file(folder: Path, text: str, name: str = "own.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def _errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_spaces([_file(folder, text)])
    return list(caught.value.errors)


@pytest.mark.parametrize("name", ["joint", "standalone", "smoke", "paper"])
def test_the_shipped_spaces_are_found_by_name_from_anywhere(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    (space,) = load_spaces([name])
    assert space.name == name
    for method in space.methods:
        assert space.parameters_of(method.name)
        assert space.settings_of(method.name).model.name == method.model == method.name


def test_the_shipped_spaces_search_what_each_model_has():
    joint, standalone, smoke = load_spaces(["joint", "standalone", "smoke"])
    assert {"lambda_2_to_1", "lambda_3_to_1", "alpha"} <= {p.name for p in joint.parameters}
    assert not any(p.name.startswith("lambda") for p in standalone.parameters)
    assert [p.name for p in smoke.parameters_of("standalone")] == ["alpha"]
    assert smoke.budget.num_samples == 2 and smoke.fidelity.max_epochs == 2


def test_a_file_is_read_by_path_and_by_name_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "search_spaces").mkdir()
    path = _file(tmp_path / "search_spaces", GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_spaces([path]) == load_spaces(["own"])


def test_a_file_of_the_working_directory_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "search_spaces").mkdir()
    _file(tmp_path / "search_spaces", GOOD, "joint.toml")
    monkeypatch.chdir(tmp_path)
    assert (
        load_spaces(["joint"])[0].parameters == load_spaces([str(tmp_path / "search_spaces/joint.toml")])[0].parameters
    )
    assert load_spaces(["smoke"])[0].question == load_spaces([str(SHIPPED / "smoke.toml")])[0].question


def test_the_error_of_an_unknown_name_lists_the_names():
    with pytest.raises(SettingsError, match=r"'joined' must be .* joint, .*smoke, standalone"):
        load_spaces(["joined"])


def test_errors_of_all_files_come_together(tmp_path: Path):
    one = _file(tmp_path, GOOD.replace("low = 0.1", "low = 20.0"), "one.toml")
    two = _file(tmp_path, GOOD.replace("num_samples = 4", ""), "two.toml")
    with pytest.raises(SettingsError) as caught:
        load_spaces([one, two, "nowhere", one])
    text = "\n".join(caught.value.errors)
    assert "one.toml: parameters.lambda_2_to_1.low: must be below high, 10.0, got 20.0" in text
    assert "two.toml: budget.num_samples: is missing" in text
    assert "'nowhere' must be" in text and "must be named once" in text


@pytest.mark.parametrize("models", ['["nowhere.py:MODEL"]', '["nowhere.py:MODEL", "joint"]'])
def test_a_model_file_that_is_missing_is_said_once(models: str, tmp_path: Path):
    text = GOOD.replace('["joint"]', models) + "[fixed]\n'model.options.width' = 3\n"
    text += "[parameters.'model.options.depth']\nlow = 1\nhigh = 3\nmodels = ['nowhere.py:MODEL']\n"
    (line,) = _errors(tmp_path, text)
    assert line.startswith(
        "own.toml: models: nowhere.py:MODEL: model.name: 'nowhere.py:MODEL': must be a file that can"
    )


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('question = "Which?"', "", "question: is missing"),
        ('question = "Which?"', 'question = "?"\nsurplus = 3', "surplus: unknown key.*got 3"),
        (
            '["joint"]',
            '["both"]',
            r"models: must be a list of at least one of standalone, joint, or own code .*, each once, got \['both'\]",
        ),
        (
            '["joint"]',
            "[]",
            r"models: must be a list of at least one of standalone, joint, or own code as .*, each once, got \[\]",
        ),
        ('"minimize"', '"best"', "objective.direction: must be one of minimize, maximize, got 'best'"),
        (
            '"minimize"',
            '"maximize"',
            "objective.direction: must be minimize for val/registration_ratio, got 'maximize'",
        ),
        ("val/registration_ratio", "val/dice/lv", "objective.direction: must be maximize for val/dice/lv, got 'minim"),
        ("val/registration_ratio", "train/loss", "objective.metric: must be .* not a loss, by which .*'train/loss'"),
        ("val/registration_ratio", "val/cd_mm/lvv", "unknown metric 'val/cd_mm/lvv', did you mean val/cd_mm/lv"),
        ("val/registration_ratio", "val/cut", "objective.metric: unknown metric 'val/cut', must be one of val/regis"),
        ('"log"', '"cubic"', "parameters.lambda_2_to_1.scale: must be one of linear, log, got 'cubic'"),
        ("low = 0.1", "low = 0", "low: must be above 0 on a log scale, got 0"),
        ("low = 0.1", 'low = "a"', "low: must be a number, got 'a'"),
        ("low = 0.1", "low = nan", "low: must be a number, got nan"),
        ("low = 0.1", "low = true", "low: must be a number, got True"),
        ("low = 0.1", "", "parameters.lambda_2_to_1.low: is missing; must be a number, or there must be choices"),
        ("low = 0.1", "low = 0.1\nchoices = [1]", "choices: must be a list of at least two values, got"),
        ("lambda_2_to_1", "lambda_9", "parameters.lambda_9: unknown key 'lambda_9', must be one of lambda_2_to_1"),
        ("lambda_2_to_1", "alpha", "parameters.alpha.high: must be a number between 0.0 and 1.0, got 10.0"),
        ('["joint"]', '["joint", "standalone"]', "leave out standalone.*lambda_2_to_1"),
        ("grace_epochs = 2", "grace_epochs = 9", "fidelity.grace_epochs: must be at most max_epochs, 8, got 9"),
        (
            "reduction_factor = 2",
            "reduction_factor = 1",
            "fidelity.reduction_factor: must be a whole number between 2 and 100000, got 1",
        ),
        (
            "num_samples = 4",
            "num_samples = 4\nminutes = 0",
            "budget.minutes: must be a number above 0, at most 1000000, got 0",
        ),
        (
            "[fidelity]",
            "[fixed]\n'loss.alpha' = 2\n[fidelity]",
            "fixed.loss.alpha: must be a number between 0.0 and 1.0, got 2",
        ),
        ("[fidelity]", "[fixed]\n'loss.beta' = 2\n[fidelity]", "fixed.loss.beta: unknown key 'beta'"),
        ("[fidelity]", "[fixed]\n'model.name' = 'joint'\n[fidelity]", "fixed.model.name: must be left to .*`models`"),
        ("[fidelity]", "[fixed]\n'loss.lambda_1' = 1\n[fidelity]", "must not be searched while fixed.loss.lambda_1"),
        ('models = ["joint"]', 'models = ["joint"]\nsettings = "none"', "settings: settings 'none': must be"),
        ('models = ["joint"]', 'models = ["joint"]\nsplits = ["25-15-5"]', "splits: must be train/validation/test"),
        ("[budget]", "[budget", "must be TOML"),
        (
            "num_samples = 4",
            "num_samples = 1000000",
            "must be a whole number between 1 and 100000, got 1000000",
        ),
        ("num_samples = 4", "num_samples = 0x1" + "0" * 40, "num_samples: must be .* at most 64 bits"),
        (
            "num_samples = 4",
            "num_samples = 4\nminutes = 1e300",
            r"budget.minutes: must be .*, at most 1000000, got 1e\+300",
        ),
        ("high = 10.0", "high = 1e300", "high: must be at most 1e"),
    ],
)
def test_one_broken_rule_gives_one_error(old: str, new: str, error: str, tmp_path: Path):
    errors = _errors(tmp_path, GOOD.replace(old, new))
    assert len(errors) == 1, errors
    assert errors[0].startswith("own.toml")
    assert re.search(error, errors[0]), errors[0]


def test_a_searched_settings_key_is_bounded_as_the_setting_is(tmp_path: Path):
    text = GOOD.replace("lambda_2_to_1", '"optimiser.learning_rate"').replace("high = 10.0", "high = 1e9")
    assert _errors(tmp_path, text) == [
        "own.toml: parameters.optimiser.learning_rate.high: must be a number between 1e-07 and 1.0, got 1000000000.0"
    ]


def test_a_whole_settings_key_is_drawn_whole(tmp_path: Path):
    text = GOOD.replace("lambda_2_to_1", '"model.guide_steps"').replace("low = 0.1", "low = 1")
    (space,) = load_spaces([_file(tmp_path, text.replace("high = 10.0", "high = 10"))])
    assert space.parameters[0].domain.whole
    assert _errors(tmp_path, text) == [
        "own.toml: parameters.model.guide_steps.high: must be a whole number between 1 and 100, got 10.0"
    ]


@pytest.mark.parametrize(
    ("bounds", "error"),
    [
        ((1, 2), None),
        ((4, 7), "low: training.downsampling * .* must divide 224 .*, got 64"),
        ((1, 7), r"low, high: every whole number between them must be valid, got 3 \(training.* got 48\); narrow the"),
        ((1, 9), "high: must be a whole number between 1 and 8, got 9"),
    ],
)
def test_every_whole_number_between_the_bounds_must_be_valid(tmp_path: Path, bounds: tuple[int, int], error):
    text = GOOD.replace("lambda_2_to_1", '"model.stem"')
    text = text.replace("low = 0.1", f"low = {bounds[0]}").replace("high = 10.0", f"high = {bounds[1]}")
    if error is None:
        assert load_spaces([_file(tmp_path, text)])[0].parameters[0].domain.high == bounds[1]
    else:
        (line,) = _errors(tmp_path, text)
        assert re.fullmatch(rf"own.toml: parameters.model.stem.{error}.*", line), line


@pytest.mark.parametrize(
    ("model", "head", "name", "error"),
    [
        ("joint", "guided", "model.hidden", "joint, on which model.hidden has no effect with model.head = guided, got"),
        ("joint", "fully_connected", "model.hidden", None),
        ("joint", "fully_connected", "model.guide_steps", None),
        ("standalone", "guided", "registration.descriptor_weight", None),
        (
            "joint",
            'fully_connected", "registration.refinement" = "none',
            "model.guide_steps",
            "joint, on which .* with model.head = fully_connected and registration.refinement = none, got",
        ),
        ("standalone", "guided", "model.hidden", None),
    ],
)
def test_a_setting_without_effect_cannot_be_searched(tmp_path: Path, model: str, head: str, name: str, error):
    text = (
        GOOD.replace("lambda_2_to_1", f'"{name}"').replace("low = 0.1", "low = 1").replace("high = 10.0", "high = 10")
    )
    text = text.replace('models = ["joint"]', f'models = ["{model}"]\nfixed = {{"model.head" = "{head}"}}')
    if error is None:
        assert load_spaces([_file(tmp_path, text)])[0].parameters[0].name == name
    else:
        (line,) = _errors(tmp_path, text)
        assert re.match(f"own.toml: parameters.{name}.models: must leave out {error}", line), line


def test_settings_of_the_command_replace_the_files_own_and_leave_what_is_fixed(tmp_path: Path):
    own = 'models = ["joint"]\nsettings = "quick"\nfixed = {"training.batch_size" = 3}'
    path = _file(tmp_path, GOOD.replace('models = ["joint"]', own))
    (ours,), (papers,) = load_spaces([path]), load_spaces([path], "paper")
    paper = load_settings("paper")
    assert (ours.settings, papers.settings) == ("quick", "paper")
    assert ours.base == with_values(load_settings("quick"), {"training.batch_size": 3})
    assert papers.base == with_values(paper, {"training.batch_size": 3})
    given = _file(tmp_path, "[model]\nwidths = [4, 8]", "given.toml")
    assert load_spaces([path], given)[0].base.model.widths == (4, 8)


def test_errors_of_the_command_s_settings_are_listed_once_with_the_others(tmp_path: Path):
    given = _file(tmp_path, "[model]\nwidth = 3", "given.toml")
    with pytest.raises(SettingsError) as caught:
        load_spaces([_file(tmp_path, GOOD), _file(tmp_path, "", "two.toml")], given)
    sources = [error.partition(":")[0] for error in caught.value.errors]
    assert sources.count("--settings") == 1 and set(sources) == {"--settings", "two.toml"}
    assert "unknown key 'width'" in caught.value.errors[0]


@pytest.mark.parametrize(
    ("claim", "margin"),
    [
        ("", None),
        ("[claim]\nmargin_mm = 1", 1.0),
        ('[claim.margin_mm]\n"cd_mm/lv" = 0.5\n"asd_mm/rv" = 2', {"cd_mm/lv": 0.5, "asd_mm/rv": 2.0}),
    ],
)
def test_a_claim_states_its_margin_in_mm(tmp_path: Path, claim: str, margin):
    (tmp_path / "own.toml").write_text(f"{GOOD}\n{claim}\n")
    (space,) = load_spaces([str(tmp_path / "own.toml")])
    assert space.margin_mm == margin


MARGIN = (
    "must be a number above 0, or a table with at least one of cd_mm/lv, asd_mm/lv, asd_mm/myo, cd_mm/rv, asd_mm/rv"
)


@pytest.mark.parametrize(
    ("claim", "errors"),
    [
        ("[claim]", [f"claim.margin_mm: is missing; {MARGIN}"]),
        ("[claim]\nmargin_mm = 0", [f"claim.margin_mm: {MARGIN}, got 0"]),
        ("[claim]\nmargin_mm = true", [f"claim.margin_mm: {MARGIN}, got True"]),
        ("[claim.margin_mm]", [f"claim.margin_mm: {MARGIN}, got {{}}"]),
        (
            '[claim]\nsure = 1\n[claim.margin_mm]\n"cd_mm/lv" = -1\n"cd_mm/myo" = 1',
            [
                "claim.sure: unknown key 'sure', must be one of margin_mm, got 1",
                "claim.margin_mm.cd_mm/lv: must be a number above 0, got -1",
                "claim.margin_mm.cd_mm/myo: unknown key 'cd_mm/myo', must be one of cd_mm/lv, asd_mm/lv, asd_mm/myo",
            ],
        ),
    ],
)
def test_a_margin_that_breaks_a_rule_is_refused(tmp_path: Path, claim: str, errors: list[str]):
    (tmp_path / "own.toml").write_text(f"{GOOD}\n{claim}\n")
    with pytest.raises(SettingsError) as caught:
        load_spaces([str(tmp_path / "own.toml")])
    assert len(caught.value.errors) == len(errors)
    for error, expected in zip(caught.value.errors, errors, strict=True):
        assert error.startswith(f"own.toml: {expected}")


def test_valid_parts_of_an_invalid_file_are_checked_against_each_other(tmp_path: Path):
    text = GOOD.replace("low = 0.1", "low = 20").replace("num_samples = 4", "num_samples = 0\nsurplus = 1")
    text = text.replace("grace_epochs = 2", "grace_epochs = 9").replace('question = "Which?"', 'splits = ["25/15"]')
    assert [line.partition(": ")[2].partition(": ")[0] for line in _errors(tmp_path, text)] == [
        "budget.num_samples",
        "budget.surplus",
        "question",
        "splits",
        "fidelity.grace_epochs",
        "parameters.lambda_2_to_1.low",
    ]


@pytest.mark.parametrize(
    ("file", "errors"),
    [
        ("", ["is missing; must be"] * 4),
        ("parameters = 3\nfixed = 4\nclaim = []\nfidelity = true", ["got", "got", "got", "got", *["missing"] * 4]),
        (
            "[parameters]\n[parameters.alpha]\nlow = {}\nmodels = 3\nwhy = ' '",
            [*["parameters.alpha"] * 3, *["missing"] * 3, "parameters.alpha.high", *["missing"] * 2],
        ),
    ],
)
def test_no_shape_of_a_file_is_beyond_the_messages(tmp_path: Path, file: str, errors: list[str]):
    lines = _errors(tmp_path, file)
    assert len(lines) == len(errors)
    assert all(words in line for line, words in zip(lines, errors, strict=True)), lines


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_search_files_follow_the_printed_schema(path: Path):
    schema = json.loads(json.dumps(json_schema(SearchFile)))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = tomllib.loads(path.read_text())
    jsonschema.validate(content, schema)
    for broken in (
        {**content, "surplus": 1},
        {**content, "fixed": {"loss.beta": 1}},
        {**content, "fixed": {"loss.alpha": 2}},
        {**content, "parameters": {"beta": {"low": 0.0, "high": 1.0}}},
        {key: value for key, value in content.items() if key != "fidelity"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


def test_every_key_of_a_search_file_has_a_description_in_the_printed_schema():
    schema = json_schema(SearchFile)
    tables = [schema, *schema["$defs"].values()]
    assert len(tables) == 8
    for table in tables:
        assert all("description" in rule or "$ref" in rule for rule in table["properties"].values())


def test_the_study_prints_the_schema_without_its_required_options():
    command = [sys.executable, "-m", "study.run", "--schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(json_schema(SearchFile)))


ONE = 'metric = "val/registration_ratio"\ndirection = "minimize"'
BOTH = 'metrics = ["val/cd_mm/lv", "val/dice/lv"]\ndirections = ["minimize", "maximize"]'
THREE = BOTH.replace("]", ', "val/lost"]', 1).replace('maximize"]', 'maximize", "minimize"]')


@pytest.mark.parametrize(
    ("objective", "metrics"),
    [
        (BOTH, ["val/cd_mm/lv", "val/dice/lv"]),
        (f'{BOTH}\n[search]\nsampler = "gp"\nscheduler = "none"', ["val/cd_mm/lv", "val/dice/lv"]),
        (THREE, ["val/cd_mm/lv", "val/dice/lv", "val/lost"]),
    ],
)
def test_several_metrics_make_a_front_without_early_stopping(objective: str, metrics: list[str], tmp_path: Path):
    (space,) = load_spaces([_file(tmp_path, GOOD.replace(ONE, objective))])
    assert [each.metric for each in space.objective.all] == metrics and space.objective.metric == metrics[0]
    assert [each.direction for each in space.objective.all] == ["minimize", "maximize", "minimize"][: len(metrics)]
    assert space.search.scheduler == "none"


@pytest.mark.parametrize(
    ("objective", "errors"),
    [
        ("", ["metric: is missing; must be a metric of the v", "direction: is missing; must be one of minimize, max"]),
        ('metric = "val/cd_mm/lv"', ["direction: is missing; must be one of minimize, maximize"]),
        (f'{BOTH}\nmetric = "val/lost"', ["metric: must be left out beside metrics, got 'val/lost'"]),
        (f'{BOTH}\ndirection = "minimize"', ["direction: must be left out in favour of directions, got 'minimize'"]),
        (f'{ONE}\ndirections = ["minimize"]', ["directions: must be left out in favour of direction, got ["]),
        (BOTH.partition("\n")[0], ["directions: is missing; must be a list of minimize, maximize"]),
        (BOTH.replace(', "val/dice/lv"', ""),
         ["metrics: must be a list of 2 to 3 different values, got ['val/cd_mm/lv']",
          "directions: must be one for each of the 1 metrics, got ['minimize', 'maximize']"]),
        (BOTH.replace("dice", "cd_mm").replace("max", "min"), ["metrics: must be a list of 2 to 3 different val"]),
        (THREE.replace(", ", ', "val/dice/rv", ', 1).replace("]", ', "val/cut"]', 1),
         ["metrics: must be a list of 2 to 3 different values, got", "directions: must be one for each of the 5 met"]),
        (BOTH.replace('"minimize"', '"down"'), ["directions: must be a list of minimize, maximize, got ['down', 'max"]),
        (BOTH.replace('"minimize", ', ""), ["directions: must be one for each of the 2 metrics, got ['maximize']"]),
        (BOTH.replace("dice", "dise"), ["metrics: unknown metric 'val/dise/lv', did you mean val/dice/lv?"]),
        (f'{BOTH}\n[search]\nscheduler = "asha"\nsampler = "cmaes"',
         ["search.scheduler: must be none, as by default, where the objective has several metrics, because early "
          "stopping compares one, got 'asha'", "search.sampler: must be one of tpe, gp, random, qmc, grid where"]),
    ],
)  # fmt: skip
def test_errors_of_several_metrics_come_together(objective: str, errors: list[str], tmp_path: Path):
    found = _errors(tmp_path, GOOD.replace(ONE, objective))
    assert len(found) == len(errors), found
    for line, error in zip(found, errors, strict=True):
        assert line.startswith(f"own.toml: {'' if error.startswith('search.') else 'objective.'}{error}"), line

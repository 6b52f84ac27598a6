import dataclasses
import json
import pickle
import subprocess
import sys
import tomllib
from importlib import resources

import jsonschema
import pytest

from jointnet.errors import EXIT_USAGE, SettingsError
from jointnet.settings import (
    Settings,
    for_data,
    load_settings,
    settings_from_dict,
    settings_names,
    settings_to_dict,
    with_epochs,
    with_values,
)
from jointnet.settings.parsing import flat_settings
from jointnet.settings.validation import json_schema


def errors_of(read, *arguments):
    with pytest.raises(SettingsError) as caught:
        read(*arguments)
    assert caught.value.exit_status == EXIT_USAGE
    return caught.value.errors


def test_the_defaults_obey_their_own_rules():
    assert settings_from_dict(settings_to_dict(Settings())) == Settings()
    assert with_values(Settings(), flat_settings(Settings())) == Settings()


def test_settings_survive_json():
    settings = with_values(Settings(), {"model.widths": [4, 8], "loss.alpha": 0.1, "model.stem": 1})
    assert settings_from_dict(json.loads(json.dumps(settings_to_dict(settings)))) == settings


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().loss.alpha = 0.2


def test_values_are_replaced_and_the_others_stay():
    settings = with_values(
        Settings(), {"loss.alpha": 0.25, "training.epochs": 7, "registration.pooling": "independent"}
    )
    assert (settings.loss.alpha, settings.training.epochs, settings.registration.pooling) == (0.25, 7, "independent")
    assert settings.optimiser == Settings().optimiser
    assert settings.loss.lambda_1 == Settings().loss.lambda_1
    assert with_values(settings, {}) == settings


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("loss.alpha", 1, 1.0),
        ("loss.alpha", 0, 0.0),
        ("model.widths", [4, 8], (4, 8)),
        ("model.widths", (4, 8), (4, 8)),
        ("model.structures", ["rv", "lv"], ("lv", "rv")),
        ("model.structures", ("myo",), ("myo",)),
        ("training.epochs", 1, 1),
        ("training.average_decay", 0.9999, 0.9999),
    ],
)
def test_a_value_becomes_its_field_s_type(key, value, stored):
    section, name = key.split(".")
    got = getattr(getattr(with_values(Settings(), {key: value}), section), name)
    assert got == stored
    assert type(got) is type(stored)


REFUSED = [
    ("loss.alpha", -0.01, "between"),
    ("loss.alpha", 1.01, "between"),
    ("loss.alpha", float("nan"), "between"),
    ("loss.alpha", float("inf"), "between"),
    ("loss.alpha", 10**400, "between"),
    ("loss.alpha", True, "number"),
    ("loss.alpha", "0.5", "number"),
    ("loss.alpha", None, "number"),
    ("loss.alpha", [0.5], "number"),
    ("training.epochs", 0, "between"),
    ("training.epochs", 2.0, "whole number"),
    ("training.epochs", True, "whole number"),
    ("training.epochs", "2", "whole number"),
    ("training.steps", 0, "between"),
    ("training.steps", 2.0, "whole number"),
    ("training.steps", True, "whole number"),
    ("training.downsampling", 5, "between"),
    ("optimiser.learning_rate", 0.0, "between"),
    ("optimiser.schedule", "linear", "one of"),
    ("optimiser.schedule", 1, "one of"),
    ("model.name", "Joint", "one of"),
    ("model.name", None, "one of"),
    ("model.name", ["joint"], "one of"),
    ("registration.pooling", True, "one of"),
    ("registration.refinement", None, "one of"),
    ("model.guide_by_patient", True, "was replaced by registration.pooling"),
    ("model.guide_descriptors", 3.0, "was replaced by registration.descriptor_weight"),
    ("model.structures", [], "a list of at least one of lv, myo, rv, each once"),
    ("model.structures", ["lv", "lv"], "each once"),
    ("model.structures", ["la"], "of lv, myo, rv"),
    ("model.structures", "lv", "a list"),
    ("model.structures", {"lv"}, "a list"),
    ("model.widths", [8], "at least two"),
    ("model.widths", [], "at least two"),
    ("model.widths", [8, 0], "whole numbers"),
    ("model.widths", [8, 8.0], "whole numbers"),
    ("model.widths", [True, 8], "whole numbers"),
    ("model.widths", "88", "whole numbers"),
    ("model.widths", 8, "whole numbers"),
    ("model.widths", {8, 16}, "whole numbers"),
    ("model.depth", 3, "unknown key"),
    ("loss.lambda_4", 1.0, "unknown key"),
    ("los.alpha", 0.5, "unknown section"),
    ("alpha", 0.5, "unknown section"),
    ("loss.", 0.5, "unknown key"),
    ("loss.alpha.more", 0.5, "unknown key"),
]


@pytest.mark.parametrize(("key", "value", "words"), REFUSED)
def test_a_value_that_breaks_a_rule_is_named_with_its_key(key, value, words):
    (error,) = errors_of(with_values, Settings(), {key: value})
    assert error.startswith(f"{key}: ")
    assert words in error


def bounded_keys():
    """Yield the dotted key, type and bounds of every number of the settings."""
    tables = json_schema(Settings)["$defs"]
    for section in dataclasses.fields(Settings):
        for key, rule in tables[section.type.__name__]["properties"].items():
            if "minimum" in rule:
                kind = {"integer": int, "number": float}[rule["type"]]
                yield f"{section.name}.{key}", kind, rule["minimum"], rule["maximum"]


def test_every_bound_is_inclusive_and_enforced():
    numbers = list(bounded_keys())
    flat = flat_settings(Settings())
    assert {key for key, *_ in numbers} == {key for key, value in flat.items() if type(value) in (int, float)}
    for key, kind, low, high in numbers:
        assert type(flat[key]) is kind
        for bound, beyond in ((low, low - 1), (high, high + 1)):
            try:
                with_values(Settings(), {key: kind(bound)})
            except SettingsError as error:
                assert "between" not in str(error), key
            assert "between" in errors_of(with_values, Settings(), {key: kind(beyond)})[0]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("loss.alpha", 2, "loss.alpha: must be a number between 0.0 and 1.0, got 2"),
        ("training.epochs", 2.0, "training.epochs: must be a whole number between 1 and 100000, got 2.0"),
        (
            "model.widths",
            [8, "a", 0],
            "model.widths: must be at least two whole numbers between 1 and 4096, got [8, 'a', 0]",
        ),
        ("model.head", 3, "model.head: must be one of guided, fully_connected, got 3"),
        ("registration.pooling", 1, "registration.pooling: must be one of patient, independent, got 1"),
        (
            "loss.beta",
            3,
            "loss.beta: unknown key 'beta', must be one of lambda_1, lambda_2, lambda_3, alpha, terms, got 3",
        ),
        (
            "a.b",
            3,
            "a.b: unknown section 'a', must be one of model, registration, loss, augmentation, optimiser, training",
        ),
    ],
)
def test_an_error_names_the_key_the_whole_rule_and_the_value(key, value, error):
    assert errors_of(with_values, Settings(), {key: value}) == (error,)


def test_all_errors_come_together():
    values = {"loss.alpha": 2, "training.epochs": 0, "nothing.at_all": 1, "model.name": "both", "model.colour": "red"}
    errors = errors_of(with_values, Settings(), values)
    assert [error.split(": ")[0] for error in errors] == list(values)


def test_all_errors_of_nested_values_come_together():
    errors = errors_of(settings_from_dict, {"epochs": 3, "loss": {"alpha": 2}, "unknown": {"key": 1}})
    assert len(errors) == 3
    for name in ("epochs", "loss.alpha", "unknown"):
        assert any(error.startswith(name) for error in errors)


@pytest.mark.parametrize("values", [{"los": {}}, {"los": {}, "loss": {"alpha": 0.5}}])
def test_an_unknown_section_is_refused_also_when_empty(values):
    assert "los" in errors_of(settings_from_dict, values)[0]


@pytest.mark.parametrize("content", [3, "alpha", [1], None])
def test_a_section_that_is_no_table_is_refused(content):
    assert errors_of(settings_from_dict, {"loss": content})[0].startswith("loss: must be a table")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss.lambda_1": 0.0, "loss.lambda_2": 0.0, "loss.lambda_3": 0.0}, "lambda_1..3"),
        ({"model.name": "standalone", "loss.lambda_1": 0.0}, "lambda_1"),
        ({"model.widths": [8, 8, 8, 8, 8, 8, 8]}, "divide 224"),
        ({"training.downsampling": 3}, "divide 224"),
        ({"training.downsampling": 4, "model.stem": 2}, "got 64"),
        ({"model.stem": 5}, "divide 224"),
        ({"model.stem": 7, "training.downsampling": 1, "model.widths": [8] * 6}, "more than one pixel, got 224"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values, words):
    assert words in "".join(errors_of(with_values, Settings(), values))


@pytest.mark.parametrize(
    "values",
    [
        {"loss.lambda_1": 0.0},
        {"loss.lambda_2": 0.0, "loss.lambda_3": 0.0},
        {"model.name": "standalone", "loss.lambda_2": 0.0, "loss.lambda_3": 0.0},
        {"model.stem": 7, "training.downsampling": 1},
    ],
)
def test_unusual_values_that_do_not_contradict_are_accepted(values):
    settings = with_values(Settings(), values)
    assert {key: flat_settings(settings)[key] for key in values} == values


def test_the_paper_s_settings_are_the_paper_s():
    paper = load_settings("paper")
    assert paper.optimiser.learning_rate == 1e-4
    assert (paper.optimiser.schedule, paper.optimiser.step_factor, paper.optimiser.step_epochs) == ("step", 0.99, 2)
    assert paper.training.epochs == 100
    assert paper.training.downsampling == 1
    assert paper.model.head == "fully_connected"
    assert paper.model.stem == 1
    assert paper.augmentation.common_log_scale == paper.augmentation.relative_log_scale == 0
    assert paper.augmentation.common_translation_mm > 0 < paper.augmentation.common_rotation_deg
    assert paper.augmentation.log_gamma > 0


def test_default_is_the_defaults_and_a_base_is_kept():
    base = with_values(Settings(), {"loss.alpha": 0.9})
    assert load_settings("default") == Settings()
    assert load_settings("default", base) == base
    assert load_settings("paper", base).loss.alpha == 0.9


def test_a_file_names_only_what_differs(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '# ein Kommentar mit ä\n[loss]\nalpha = 1\n[model]\nname = "standalone"\nwidths = [8, 16]\n', "utf-8"
    )
    expected = with_values(Settings(), {"loss.alpha": 1.0, "model.name": "standalone", "model.widths": (8, 16)})
    assert load_settings(path) == load_settings(str(path)) == expected


def test_an_empty_file_is_the_defaults(tmp_path):
    (tmp_path / "mine.toml").touch()
    assert load_settings(tmp_path / "mine.toml") == Settings()


@pytest.mark.parametrize("content", ["not toml at all", "[loss\nalpha = 1", "[loss]\nalpha = 1\nalpha = 2", "\x00\xff"])
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_text(content, encoding="latin-1")
    (error,) = errors_of(load_settings, path)
    assert str(path) in error
    assert "TOML" in error


def test_every_error_of_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[loss]\nalpha = 2\nbeta = 1\n[training]\nepochs = true\n")
    errors = errors_of(load_settings, path)
    assert len(errors) == 3
    assert all(str(path) in error for error in errors)


@pytest.mark.parametrize("name", ["absent", "absent.toml", "paper.toml", "", "/", "."])
def test_what_is_no_file_and_no_name_is_refused_with_the_names_there_are(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (error,) = errors_of(load_settings, name)
    assert "default" in error
    assert "paper" in error


@pytest.mark.parametrize("name", [name for name in settings_names() if name != "default"])
def test_the_settings_of_the_package_follow_the_printed_schema(name):
    schema = json.loads(json.dumps(json_schema(Settings)))
    jsonschema.Draft202012Validator.check_schema(schema)
    content = tomllib.loads((resources.files("jointnet.settings") / f"{name}.toml").read_text())
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate({**content, "colour": {}}, schema)


def test_every_setting_in_the_printed_schema_has_a_description_and_a_default():
    for table in json_schema(Settings)["$defs"].values():
        assert all({"description", "default"} <= set(rule) for rule in table["properties"].values())


def test_settings_can_be_sent_to_workers():
    settings = load_settings("paper")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert len({settings, load_settings("paper"), Settings()}) == 2
    assert dataclasses.replace(settings, loss=Settings().loss).model == settings.model


def test_train_prints_the_schema_without_its_required_options():
    command = [sys.executable, "-m", "jointnet.train", "--schema"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(json_schema(Settings)))


@pytest.mark.parametrize(
    ("steps", "of", "epochs", "expected"),
    [(None, 60, 6, None), (600, 60, 6, 60), (600, 60, 120, 1200), (10, 4, 1, 2), (3, 60, 1, 1)],
)
def test_fewer_epochs_have_fewer_steps_in_proportion(steps, of, epochs, expected):
    settings = with_values(Settings(), {"training.epochs": of, "training.steps": steps})
    changed = with_epochs(settings, epochs)
    assert (changed.training.epochs, changed.training.steps) == (epochs, expected)
    with pytest.raises(SettingsError, match=r"training.epochs: must be a whole number between"):
        with_epochs(settings, 0)


@pytest.mark.parametrize(
    ("own", "in_data", "expected"),
    [
        (["lv", "myo", "rv"], ("lv", "myo", "rv"), ("lv", "myo", "rv")),
        (["lv", "myo", "rv"], ("lv", "myo"), ("lv", "myo")),
        (["myo", "rv"], ("lv", "myo"), ("myo",)),
    ],
)
def test_what_the_data_do_not_have_is_not_learned(own, in_data, expected):
    settings = with_values(Settings(), {"model.structures": own})
    assert for_data(settings, in_data) == with_values(settings, {"model.structures": expected})


def test_settings_without_any_structure_of_the_data_are_refused():
    with pytest.raises(SettingsError, match=r"must have a structure of the data \(lv, myo\), got rv"):
        for_data(with_values(Settings(), {"model.structures": ["rv"]}), ("lv", "myo"))

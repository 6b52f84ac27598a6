"""Models of the user's own: their references, settings and files. The example of the documentation stands for them."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scans import heart, prepared, stir, tiny_settings

from jointnet import own_code
from jointnet.batches.synthetic_pairs import SyntheticPairs
from jointnet.errors import InputError, SettingsError
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model, save_model
from jointnet.models import model_of
from jointnet.networks import Output, build_model
from jointnet.own_code import OwnCode, allowed_reference, code_of, digests, is_reference, named, receive
from jointnet.settings import Settings, load_settings, own_code_of, settings_from_dict, settings_to_dict, with_values
from jointnet.settings.parsing import flat_settings
from jointnet.structures import CLASS_INDEX
from jointnet.train.losses import own_losses, weighted_losses

EXAMPLE = Path(__file__).parents[2] / "docs/how-to/own_model.py"
REFERENCE = f"{EXAMPLE}:MODEL"


@pytest.fixture
def example(tmp_path):
    """A reference to a copy of the example that leaves the file `ran` beside it when it is run."""
    path = tmp_path / "small_net.py"
    mark = f"\n__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()\n"
    path.write_text(EXAMPLE.read_text() + mark)
    return f"{path}:MODEL"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("package.module:MODEL", True),
        ("module:MODEL", True),
        ("folder/my net.py:MODEL", True),
        ("joint", False),
        ("module", False),
        ("net.py", False),
        ("net.py:", False),
        ("folder/net:MODEL", False),
        ("module:MODEL.part", False),
        ("module:2", False),
        ("a\nb.py:MODEL", False),
        ("", False),
    ],
)
def test_a_reference_names_a_module_or_a_file_and_something_in_it(text, expected):
    assert is_reference(text) == expected


def test_the_settings_of_an_own_model_are_complete_strict_hashable_and_plain():
    settings = with_values(Settings(), {"model.name": REFERENCE})
    assert flat_settings(settings)["model.options.width"] == 16
    narrow = with_values(settings, {"model.options.width": 4})
    assert build_model(narrow).features[0].out_channels == 4
    assert hash(narrow) != hash(settings)
    assert settings_from_dict(settings_to_dict(narrow)) == narrow == pickle.loads(pickle.dumps(narrow))
    assert settings_to_dict(narrow)["model"]["options"] == {"width": 4}
    assert with_values(narrow, {"model.name": "joint"}).model.options == ()
    assert settings_from_dict({"model": {"name": "joint"}}, narrow).model.options == ()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"model.options.width": 0}, "model.options.width: must be a whole number between 1 and 256, got 0"),
        ({"model.options.width": 2.0}, "model.options.width: must be a whole number between 1 and 256, got 2.0"),
        ({"model.options.depth": 1}, "model.options.depth: unknown key 'depth', must be one of width, got 1"),
        ({"model.options": 3}, "model.options: must be a table, got 3"),
        (
            {"model.name": "joint", "model.options.width": 4},
            "model.options: must be left out, since joint has none, got width",
        ),
    ],
)
def test_an_option_that_breaks_a_rule_is_named_with_its_key(values, error):
    with pytest.raises(SettingsError) as caught:
        with_values(with_values(Settings(), {"model.name": REFERENCE}), values)
    assert caught.value.errors == (error,)


def test_options_stand_in_a_settings_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f'[model]\nname = "{REFERENCE}"\n[model.options]\nwidth = 8\n')
    assert load_settings(path).model.options == (("width", 8),)


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        (None, "MODEL", "must be a file that can be read: No such file"),
        ("", "MODEL", "which has no MODEL"),
        ("MODEL = 3", "MODEL", "must be a `jointnet.models.Model`, got int"),
        ("1 / 0", "MODEL", "must be code that runs, got ZeroDivisionError: division by zero"),
        ("\n(", "MODEL", "SyntaxError"),
        ("from jointnet.models import MODELS\nMODEL = MODELS['joint']", "MODEL", "must have a name of 1 to 40 letters"),
    ],
)
def test_code_that_is_no_model_is_refused(tmp_path, source, name, words):
    path = tmp_path / f"net{abs(hash(source))}.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(SettingsError, match=r"^model\.name: ") as caught:
        model_of(f"{path}:{name}")
    assert words in str(caught.value)


def test_a_module_is_found_in_the_working_folder_and_its_digest_is_that_of_its_package(tmp_path, monkeypatch):
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("WIDTH = 3")
    (package / "net.py").write_text("from own_package.part import WIDTH")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = digests(["own_package.net:WIDTH"])
    assert named("own_package.net:WIDTH") == 3
    (package / "part.py").write_text("WIDTH = 4")
    assert digests(["own_package.net:WIDTH"]) == before  # what this process has run
    own_code._RUN.clear()
    assert digests(["own_package.net:WIDTH"]) != before
    with pytest.raises(SettingsError, match="there is no own_other"):
        named("own_other.net:WIDTH")


def test_code_that_another_machine_sends_is_run_as_it_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = (("sent_package/__init__.py", b""), ("sent_package/net.py", b"WIDTH = 7"))
    receive(
        [OwnCode("/elsewhere/net.py:WIDTH", (("net.py", b"WIDTH = 5"),)), OwnCode("sent_package.net:WIDTH", package)]
    )
    assert (named("/elsewhere/net.py:WIDTH"), named("sent_package.net:WIDTH")) == (5, 7)
    assert code_of("sent_package.net:OTHER").files == package


@pytest.mark.parametrize(
    ("reference", "allowed", "expected"),
    [
        ("lab.nets.small:MODEL", ["lab"], "lab.nets.small:MODEL"),
        ("lab.nets.small:MODEL", ["other", "lab.nets"], "lab.nets.small:MODEL"),
        ("lab.nets.small:MODEL", ["lab.nets.small:MODEL"], "lab.nets.small:MODEL"),
        ("lab.nets:MODEL", ["la"], None),
        ("lab.nets:MODEL", ["lab.nets.small"], None),
        ("lab.nets:MODEL", [], None),
        ("their/net.py:MODEL", ["mine/net.py"], "mine/net.py:MODEL"),
        ("their/net.py:MODEL", ["net.py:MODEL"], "net.py:MODEL"),
        ("their/net.py:MODEL", ["their"], None),
        ("their/net.py:MODEL", ["mine/other.py"], None),
        ("their/net.py:MODEL", ["net"], None),
    ],
)
def test_only_code_that_the_user_names_is_allowed(reference, allowed, expected):
    assert allowed_reference(reference, allowed) == expected


def saved(path, reference):
    settings = tiny_settings(model__name=reference, model__options__width=4)
    save_model(path, stir(build_model(settings)).state_dict(), settings, {"training": ["1"]}, 2)
    own_code._RUN.clear()  # as in another process
    return path


def test_a_model_file_runs_no_code_unless_it_is_allowed(tmp_path, example):
    path = saved(tmp_path / "model.pt", example)
    (tmp_path / "ran").unlink()
    for allow_code in ((), ("other.py", "lab")):
        with pytest.raises(InputError, match=rf"{path}: its network is code outside jointnet, {example}") as caught:
            load_model(path, allow_code=allow_code)
        assert caught.value.errors[0].endswith(
            "which was not run; if you have that code and trust it: --allow-code PATH/small_net.py"
        )
    assert not (tmp_path / "ran").exists()
    loaded = load_model(path, allow_code=[str(tmp_path / "small_net.py")])
    assert (tmp_path / "ran").exists()
    assert (loaded.settings.model.options, loaded.epoch) == ((("width", 4),), 2)
    image = torch.rand(2, 1, 56, 56)
    assert loaded.model(image, image).cine_logits.shape == (2, 4, 56, 56)


def test_a_model_whose_code_has_changed_is_refused_before_it_runs(tmp_path, example):
    path = saved(tmp_path / "model.pt", example)
    (tmp_path / "ran").unlink()
    source = tmp_path / "small_net.py"
    source.write_text(source.read_text() + "# changed\n")
    with pytest.raises(InputError, match="must be the code that the model was trained with, digest"):
        load_model(path, allow_code=[str(source)])
    assert not (tmp_path / "ran").exists()


LOSS = """
def drift(output, batch):
    return output.theta[:, :, 2].square().mean() + 0 * batch.cine.mean()


def vector(output, batch):
    return output.theta


def area_mm2(fixed, moved, theta):
    return moved.sum() * 0.75**2 if theta[0, 2] == 0 else -1
"""


@pytest.fixture
def loss_file(tmp_path):
    path = tmp_path / "own_loss.py"
    path.write_text(LOSS)
    return path


def test_an_own_term_of_the_loss_is_weighted_and_logged_by_its_name(tiny_settings, loss_file):
    weighted = with_values(tiny_settings, {f"loss.terms.{loss_file}:drift": 3.0})
    assert own_code_of(weighted) == (f"{loss_file}:drift",)
    assert flat_settings(weighted)[f"loss.terms.{loss_file}:drift"] == 3.0
    assert settings_from_dict(settings_to_dict(weighted)) == weighted
    theta = torch.tensor([[1.0, 0, 2], [0, 1, 0]]).expand(2, 2, 3)
    batch = SyntheticPairs(weighted).batch(torch.arange(2))
    losses = own_losses(Output(theta), batch, weighted.loss)
    assert {name: loss.item() for name, loss in losses.items()} == {"drift": 2.0}
    assert weighted_losses({"registration": theta.sum(), **losses}, weighted.loss)["drift"].item() == 6.0
    with pytest.raises(SettingsError, match=r"loss\.terms: .*vector must return a scalar tensor"):
        own_losses(Output(theta), batch, with_values(tiny_settings, {f"loss.terms.{loss_file}:vector": 1}).loss)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss.terms.drift": 1.0}, "loss.terms: must have keys that are own code"),
        ({"loss.terms.net.py:cine": 1.0}, "loss.terms: must have names other than registration, cine, lge, got"),
        ({"loss.terms": {"a.py:drift": 1.0, "b.py:drift": 1.0}}, "cine, lge, drift, got 'b.py:drift'"),
        ({"loss.terms.net.py:drift": -1}, "loss.terms.net.py:drift: must be a number between 0 and 1e+06, got -1"),
        ({"loss.terms.net.py:drift": True}, "loss.terms.net.py:drift: must be a number between 0 and 1e+06, got True"),
        ({"training.metrics": ["dice"]}, "training.metrics: must be"),
    ],
)
def test_own_terms_and_metrics_that_break_a_rule_are_named(values, words):
    with pytest.raises(SettingsError) as caught:
        with_values(Settings(), values)
    assert words in str(caught.value)


def test_an_own_metric_is_measured_before_and_after_in_each_slice_and_structure(tmp_path, loss_file):
    settings = tiny_settings(model__name="standalone", training__metrics=[f"{loss_file}:area_mm2"])
    labels = np.stack([[heart(), heart((3.0, 0.0))]] * 2)
    rows = evaluate(build_model(settings).eval(), [prepared(tmp_path / "cache", 1, labels)])
    own = rows[rows["metric"] == "area_mm2"]
    assert len(own) == 6 and set(own["structure"]) == {"lv", "myo", "rv"} and not own["lost"].any()
    areas = own[own["structure"] == "lv"]
    expected = (labels[0, 1] == CLASS_INDEX["lv"]).sum() * 0.75**2
    assert areas["before"].tolist() == [expected] * 2


def test_metrics_that_a_model_file_names_are_left_out_unless_they_are_allowed(tmp_path, loss_file):
    settings = tiny_settings(model__name="standalone", training__metrics=[f"{loss_file}:area_mm2"])
    save_model(tmp_path / "model.pt", build_model(settings).state_dict(), settings, {}, 1)
    assert load_model(tmp_path / "model.pt").settings.training.metrics == ()
    allowed = load_model(tmp_path / "model.pt", allow_code=[str(loss_file)])
    assert allowed.settings.training.metrics == (f"{loss_file}:area_mm2",)

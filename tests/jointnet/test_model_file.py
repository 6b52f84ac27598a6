import os
import pickle
from pathlib import Path

import pytest
import torch
from scans import stir, tiny_settings

from jointnet.errors import EXIT_USAGE, InputError
from jointnet.model_file import FORMAT, load_model, open_model, save_model, untrained_model
from jointnet.networks import build_model
from jointnet.settings import Settings, with_values

PATIENTS = {"training": [3, 1], "validation": [2]}


@pytest.fixture(params=["standalone", "joint"])
def saved(request, tmp_path):
    settings = tiny_settings(model__name=request.param, loss__alpha=0.3)
    torch.manual_seed(3)
    model = build_model(settings)
    stir(model)
    save_model(tmp_path / "model.pt", model.state_dict(), settings, PATIENTS, 4)
    return model, settings, tmp_path / "model.pt"


def errors_of(path):
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert caught.value.exit_status == EXIT_USAGE
    assert str(path) in str(caught.value), "the message names the file"
    return caught.value.errors


def rewritten(path, **changes):
    content = torch.load(path, weights_only=True)
    torch.save(content | changes, path)


def test_a_round_trip_keeps_everything(saved):
    model, settings, path = saved
    loaded = load_model(path)
    assert loaded.settings == settings
    assert loaded.patients == {"training": ("3", "1"), "validation": ("2",)}
    assert loaded.epoch == 4
    assert not loaded.model.training
    images = torch.rand(2, 2, 1, 56, 56)
    torch.testing.assert_close(loaded.model(*images).theta, model(*images).theta, atol=0, rtol=0)


def test_only_the_model_is_left_in_the_folder_and_a_second_save_replaces_it(saved):
    model, settings, path = saved
    save_model(path, model.state_dict(), settings, PATIENTS, 9)
    assert [item.name for item in path.parent.iterdir()] == ["model.pt"]
    assert load_model(path).epoch == 9


def test_a_file_from_before_the_structures_has_all_three(saved):
    model, settings, path = saved
    content = torch.load(path, weights_only=True)
    del content["settings"]["model"]["structures"]
    torch.save(content, path)
    loaded = load_model(path)
    assert loaded.settings == settings
    images = torch.rand(2, 2, 1, 56, 56)
    torch.testing.assert_close(loaded.model(*images).theta, model(*images).theta, atol=0, rtol=0)


def test_a_model_without_the_rv_is_read_with_its_fewer_outputs(tmp_path):
    settings = tiny_settings(model__structures=["myo", "lv"])
    save_model(tmp_path / "model.pt", build_model(settings).state_dict(), settings, PATIENTS, 1)
    assert load_model(tmp_path / "model.pt").settings.model.structures == ("lv", "myo")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["settings"]["model"]["structures"] = ("lv", "myo", "rv")
    torch.save(content, tmp_path / "model.pt")
    assert "the weights do not match the settings" in errors_of(tmp_path / "model.pt")[0]


def as_format_3(path, **model):
    """Rewrite a model file as one of format 3, with its own settings of the guided head in the table `model`."""
    content = torch.load(path, weights_only=True)
    del content["settings"]["registration"], content["settings"]["model"]["negative_slope"]
    content["settings"]["model"] |= {"guide_by_patient": True, "guide_descriptors": 3.0} | model
    torch.save(content | {"format": 3}, path)


@pytest.mark.parametrize(
    ("name", "head", "earlier", "stages"),
    [
        ("joint", "guided", {}, ("patient", "descriptors", 3.0)),
        ("joint", "guided", {"guide_descriptors": 1.5}, ("patient", "descriptors", 1.5)),
        ("joint", "guided", {"guide_descriptors": 0.0}, ("patient", "none", 3.0)),
        ("joint", "guided", {"guide_by_patient": False}, ("independent", "descriptors", 3.0)),
        ("joint", "guided", {"guide_by_patient": False, "guide_descriptors": 0.0}, ("independent", "none", 3.0)),
        ("joint", "fully_connected", {}, ("independent", "none", 3.0)),
        ("standalone", "guided", {}, ("independent", "none", 3.0)),
    ],
)
def test_a_file_of_format_3_has_the_stages_that_its_model_had(tmp_path, name, head, earlier, stages):
    """Only the guided head had stages after the network then."""
    settings = tiny_settings(model__name=name, model__head=head)
    weights = stir(build_model(settings)).state_dict()
    save_model(tmp_path / "model.pt", weights, settings, PATIENTS, 4)
    as_format_3(tmp_path / "model.pt", **earlier)
    loaded = load_model(tmp_path / "model.pt").settings
    pooling, refinement, weight = stages
    assert loaded == with_values(
        settings,
        {
            "registration.pooling": pooling,
            "registration.refinement": refinement,
            "registration.descriptor_weight": weight,
            "model.negative_slope": 0.0,
        },
    )


def test_a_file_of_format_4_has_the_relu_that_its_model_had(tmp_path):
    settings = tiny_settings(model__name="standalone", model__negative_slope=0.0)
    model = stir(build_model(settings))
    save_model(tmp_path / "model.pt", model.state_dict(), settings, PATIENTS, 4)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    del content["settings"]["model"]["negative_slope"]
    torch.save(content | {"format": 4}, tmp_path / "model.pt")
    assert load_model(tmp_path / "model.pt").settings == settings
    torch.save(content, tmp_path / "model.pt")
    assert load_model(tmp_path / "model.pt").settings == with_values(settings, {"model.negative_slope": 0.1})


def test_a_model_that_needs_no_training_has_no_weights_and_no_patients():
    model = untrained_model("descriptors")
    assert model.model.state_dict() == {} and model.patients == {} and model.seen_patient_warnings(["1"]) == []
    assert model.settings == with_values(Settings(), {"model.name": "descriptors"})


def test_a_name_a_file_and_its_folder_lead_to_a_model(tmp_path, monkeypatch):
    path = tmp_path / "descriptors" / "model.pt"
    path.parent.mkdir()
    settings = tiny_settings()
    save_model(path, build_model(settings).state_dict(), settings, {}, epoch=2)
    monkeypatch.chdir(tmp_path)
    assert (open_model("descriptors").epoch, open_model("descriptors").path) == (0, None)  # the name, not the folder
    for name in (path, path.parent, "descriptors/model.pt", "./descriptors", Path("descriptors")):
        model = open_model(name)
        assert model.epoch == 2 and model.path is not None and model.path.samefile(path)
    assert open_model("models:/ours/1", find=lambda name: path).path == path


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_missing_file_is_named(tmp_path, kind):
    path = tmp_path / "model.pt"
    if kind == "folder":
        path.mkdir()
    assert "no such file" in errors_of(path)[0]


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"PK\x03\x04 broken archive", pickle.dumps({"format": FORMAT})], ids=range(4)
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    errors_of(tmp_path / "model.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_file_is_refused(saved, share):
    path = saved[2]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    errors_of(path)


def test_another_format_is_refused(saved):
    rewritten(saved[2], format=FORMAT + 1)
    assert f"got {FORMAT + 1}" in errors_of(saved[2])[0]


@pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, 7, {"format": FORMAT}])
def test_a_torch_file_of_other_content_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    errors_of(tmp_path / "model.pt")


def test_weights_of_another_architecture_are_refused(saved):
    content = torch.load(saved[2], weights_only=True)
    content["settings"]["model"]["widths"] = [8, 8, 8]
    torch.save(content, saved[2])
    errors_of(saved[2])


def test_settings_that_break_a_rule_name_the_file(saved):
    content = torch.load(saved[2], weights_only=True)
    content["settings"]["model"]["from_the_future"] = 1
    torch.save(content, saved[2])
    assert "from_the_future" in "".join(errors_of(saved[2]))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_executed(tmp_path, legacy):
    content = {"format": FORMAT, "weights": {}, "extra": Malicious(tmp_path / "executed")}
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    errors_of(tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "executed").exists(), "the file would have done harm"

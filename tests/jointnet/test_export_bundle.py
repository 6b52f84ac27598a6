"""Export of a model as a MONAI bundle, which MONAI reads, checks and runs."""

import json
import os

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run, verify_metadata
from scans import file_paths, stir, tiny_settings

from jointnet.export_bundle.__main__ import main
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
from jointnet.networks.apply import predict
from jointnet.predict import __main__ as predict_command
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.prepared_patient import prepare_patient

TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
MANDATORY = (
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
)


@pytest.fixture(scope="module", params=["joint", "standalone"])
def exported(request, tmp_path_factory):
    """A model file and the bundle exported from it."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = tiny_settings(model__name=request.param)
    torch.manual_seed(0)
    network = stir(build_model(settings))
    save_model(folder / "model.pt", network.state_dict(), settings, {"training": [1, 2], "validation": [3]}, 7)
    assert main(["--model", str(folder), "--out", str(folder / "bundle"), "--authors", "A", "--copyright", "C"]) == 0
    return folder / "model.pt", folder / "bundle"


def overrides(bundle, scan_folder):
    paths = file_paths(scan_folder, 1)
    return {"bundle_root": str(bundle), "cine": str(paths["cine"]), "lge": str(paths["lge"]), "device": "cpu"}


def test_the_bundle_has_the_specified_files(exported):
    _, bundle = exported
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert found == {
        *("configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md", "LICENSE"),
    }
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert "MIT License" in (bundle / "LICENSE").read_text()


def schema():
    """The mandatory fields of MONAI's specification as a JSON schema. MONAI's own schema would need a download."""
    tensor = {"anyOf": [{"type": ["number", "string", "boolean"]}, {"type": "object", "required": list(TENSOR)}]}
    ends = {"type": "object", "additionalProperties": tensor, "minProperties": 1}
    network = {"type": "object", "required": ["inputs", "outputs"], "properties": {"inputs": ends, "outputs": ends}}
    return {"type": "object", "required": list(MANDATORY), "properties": {"network_data_format": network}}


def test_monai_verifies_the_metadata(exported, tmp_path):
    _, bundle = exported
    (tmp_path / "schema.json").write_text(json.dumps(schema()))
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(tmp_path / "schema.json"))
    content = json.loads((bundle / "configs" / "metadata.json").read_text())
    del content["authors"]
    (tmp_path / "broken.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "broken.json"), filepath=str(tmp_path / "schema.json"))


def test_the_described_tensors_are_what_the_network_takes_and_gives(exported):
    path, bundle = exported
    described = json.loads((bundle / "configs" / "metadata.json").read_text())["network_data_format"]
    images = [
        torch.rand(2, part["num_channels"], *part["spatial_shape"])
        for part in map(described["inputs"].get, ("cine", "lge"))
    ]
    output = load_model(path).model(*images)
    given = {name: value for name, value in output._asdict().items() if isinstance(value, torch.Tensor)}
    assert set(given) == set(described["outputs"])
    for name, value in given.items():
        part = described["outputs"][name]
        assert tuple(value.shape) == (2, part["num_channels"], *part["spatial_shape"]), name


def test_monai_s_parser_gives_the_prediction_of_the_package(exported, scan_folder):
    path, bundle = exported
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update(overrides(bundle, scan_folder))
    parsed = parser.get_parsed_content("prediction")
    paths = file_paths(scan_folder, 1)
    images, _, field, _ = prepare_patient(PatientFiles("1", paths["cine"], paths["lge"]))
    known = predict(load_model(path).model, images, field=field)
    assert abs(known.theta - np.eye(2, 3)).max() > 1e-3
    np.testing.assert_array_equal(parsed.theta, known.theta)
    for own, other in ((parsed.cine_labels, known.cine_labels), (parsed.lge_labels, known.lge_labels)):
        assert (own is None) == (other is None)
        if own is not None:
            np.testing.assert_array_equal(own, other)


def test_monai_runs_it_to_the_same_files(exported, scan_folder, tmp_path, capsys):
    path, bundle = exported
    out, known = tmp_path / "monai", tmp_path / "known"
    run(
        config_file=str(bundle / "configs" / "inference.json"),
        output_dir=str(out),
        **overrides(bundle, scan_folder),
    )
    paths = file_paths(scan_folder, 1)
    given = ["--cine", paths["cine"], "--lge", paths["lge"], "--out", known, "--device", "cpu"]
    assert predict_command.main(["--model", str(path), *map(str, given)]) == 0
    names = {file.relative_to(known) for file in known.rglob("*") if file.is_file()}
    assert names == {file.relative_to(out) for file in out.rglob("*") if file.is_file()}
    for name in names:
        if name.name != "provenance.json":
            assert (out / name).read_bytes() == (known / name).read_bytes(), name
    capsys.readouterr()


def test_what_a_killed_export_left_is_cleared_and_the_umask_holds(exported, tmp_path):
    (tmp_path / ".new.part-1" / "models").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    before = os.umask(0o027)
    try:
        assert main(["--model", str(exported[0]), "--out", str(tmp_path / "new")]) == 0
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("model, out", [("nowhere", "new"), (None, "full")])
def test_what_cannot_be_exported(exported, tmp_path, model, out, capsys):
    path, _ = exported
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert main(["--model", str(model or path), "--out", str(tmp_path / out)]) == 2
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["full", "mine.txt"]
    assert "error:" in capsys.readouterr().err

"""Prediction with a model from an MLflow store."""

import json

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from scans import file_paths, stir, tiny_settings

from jointnet.model_file import save_model
from jointnet.networks import build_model
from study.predict import main


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The run ids of a store with a registered model under an alias, and a run without one."""
    folder = tmp_path_factory.mktemp("store")
    settings = tiny_settings(model__name="joint")
    torch.manual_seed(0)
    save_model(folder / "model.pt", stir(build_model(settings)).state_dict(), settings, {"training": [1]}, 1)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("hearts", (folder / "artifacts").as_uri())
    runs = [client.create_run(experiment).info.run_id for _ in range(2)]
    client.log_artifact(runs[0], str(folder / "model.pt"), "model")
    client.create_registered_model("heart")
    source = f"{client.get_run(runs[0]).info.artifact_uri}/model"
    version = client.create_model_version("heart", source, runs[0])
    client.set_registered_model_alias("heart", "champion", version.version)
    return uri, runs, folder


def run(model, out, scan_folder):
    paths = file_paths(scan_folder, 1)
    given = ["--cine", paths["cine"], "--lge", paths["lge"], "--device", "cpu"]
    return main([str(part) for part in ("--model", model, "--out", out, *given)])


def test_every_address_of_a_model_gives_what_its_file_gives(store, scan_folder, tmp_path, monkeypatch, capsys):
    uri, (with_model, _), folder = store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/another.db")
    before = mlflow.get_tracking_uri()
    assert run(folder / "model.pt", tmp_path / "file", scan_folder) == 0
    for number, address in enumerate(
        ("models:/heart@champion", "models:/heart/1", f"runs:/{with_model}/model", f"runs:/{with_model}/model/model.pt")
    ):
        out = tmp_path / str(number)
        assert run(address, out, scan_folder) == 0, address
        for name in ("lge_registered.nii.gz", "cine_segmentation.nii.gz", "transforms.json"):
            assert (out / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
        command = json.loads((out / "provenance.json").read_text())["command"]
        assert command[:5] == ["python", "-m", "study.predict", "--model", "..."]
        assert f'"address": "{address}"' in (out / "provenance.json").read_text()
    assert mlflow.get_tracking_uri() == before
    capsys.readouterr()


def test_an_address_that_holds_no_model_is_an_error_of_the_command_line(
    store, scan_folder, tmp_path, monkeypatch, capsys
):
    uri, (_, without), _ = store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for address in ("models:/heart@nobody", "models:/liver/1", f"runs:/{without}/model", "runs:/nothing/model"):
        assert run(address, tmp_path / "out", scan_folder) == 2
        told = capsys.readouterr().err.splitlines()
        assert len([line for line in told if line.startswith("error: --model: ")]) == 1, told
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    assert run("models:/heart@champion", tmp_path / "out", scan_folder) == 2
    assert "none.db" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "out").exists()

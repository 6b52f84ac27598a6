"""The choice of a study's tracking store."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from jointnet.errors import SettingsError
from study.store_address import ui_command
from study.tracking.open_store import check_experiment, open_store, resolve_tracking_uri


def test_the_store_is_absolute_and_mlflows_own_variable_is_honoured(monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert resolve_tracking_uri() == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own/store.db")
    assert resolve_tracking_uri() == f"sqlite:///{tmp_path}/own/store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve_tracking_uri() == "http://server:5000" == ui_command("http://server:5000")
    for folder in ("mlruns", "file:///mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", folder)
        with pytest.raises(SettingsError, match="must be sqlite"):
            resolve_tracking_uri()


def test_a_deleted_experiment_is_refused_with_what_restores_it_and_looking_makes_nothing(
    empty_store: str, tmp_path: Path, monkeypatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    check_experiment(f"sqlite:///{tmp_path}/none/mlflow.db")
    check_experiment("http://127.0.0.1:1")
    check_experiment(empty_store)
    client, experiment = open_store(empty_store)
    assert open_store(empty_store)[1] == experiment
    check_experiment(empty_store)
    client.delete_experiment(experiment)
    before = sorted(tmp_path.rglob("*"))
    for refusing in (check_experiment, open_store):
        with pytest.raises(SettingsError, match=f"mlflow experiments restore --experiment-id {experiment}$") as told:
            refusing(empty_store)
        assert f"MLFLOW_TRACKING_URI={empty_store} " in str(told.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_registry_is_the_stores_own(empty_store: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path}/another.db")
    client, _ = open_store(empty_store)
    client.create_registered_model("heart")
    assert not (tmp_path / "another.db").exists()
    assert [model.name for model in MlflowClient(empty_store, empty_store).search_registered_models()] == ["heart"]

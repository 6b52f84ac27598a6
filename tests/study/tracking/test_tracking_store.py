"""Which store a study writes to."""

from pathlib import Path

import pytest

from jointnet.faults import SettingsFaultError
from study.store_address import ui_command
from study.tracking.tracking_store import resolve_tracking_uri


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
        with pytest.raises(SettingsFaultError, match="must be sqlite"):
            resolve_tracking_uri()

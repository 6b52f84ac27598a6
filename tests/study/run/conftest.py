"""A working directory for whole studies."""

from pathlib import Path

import pytest


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: str) -> Path:
    """Return a working directory with an empty store, and with nothing of the environment that a study reads."""
    (tmp_path / "search_spaces").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOINTNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path

"""Settings from environment variables, and how the plan shows them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY
from plans import plan_of
from ray._common.usage.usage_constants import USAGE_STATS_ENABLED_ENV_VAR

from study.plan import environment
from study.plan.environment import environment_lines, set_environment
from study.plan.plan_text import render
from study.store_address import without_secrets


def test_variables_with_an_effect_are_listed_with_values_and_others_by_name():
    assert environment_lines({}) == []
    others = {"PATH": "/bin", "MLFLOW_TRACKING_URI": "http://shown-elsewhere", "RAY_ADDRESS": "auto"}
    assert environment_lines(others) == []
    variables = {
        "RAY_TMPDIR": "/scratch",
        "MLFLOW_WORKSPACE": "hearts",
        "MLFLOW_EXPERIMENT_NAME": "liver",
        "MLFLOW_RUN_ID": "1",
        "MLFLOW_REGISTRY_URI": "http://other",
        "OPTUNA_STORAGE": "sqlite:///x.db",
        "TUNE_MAX_PENDING_TRIALS_PG": "100",
    }
    assert environment_lines(variables) == [
        "MLFLOW_WORKSPACE=hearts, RAY_TMPDIR=/scratch",
        "without effect here: MLFLOW_EXPERIMENT_NAME, MLFLOW_REGISTRY_URI, MLFLOW_RUN_ID, OPTUNA_STORAGE, "
        "TUNE_MAX_PENDING_TRIALS_PG",
    ]


def test_the_study_s_own_values_are_not_listed():
    assert environment_lines(environment.DEFAULTS | environment.OWN) == []
    assert environment_lines({"RAY_worker_niceness": "15"}) == ["RAY_worker_niceness=15"]


@pytest.mark.parametrize("own", [None, "false"])
def test_mlflow_and_ray_do_not_report_their_use_unless_the_user_wants_it(own: str | None):
    names = (MLFLOW_DISABLE_TELEMETRY.name, USAGE_STATS_ENABLED_ENV_VAR)
    variables = {name: value for name, value in os.environ.items() if name not in names}
    code = f"import os, study; print(*(os.environ[name] for name in {names}))"
    own_values = {} if own is None else dict.fromkeys(names, own)
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, check=True, env=variables | own_values, capture_output=True, text=True).stdout
    assert shown.split() == (["true", "0"] if own is None else [own, own])


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "hunter2", "***"),
        ("MLFLOW_TRACKING_TOKEN", "hunter2", "***"),
        ("RAY_AUTH_TOKEN", "hunter2", "***"),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "hunter2", "***"),
        ("MLFLOW_S3_ENDPOINT_URL", "https://me:hunter2@host/x", "https://***@host/x"),
        ("RAY_REDIS_ADDRESS", "redis://host?password=hunter2&db=1", "redis://host?password=***&db=1"),
        ("RAY_LONG", "x" * 200, "x" * 80 + "..."),
    ],
)
def test_secrets_are_hidden(name: str, value: str, shown: str):
    assert environment_lines({name: value}) == [f"{name}={shown}"]


def test_the_plan_shows_the_environment_and_no_password_of_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_TMPDIR", "/scratch")
    monkeypatch.setenv("MLFLOW_RUN_ID", "1")
    plan = plan_of()
    text = render(plan).splitlines()
    (line,) = (line for line in text if "RAY_TMPDIR=/scratch" in line)
    assert line.startswith("  Environment ")
    assert any("without effect here:" in line and "MLFLOW_RUN_ID" in line for line in text)
    assert without_secrets("postgresql://me:pw@host/db") == "postgresql://***@host/db"
    assert without_secrets(plan.tracking_uri) == plan.tracking_uri


def test_variables_without_effect_are_removed_from_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(environment, "_removed", set())
    for name in ("TUNE_RESULT_DIR", "RAY_AIR_LOCAL_CACHE_DIR", "TUNE_RESULT_BUFFER_LENGTH", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "0")
    monkeypatch.setenv("RAY_worker_niceness", "3")
    for _ in range(2):
        set_environment()
    assert "TUNE_RESULT_DIR" not in os.environ and "TUNE_RESULT_BUFFER_LENGTH" not in os.environ
    assert "RAY_AIR_LOCAL_CACHE_DIR" not in os.environ and "MLFLOW_REGISTRY_URI" not in os.environ
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1" and dict(os.environ)["RAY_worker_niceness"] == "3"
    (without_effect,) = (line for line in environment_lines() if line.startswith("without effect here"))
    for name in ("TUNE_RESULT_DIR", "TUNE_DISABLE_SIGINT_HANDLER", "MLFLOW_REGISTRY_URI"):
        assert name in without_effect

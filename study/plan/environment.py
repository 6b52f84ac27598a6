"""Environment variables of MLflow, Optuna and Ray: those that take effect, those that are removed, and their text."""

import os
import re
from collections.abc import Mapping

from study import USAGE_REPORTS_OFF
from study.store_address import CLIENT_DEFAULTS, HIDDEN, without_secrets

PREFIXES = ("MLFLOW_", "OPTUNA_", "RAY_", "TUNE_")
WITHOUT_EFFECT = (
    *("MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"),
    *("MLFLOW_REGISTRY_URI", "MLFLOW_RUN_CONTEXT", "MLFLOW_RUN_ID", "OPTUNA_", "RAY_AIR_", "RAY_CHDIR_TO_TRIAL_DIR"),
    *("RAY_TRAIN_", "RAY_TUNE_", "TUNE_"),
)
"""Names or prefixes of variables that are removed: the study sets the experiment, the registry and the trials itself.
They would send its runs elsewhere, or change how Ray Tune requests trials and receives their results."""
OWN = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 Ray Tune prints nothing beside the study's progress
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl+C must raise KeyboardInterrupt; Ray Tune would end the search normally
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # its snapshots grow with the trials and are never read
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Variables matching WITHOUT_EFFECT that a study always sets to these values."""
DEFAULTS = {
    **CLIENT_DEFAULTS,
    **USAGE_REPORTS_OFF,
    # One attempt per call: a client that repeats a call by itself may create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the text would disturb the live progress
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # at Ray's default of 15 any other process would take the trials' CPU time
}
"""Values that are set where the environment does not set the variable."""
NOT_SHOWN = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_CLIENT_MODE")
"""The first two have their own lines in the plan. Ray itself sets the others."""
SECRET_NAME = re.compile(r"TOKEN|PASSW|SECRET|KEY|CREDENTIAL|COOKIE|HEADER|AUTH_CONFIG", re.IGNORECASE)
LONGEST_VALUE = 80

_removed: set[str] = set()  # names of the variables that this process has removed


def set_environment() -> None:
    """Set OWN and DEFAULTS in this process's environment, and remove what matches WITHOUT_EFFECT.

    It must be called before MLflow and Ray read the environment.
    """
    for name in [name for name in os.environ if name.startswith(WITHOUT_EFFECT)]:
        if os.environ[name] != OWN.get(name):
            _removed.add(name)
            del os.environ[name]
    os.environ.update(OWN)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def environment_lines(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the plan's lines about the environment, at most two: variables with an effect, and those without.

    Args:
        environment: values by name; None for this process's environment and the variables removed from it.
    """
    values = {**os.environ, **dict.fromkeys(_removed, "")} if environment is None else environment
    names = sorted(name for name in values if name.startswith(PREFIXES) and name not in NOT_SHOWN)
    names = [name for name in names if values[name] != {**DEFAULTS, **OWN}.get(name)]
    without_effect = [name for name in names if name.startswith(WITHOUT_EFFECT)]
    effective = [f"{name}={_value_text(name, values[name])}" for name in names if name not in without_effect]
    return [
        *([", ".join(effective)] if effective else []),
        *([f"without effect here: {', '.join(without_effect)}"] if without_effect else []),
    ]


def _value_text(name: str, value: str) -> str:
    if SECRET_NAME.search(name):
        return HIDDEN
    text = without_secrets(" ".join(value.split()))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."

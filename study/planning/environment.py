"""What the environment says to MLflow, Optuna and Ray: what decides, what must not, and what the plan shows of it."""

import os
import re
from collections.abc import Mapping

PREFIXES = ("MLFLOW_", "OPTUNA_", "RAY_", "TUNE_")
WITHOUT_EFFECT = (
    *("MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"),
    *("MLFLOW_REGISTRY_URI", "MLFLOW_RUN_CONTEXT", "MLFLOW_RUN_ID", "OPTUNA_", "RAY_AIR_", "RAY_CHDIR_TO_TRIAL_DIR"),
    *("RAY_TRAIN_", "RAY_TUNE_", "TUNE_"),
)
"""Names, or their beginnings, of what would send a study's runs elsewhere, or change how Ray Tune asks for trials and
hears of them, beside what the plan says: the experiment, the registry and the trials are the study's own."""
OWN = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: silent, so that the progress is ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl+C is to raise here, not to look like a finished search
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # its snapshots grow with the trials, and nobody reads them
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Among those, what is set for a study."""
DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a bar per file would bury the progress
    # One attempt a call: a client that repeats a call by itself may make a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would break the progress
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # trials are the work; at Ray's 15 they starve beside anything else
}
"""What is set unless the environment says otherwise."""
NOT_SHOWN = ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_CLIENT_MODE")
"""The first two have lines of their own in the plan, the others are set by Ray itself."""
HIDDEN = "***"
SECRET_NAME = re.compile(r"TOKEN|PASSW|SECRET|KEY|CREDENTIAL|COOKIE|HEADER|AUTH_CONFIG", re.IGNORECASE)
LONGEST_VALUE = 80

_set_aside: set[str] = set()  # names that this process was started with, and that were taken out


def settle() -> None:
    """Set what a study sets in this process's environment, before MLflow and Ray read it, and take out the idle."""
    for name in [name for name in os.environ if name.startswith(WITHOUT_EFFECT)]:
        if os.environ[name] != OWN.get(name):
            _set_aside.add(name)
            del os.environ[name]
    os.environ.update(OWN)
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def told(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return what the plan says of the environment, in at most two lines: what decides, and what has no effect.

    Args:
        environment: by name; this process's, and what was taken out of it, where not given.
    """
    known = {**os.environ, **dict.fromkeys(_set_aside, "")} if environment is None else environment
    names = sorted(name for name in known if name.startswith(PREFIXES) and name not in NOT_SHOWN)
    names = [name for name in names if known[name] != {**DEFAULTS, **OWN}.get(name)]
    idle = [name for name in names if name.startswith(WITHOUT_EFFECT)]
    heard = [f"{name}={_shown(name, known[name])}" for name in names if name not in idle]
    return [*([", ".join(heard)] if heard else []), *([f"without effect here: {', '.join(idle)}"] if idle else [])]


def without_secrets(value: str) -> str:
    """Return a value, an address for instance, without the passwords in it."""
    value = re.sub(r"(://)[^/@\s]*@", rf"\1{HIDDEN}@", value)
    return re.sub(r"(?i)((?:passw\w*|token|secret|sig|key)=)[^&;,\s]+", rf"\1{HIDDEN}", value)


def _shown(name: str, value: str) -> str:
    if SECRET_NAME.search(name):
        return HIDDEN
    text = without_secrets(" ".join(value.split()))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."

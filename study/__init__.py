"""The study: searches, tracks, selects, evaluates on held-out patients and reports. It uses `jointnet`.

The names in `__all__` are its Python interface, to read studies into pandas. They are imported when first used.
Importing the package turns off the usage reports of MLflow and Ray, unless the environment turns them on. It raises
`ModuleNotFoundError` where only `jointnet` was installed, without the packages of a study.
"""

import os
from importlib import import_module
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

import jointnet  # noqa: F401 - completes the environment, which MLflow and Ray read as soon as they are imported

if TYPE_CHECKING:
    from study.api import StudyTables, list_studies, read_study

__all__ = ["StudyTables", "list_studies", "read_study"]

USAGE_REPORTS_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
"""Environment variables that turn off the usage reports of these packages. MLflow reads its own when it is imported."""
for _name, _value in USAGE_REPORTS_OFF.items():
    os.environ.setdefault(_name, _value)
if _missing := [_name for _name in ("ray", "mlflow", "optuna") if PathFinder.find_spec(_name) is None]:
    _advice = "pip install 'jointnet-study[study]'"
    raise ModuleNotFoundError(f"study: needs packages that are not installed, {', '.join(_missing)}: {_advice}")


def __getattr__(name: str) -> Any:
    """Import and return a name of the Python interface."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("study.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

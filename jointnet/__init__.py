"""Registration of LGE onto cine cardiac MRI, alone or jointly with segmentation of both.

This package is usable on its own. It depends on torch and nibabel, but not on ray, mlflow or optuna. The names in
`__all__` are its Python interface; they are imported when they are first used, so that commands start fast.

Importing it sets `HOME`, the user's name and matplotlib's folder in the environment where they are missing or unusable
(`jointnet.system.home`), because libraries that are imported later need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jointnet.system.home import complete_environment

if TYPE_CHECKING:
    from jointnet.api import check_folder, evaluate_model, load_folder, load_model, predict_pair, train_model
    from jointnet.evaluate.aggregation import patient_means, registration_ratio, summarise

__all__ = [
    "check_folder",
    "evaluate_model",
    "load_folder",
    "load_model",
    "patient_means",
    "predict_pair",
    "registration_ratio",
    "summarise",
    "train_model",
]
_ELSEWHERE = dict.fromkeys(("patient_means", "registration_ratio", "summarise"), "jointnet.evaluate.aggregation")

complete_environment()


def __getattr__(name: str) -> Any:
    """Import and return a name of the Python interface."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "jointnet.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

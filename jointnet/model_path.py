"""How a command's `--model` names a model file. This module does not import torch."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jointnet.errors import SettingsError

MODEL_FILE = "model.pt"
STORE_SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")
"""Prefixes of model addresses in a tracking store."""


class ModelNames(NamedTuple):
    """The accepted values of `--model`.

    Attributes:
        find: returns the model file for a value of `--model`.
        help: help text of the option.
    """

    find: Callable[[str], Path]
    help: str


def model_file(path: Path) -> Path:
    """Return the path of a model file from its own path or the path of its folder."""
    return path / MODEL_FILE if path.is_dir() else path


def local_model(name: str) -> Path:
    """Return the model file from its own path or the path of its folder.

    Raises:
        SettingsError: if the name is an address in a tracking store.
    """
    if name.startswith(STORE_SCHEMES):
        raise SettingsError(f"--model: an address in a tracking store needs the same command of `study`, got {name!r}")
    return model_file(Path(name))


LOCAL_MODELS = ModelNames(local_model, f"a {MODEL_FILE}, or the folder that holds it")
WITHOUT_TRAINING = "`descriptors` registers by the images alone, without a trained model"
"""Help text of a value of `--model` that names no file."""

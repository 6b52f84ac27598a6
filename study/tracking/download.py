"""Download of models from a tracking store: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN/model`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.model_path import LOCAL_MODELS, MODEL_FILE, STORE_SCHEMES, ModelNames
from study.plan.environment import set_environment
from study.store_address import default_tracking_uri, error_text, readable, sqlite_file, without_secrets


def is_address(name: str) -> bool:
    """Return whether a model's name is an address in a tracking store, not a path."""
    return name.startswith(STORE_SCHEMES)


@contextmanager
def models_by_name() -> Iterator[ModelNames]:
    """Find models by address in a store, by path or by folder. Downloads are deleted on leaving the context."""
    with tempfile.TemporaryDirectory(prefix="jointnet-model-") as scratch:
        yield ModelNames(
            lambda name: fetch_model(name, Path(scratch)) if is_address(name) else LOCAL_MODELS.find(name),
            f"{LOCAL_MODELS.help}, or the address of a model in the tracking store that MLFLOW_TRACKING_URI names "
            "(mlruns/mlflow.db by default): models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/PATH",
        )


def fetch_model(address: str, folder: Path) -> Path:
    """Download a model and return the path of its file.

    Args:
        address: of a model in the store of `MLFLOW_TRACKING_URI`, `mlruns/mlflow.db` by default.
        folder: where the download is written.

    Raises:
        SettingsError: if the store does not open, does not hold the address, or does not hold exactly one
            model file there.
    """
    uri = default_tracking_uri()
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise SettingsError(f"MLFLOW_TRACKING_URI: must be a store that exists, got {uri}")
    import mlflow  # takes seconds, so --help does without it
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    set_environment()  # for `models:/` MLflow reads the registry's address from the environment only
    before = os.environ.get("MLFLOW_TRACKING_URI")  # set_tracking_uri changes this variable, too
    with readable(uri) as store:
        mlflow.set_tracking_uri(store)
        location = ""
        try:
            repository = get_artifact_repository(address)
            location = str(getattr(repository, "repo", repository).artifact_uri)
            mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder))
        except Exception as error:  # the exceptions depend on the store's backend
            lost = (
                f"; its files must be in {location}, bring them back if they were moved or deleted" if location else ""
            )
            raise SettingsError(
                f"--model: must be an address that {without_secrets(uri)} holds, got {address!r}{lost}: "
                f"{error_text(error)}"
            ) from None
        finally:
            mlflow.set_tracking_uri(before)  # None where it was not set
    files = sorted(folder.rglob(MODEL_FILE))
    if len(files) != 1:
        raise SettingsError(f"--model: must hold one {MODEL_FILE}, {address!r} holds {len(files)}")
    return files[0]

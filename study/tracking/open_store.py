"""Address and opening of the tracking store that a study writes to."""

import os
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from jointnet.errors import SettingsError
from study.store_address import (
    absolute_address,
    check_artifacts,
    correct_records,
    default_tracking_uri,
    make_artifact_folder,
    open_to_read,
    sqlite_file,
    without_secrets,
)
from study.store_names import EXPERIMENT
from study.tracking.database import ensure_server_tables, ensure_sqlite_tables


def resolve_tracking_uri() -> str:
    """Return the store's absolute address.

    It is `MLFLOW_TRACKING_URI`, or by default an SQLite file in `mlruns/` of the working directory.

    Raises:
        SettingsError: if it is a folder, which MLflow no longer supports as a store, or if an SQLite store was
            moved without its artifacts.
    """
    uri = absolute_address(default_tracking_uri())
    if "://" in uri and not uri.startswith("file:"):
        check_artifacts(uri)
        return uri
    raise SettingsError(
        f"MLFLOW_TRACKING_URI: must be sqlite:///FILE, a database's or a server's address, got {uri!r} "
        "(MLflow no longer takes folders)"
    )


def open_store(uri: str) -> tuple[MlflowClient, str]:
    """Return a client and the experiment's id. Store and experiment are created if they are missing.

    The model registry is always that of the store; `MLFLOW_REGISTRY_URI` is ignored.

    Args:
        uri: absolute address of the store.

    Raises:
        SettingsError: if the experiment is deleted, or an SQLite store was moved without its artifacts or cannot
            be written.
    """
    file = sqlite_file(uri)
    if file is not None:
        ensure_sqlite_tables(file)
    elif not uri.startswith(("http://", "https://")):
        ensure_server_tables(uri)
    client = MlflowClient(uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return client, str(client.create_experiment(EXPERIMENT, artifact_location=make_artifact_folder(uri)))
        except MlflowException:  # another driver may have created it meanwhile
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise _deleted(uri, str(experiment.experiment_id))
    correct_records(uri)
    return client, str(experiment.experiment_id)


def check_experiment(uri: str) -> None:
    """Check that the experiment is not deleted, without creating or changing anything.

    An SQLite file is opened read-only, because MLflow would create tables and folders on opening it. Other databases
    and stores that do not answer are not checked here but in `open_store`.

    Args:
        uri: absolute address of the store.

    Raises:
        SettingsError: if the experiment is deleted.
    """
    file = sqlite_file(uri)
    if file is not None:
        experiment = _experiment_of_file(file)
    elif uri.startswith(("http://", "https://")):
        experiment = _experiment_of_server(uri)
    else:
        return
    if experiment is not None and experiment[1] != "active":
        raise _deleted(uri, experiment[0])


def _experiment_of_file(path: Path) -> tuple[str, str] | None:
    """Return id and lifecycle stage of the experiment in an SQLite file, or None if there is none to read."""
    query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
    try:
        with closing(open_to_read(path)) as store:
            row = store.execute(query, (EXPERIMENT,)).fetchone()
    except sqlite3.Error:  # no file, no store, or one that is being created
        return None
    return None if row is None else (str(row[0]), str(row[1]))


def _experiment_of_server(uri: str) -> tuple[str, str] | None:
    """Return id and lifecycle stage of the experiment on a server, or None if there is none or no answer."""
    try:
        experiment = MlflowClient(uri, registry_uri=uri).get_experiment_by_name(EXPERIMENT)
    except (MlflowException, OSError):  # requests' exceptions are OSErrors
        return None
    return None if experiment is None else (str(experiment.experiment_id), str(experiment.lifecycle_stage))


def _deleted(uri: str, experiment: str) -> SettingsError:
    """Return the error for a deleted experiment. Its message has the command that restores the experiment."""
    variable = "" if os.environ.get("MLFLOW_TRACKING_URI") else f"MLFLOW_TRACKING_URI={shlex.quote(uri)} "
    command = f"{variable}{shlex.quote(sys.executable)} -m mlflow experiments restore --experiment-id {experiment}"
    return SettingsError(
        f"MLFLOW_TRACKING_URI: must be a store whose experiment {EXPERIMENT!r} is not deleted, got "
        f"{without_secrets(uri)}, in which it is; to restore it: {command}"
    )

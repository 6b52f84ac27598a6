"""Which tracking store a study writes to, and opening it."""

from mlflow import MlflowClient

from jointnet.faults import SettingsFaultError
from study.store_address import (
    absolute_address,
    check_artifacts,
    correct_records,
    default_tracking_uri,
    make_artifact_folder,
    sqlite_file,
)
from study.store_layout import EXPERIMENT


def resolve_tracking_uri() -> str:
    """Give the store's address, absolute: `MLFLOW_TRACKING_URI`, or SQLite in `mlruns/` of the working directory.

    Raises:
        SettingsFaultError: where it is a folder of files, which MLflow no longer takes as a store, or where an SQLite
            store was moved without its artifacts.
    """
    uri = absolute_address(default_tracking_uri())
    if "://" in uri and not uri.startswith("file:"):
        check_artifacts(uri)
        return uri
    raise SettingsFaultError(
        f"MLFLOW_TRACKING_URI: must be sqlite:///FILE, a database's or a server's address, got {uri!r} "
        "(MLflow no longer takes folders)"
    )


def open_store(uri: str) -> tuple[MlflowClient, str]:
    """Give a client and the experiment's id; store and experiment are made where they are missing.

    Args:
        uri: of the store, absolute.

    Raises:
        SettingsFaultError: where an SQLite store was moved without its artifacts, or cannot be written.
    """
    file = sqlite_file(uri)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        correct_records(uri)
        return client, str(experiment.experiment_id)
    return client, str(client.create_experiment(EXPERIMENT, artifact_location=make_artifact_folder(uri)))

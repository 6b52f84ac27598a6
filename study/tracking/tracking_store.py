"""Which tracking store a study writes to, and opening it."""

from pathlib import Path

from mlflow import MlflowClient

from jointnet.faults import SettingsFaultError
from study.store_layout import EXPERIMENT, absolute_address, default_tracking_uri


def resolve_tracking_uri() -> str:
    """Give the store's address, absolute: `MLFLOW_TRACKING_URI`, or SQLite in `mlruns/` of the working directory.

    Raises:
        SettingsFaultError: where it is a folder of files, which MLflow no longer takes as a store.
    """
    uri = absolute_address(default_tracking_uri())
    if "://" in uri and not uri.startswith("file:"):
        return uri
    raise SettingsFaultError(
        f"MLFLOW_TRACKING_URI: must be sqlite:///FILE, a database's or a server's address, got {uri!r} "
        "(MLflow no longer takes folders)"
    )


def open_store(uri: str) -> tuple[MlflowClient, str]:
    """Give a client and the experiment's id; store and experiment are made where they are missing.

    Args:
        uri: of the store, absolute.
    """
    location = None
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent
        folder.mkdir(parents=True, exist_ok=True)
        location = (folder / "artifacts").as_uri()
    elif not uri.startswith(("http://", "https://")):
        location = Path("mlruns/artifacts").absolute().as_uri()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return client, str(experiment.experiment_id)
    return client, str(client.create_experiment(EXPERIMENT, artifact_location=location))

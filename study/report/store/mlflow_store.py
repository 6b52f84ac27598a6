"""The tracking store, accessed with MLflow's client. All MLflow calls of the report are in this module."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from jointnet.errors import InputError
from study.store_address import (
    CLIENT_DEFAULTS,
    absolute_address,
    correct_records,
    error_text,
    readable,
    sqlite_file,
    without_secrets,
)
from study.store_names import EXPERIMENT

REPORT_ARTIFACTS = "report"
LONGEST_TAG = 5000
PATIENT, PATIENTS = "patient", "patients"
"""Column of tables and name of the array with patients' names. Older studies stored numbers."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file. Patients' names are texts, also `001` and `NA`; elsewhere nothing is a missing value."""
    others = [name for name in pd.read_csv(path, nrows=0).columns if name != PATIENT]
    missing = {name: [""] for name in others}
    return pd.read_csv(path, dtype={PATIENT: str}, keep_default_na=False, na_values=missing)


class MlflowStore:
    """An existing tracking store. Use it as a context manager.

    Args:
        tracking_uri: the address of the store.

    Attributes:
        address: the absolute address of the store.

    Raises:
        InputError: where the store does not exist, does not answer, or was moved without its artifacts.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.address, self._given = absolute_address(tracking_uri), tracking_uri
        path = sqlite_file(tracking_uri)
        if path is not None and not path.is_file():  # MLflow would create the file
            raise InputError(f"{path}: no such tracking store; give --tracking-uri or run `python -m study.run`")
        for name, value in CLIENT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._open = ExitStack()
        try:
            address = self._open.enter_context(readable(self.address))
            self._client = MlflowClient(address, registry_uri=address)
            self._client.search_experiments(max_results=1)
        except InputError:
            raise
        except Exception as error:  # each backend raises its own errors for an invalid or unreachable store
            self._open.close()
            raise InputError(f"{self}: must be a tracking store that answers: {error_text(error)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def __str__(self) -> str:
        return without_secrets(self._given)

    def runs(self, condition: str) -> list[Any]:
        """Return the runs of the study experiment that meet `condition`, newest first.

        Raises:
            InputError: where the store does not have the experiment.
        """
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise InputError(f"{self}: has no experiment {EXPERIMENT!r}; run `python -m study.run` first")
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [experiment.experiment_id], condition, max_results=1000, order_by=["start_time DESC"], page_token=token
            )
            found.extend(page)
            token = page.token
            if not token:
                return found

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return the step and value of all points that a run logged for a metric, oldest first."""
        points = self._client.get_metric_history(run_id, metric)
        return [(point.step, point.value) for point in sorted(points, key=lambda each: (each.timestamp, each.step))]

    def artifacts(self, run: Any, wanted: Sequence[str], promised: Sequence[str]) -> dict[str, Any]:
        """Return the content of the wanted files that the run has: JSON as text, CSV as a frame, NPZ as arrays.

        Args:
            run: the run.
            wanted: paths of the files to read, where they exist.
            promised: paths of the files that must exist, because the run's tags state that they were stored.

        Raises:
            InputError: where a promised file is missing.
        """
        run_id = run.info.run_id
        folders = {path.rpartition("/")[0] for path in wanted}
        present = {item.path for folder in folders for item in self._client.list_artifacts(run_id, folder or None)}
        if missing := [path for path in promised if path not in present]:
            raise InputError(
                f"{run.info.artifact_uri}: must hold {', '.join(missing)}, which {self} says were stored there; bring "
                "these files back, or give --tracking-uri of a store that has them"
            )
        contents: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as scratch:
            for path in (path for path in wanted if path in present):
                local = Path(self._client.download_artifacts(run_id, path, scratch))
                if path.endswith(".csv"):
                    contents[path] = read_table(local)
                elif path.endswith(".npz"):
                    with np.load(local, allow_pickle=False) as arrays:
                        contents[path] = {
                            name: array.astype(str) if name == PATIENTS else array for name, array in arrays.items()
                        }
                else:
                    contents[path] = local.read_text(encoding="utf-8")
        return contents

    def log_report(self, run_id: str, folder: Path, answer: str) -> str:
        """Log a report in the study's run and return the error, if any.

        The folder's files are copied to the artifacts, under `report/`. The answer becomes the run's description.

        In a store that was moved, the artifact addresses are corrected first, so that the MLflow UI finds the files.
        """
        try:
            correct_records(self.address)
            self._client.log_artifacts(run_id, str(folder), REPORT_ARTIFACTS)
            self._client.set_tag(run_id, "mlflow.note.content", answer[:LONGEST_TAG])
        except Exception as error:  # each artifact store raises its own errors; the report is already written
            return error_text(error)
        return ""

    def read_report(self, run_id: str) -> dict[str, bytes]:
        """Return the files of the report in the study's run by name; empty where no report was copied there."""
        listed = [item.path for item in self._client.list_artifacts(run_id, REPORT_ARTIFACTS) if not item.is_dir]
        if not listed:
            return {}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(self._client.download_artifacts(run_id, REPORT_ARTIFACTS, scratch))
            return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

"""All writing to MLflow: a study run, beside it an arm run for each arm, beneath that a run for each trial.

Only the driver writes. It creates the store and the experiment before any trial starts, and it owns every run's
status: whatever way the study ends, no run is left RUNNING.
"""

import json
import logging
import math
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from jointnet.faults import SettingsFaultError
from study.store_layout import EXPERIMENT, default_tracking_uri

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
"""The tag that the MLflow UI shows as a run's description."""
LONGEST_TAG = 5000
LONGEST_PARAM = 500


def resolve_tracking_uri() -> str:
    """Give the store's address, absolute: `MLFLOW_TRACKING_URI`, or SQLite in `mlruns/` of the working directory.

    Raises:
        SettingsFaultError: where it is a folder of files, which MLflow no longer takes as a store.
    """
    uri = default_tracking_uri()
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    if uri.startswith(("http://", "https://")) or ("://" in uri and not uri.startswith("file:")):
        return uri
    raise SettingsFaultError(
        f"MLFLOW_TRACKING_URI: must be sqlite:///FILE, a database's or a server's address, got {uri!r} "
        "(MLflow no longer takes folders)"
    )


def ui_command(uri: str) -> str:
    """Give what opens the MLflow UI: a command for a database, the address itself for a server.

    The command names this Python, so that it works whether or not the environment is activated.
    """
    if uri.startswith(("http://", "https://")):
        return uri
    python = shlex.quote(sys.executable)
    return f"{python} -m mlflow ui --backend-store-uri {shlex.quote(uri)} --workers 1 --host 127.0.0.1"


class StudyTracker:
    """The runs of one study, written through one client. Use as a context manager: it ends every run it began."""

    def __init__(self, uri: str, study_id: str, tags: Mapping[str, str]) -> None:
        self.study_id = study_id
        self._tags = {"study.id": study_id, **tags}
        self._open: dict[str, None] = {}
        self._trials: dict[tuple[str, str], str] = {}
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        for name, value in {"MAX_RETRIES": "2", "TIMEOUT": "5"}.items():
            os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
        try:
            self._client, self._experiment = _open_store(uri)
        except Exception as error:  # whatever the store's own backend raises where it cannot be reached
            told = " ".join(str(error).split())[:200]
            raise SettingsFaultError(f"MLFLOW_TRACKING_URI: must be a store that opens, got {uri!r}: {told}") from error
        self.study_run = self._begin(f"study {study_id}", {"study.kind": "study"})

    def __enter__(self) -> "StudyTracker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every open run: FINISHED, KILLED after Ctrl+C, FAILED after any other exception."""
        interrupted = kind is not None and not issubclass(kind, Exception)
        status = "FINISHED" if kind is None else "KILLED" if interrupted else "FAILED"
        for run_id in list(self._open):
            try:
                self.end(run_id, status)
            except MlflowException:
                continue

    def begin_arm(self, arm: str, tags: Mapping[str, str]) -> str:
        """Begin the run of an arm, the parent of its trials; it stands beside the study's run, which a tag names."""
        return self._begin(arm, {"study.kind": "arm", "arm": arm, **tags})

    def trial_run(
        self, arm_run: str, trial_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> str:
        """Give the run of a trial: the one in the store where there is one, else a new one called `name`."""
        known = self._trials.get((arm_run, trial_id)) or self._find_trial(arm_run, trial_id)
        if known is None:
            own = {"study.kind": "trial", "trial.id": trial_id, "trial.state": "running", PARENT: arm_run, **tags}
            known = self._begin(name, own)
            entities = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
            self._client.log_batch(known, params=entities)
        elif known not in self._open:
            self._client.update_run(known, status="RUNNING")
            self._open[known] = None
        self._trials[arm_run, trial_id] = known
        return known

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log the finite ones of some metrics in one call: MLflow stores an infinity as a number."""
        now = int(time.time() * 1000)
        entities = [Metric(name, float(value), now, step) for name, value in metrics.items() if math.isfinite(value)]
        if entities:
            self._client.log_batch(run_id, metrics=entities)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run in one call."""
        self._client.log_batch(run_id, tags=[RunTag(key, str(value)[:LONGEST_TAG]) for key, value in tags.items()])

    def describe(self, run_id: str, text: str) -> None:
        """Give a run the description that the MLflow UI shows above it."""
        self.tag(run_id, {NOTE: text})

    def log_json(self, run_id: str, name: str, content: Any) -> None:
        """Store plain values as a JSON artifact."""
        self.log_text(run_id, name, json.dumps(content, indent=1))

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Store a text artifact; `name` may hold a folder."""
        folder, _, file = name.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / file
            path.write_text(text, encoding="utf-8")
            self.log_file(run_id, path, folder)

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a file as an artifact, in a folder of the run's artifacts."""
        self._client.log_artifact(run_id, str(path), folder or None)

    def count_opening(self, arm_run: str) -> int:
        """Count one more opening of the sealed test patients by an arm, and give the count."""
        count = int(self._client.get_run(arm_run).data.tags.get("test.openings", "0")) + 1
        self.tag(arm_run, {"test.openings": str(count)})
        return count

    def end(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run: FINISHED, FAILED or KILLED. One that has ended stays as it is."""
        if run_id in self._open:
            self._client.set_terminated(run_id, status)
            del self._open[run_id]

    def _begin(self, name: str, tags: Mapping[str, str]) -> str:
        merged = {key: str(value)[:LONGEST_TAG] for key, value in {**self._tags, **tags}.items()}
        run_id = str(self._client.create_run(self._experiment, tags=merged, run_name=name).info.run_id)
        self._open[run_id] = None
        return run_id

    def _find_trial(self, arm_run: str, trial_id: str) -> str | None:
        condition = (
            f"tags.`study.id` = '{self.study_id}' and tags.`trial.id` = '{trial_id}' and tags.`{PARENT}` = '{arm_run}'"
        )
        found = self._client.search_runs([self._experiment], condition, max_results=1)
        return str(found[0].info.run_id) if found else None


def _open_store(uri: str) -> tuple[MlflowClient, str]:
    """Give a client and the experiment's id; store and experiment are made where they are missing."""
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

"""All writing to MLflow: a study run, beside it an arm run for each arm, beneath that a run for each trial.

Only the driver writes. Every call finds what an earlier one or an earlier driver left before it makes anything, and
saying the same again changes nothing: a row of metrics has the moment of the ledger's event as its timestamp, by which
MLflow's databases know a row that they hold already.
"""

import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from jointnet.faults import SettingsFaultError
from study.store_address import correct_records
from study.tracking.champion import Champion, register
from study.tracking.tracking_store import open_store

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
"""The tag that the MLflow UI shows as a run's description."""
LONGEST_TAG = 5000
LONGEST_PARAM = 500
MOST_METRICS = 1000
"""That MLflow takes in one call."""
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
"""Error codes that mean the same however often one asks."""

RunKey = tuple[tuple[str, str], ...]
"""The tags that tell a run from all others of its study."""
STUDY: RunKey = (("study.kind", "study"),)
Row = tuple[int, int, Mapping[str, float]]
"""Step, Unix time in ms, and metrics."""


class StudyTracker:
    """The runs of one study, written through one client, which is opened when it is first needed."""

    def __init__(self, uri: str, study_id: str, tags: Mapping[str, str]) -> None:
        self.study_id = study_id
        self._uri, self._tags = uri, {"study.id": study_id, **tags}
        self._store: tuple[MlflowClient, str] | None = None
        self._runs: dict[RunKey, str] = {}
        self._attempted: set[RunKey] = set()  # runs that the store did not have when this tracker first made them
        self._with_params: set[str] = set()
        self._statuses: dict[str, str] = {}
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar per file would bury the progress
        # One attempt a call: a client that repeats a call by itself may make a run twice.
        for name, value in {"MAX_RETRIES": "0", "TIMEOUT": "20"}.items():
            os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would break the progress

    def connect(self) -> None:
        """Open the store now; store and experiment are made where they are missing.

        Raises:
            SettingsFaultError: where it does not open.
        """
        try:
            self._opened()
        except SettingsFaultError:
            raise
        except Exception as error:  # whatever the store's own backend raises where it cannot be reached
            told = " ".join(str(error).split())[:200]
            raise SettingsFaultError(
                f"MLFLOW_TRACKING_URI: must be a store that opens, got {self._uri!r}: {told}"
            ) from error

    def study_run(self) -> str:
        """Give the study's own run."""
        return self._run(STUDY, f"study {self.study_id}", {})

    def arm_run(self, tags: Mapping[str, str]) -> str:
        """Give the run of an arm in a fold, the parent of its trials; it stands beside the study's run.

        Args:
            tags: of the run; `arm`, and `fold` where there are folds, say which it is.
        """
        return self._run(_key("arm", tags), arm_title(tags), tags)

    def trial_run(
        self,
        kind: str,
        trial_id: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        new: Mapping[str, str],
        *,
        drawn_here: bool = False,
    ) -> str:
        """Give the run of a trial: the one in the store where there is one, else a new one called `name`.

        Args:
            kind: `trial`, or `retrain` where it is a retraining.
            trial_id: of the trial in its arm.
            name: of a new run.
            tags: of the run, those of its arm among them.
            params: of the run.
            new: further tags of a new run, which is running.
            drawn_here: whether this tracker's driver drew the trial; where it made the study's run too, the store is
                not asked for a run that nobody can have made.
        """
        key, own = _key(kind, tags, trial_id), {**new, PARENT: self.arm_run(tags), **tags}
        run_id = self._run(key, name, own, unknown=drawn_here and STUDY in self._attempted)
        if run_id not in self._with_params:
            entities = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
            self._client.log_batch(run_id, params=entities)
            self._with_params.add(run_id)
        return run_id

    def known_trial(self, trial_id: str, tags: Mapping[str, str], kind: str = "trial") -> str | None:
        """Give the run of a trial, or of a `retrain`, of the arm with these tags where the store has one."""
        return self._find(_key(kind, tags, trial_id))

    def holds(self, kind: str, trial_id: str, tags: Mapping[str, str], last: Mapping[str, str]) -> bool:
        """Whether a trial's run is over and has the tags that are the last that it gets."""
        run_id = self._find(_key(kind, tags, trial_id))
        if run_id is None:
            return False
        run = self._client.get_run(run_id)
        return run.info.status != "RUNNING" and last.items() <= run.data.tags.items()

    def log_rows(self, run_id: str, rows: Sequence[Row], tags: Mapping[str, str] | None = None) -> None:
        """Log rows of metrics, the finite ones: MLflow stores an infinity as a number; and then tags, in one call."""
        entities = [
            Metric(name, float(value), at_ms, step)
            for step, at_ms, metrics in rows
            for name, value in metrics.items()
            if math.isfinite(value)
        ]
        while len(entities) > MOST_METRICS:
            self._client.log_batch(run_id, metrics=entities[:MOST_METRICS])
            del entities[:MOST_METRICS]
        if entities or tags:
            own = [RunTag(key, str(value)[:LONGEST_TAG]) for key, value in (tags or {}).items()]
            self._client.log_batch(run_id, metrics=entities, tags=own)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run in one call."""
        self.log_rows(run_id, (), tags)

    def describe(self, run_id: str, text: str) -> None:
        """Give a run the description that the MLflow UI shows above it."""
        self.tag(run_id, {NOTE: text})

    def log_json(self, run_id: str, name: str, content: Any) -> None:
        """Store plain values as a JSON artifact."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")
            self.log_file(run_id, path)

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a file as an artifact, in a folder of the run's artifacts."""
        correct_records(self._uri)  # which a driver that sees the store under another path may have changed
        self._client.log_artifact(run_id, str(path), folder or None)

    def register(self, champion: Champion) -> str:
        """Put a model into the registry, unless it is there; give its version."""
        correct_records(self._uri)
        return register(*self._opened(), champion)

    def is_running(self, run_id: str) -> bool:
        """Say whether this tracker said last that a run is RUNNING."""
        return self._statuses.get(run_id) == "RUNNING"

    def set_status(self, run_id: str, status: str) -> None:
        """Say that a run is SCHEDULED, RUNNING, FINISHED, FAILED or KILLED, unless this tracker said so last."""
        if self._statuses.get(run_id) == status:
            return
        if status in ("SCHEDULED", "RUNNING"):
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status)
        self._statuses[run_id] = status

    @property
    def _client(self) -> MlflowClient:
        return self._opened()[0]

    def _opened(self) -> tuple[MlflowClient, str]:
        if self._store is None:
            self._store = open_store(self._uri)
        return self._store

    def _run(self, key: RunKey, name: str, tags: Mapping[str, str], unknown: bool = False) -> str:
        """Find a run by the tags that identify it, or make it; it is not looked for where it is surely unknown.

        A call that failed may have made it none the less, so from the second attempt on it is looked for.
        """
        run_id = self._runs.get(key) if unknown and key not in self._attempted else self._find(key)
        if run_id is None:
            self._attempted.add(key)
            merged = {**self._tags, **dict(key), **tags}
            made = self._opened()[0].create_run(
                self._opened()[1],
                tags={key: str(value)[:LONGEST_TAG] for key, value in merged.items()},
                run_name=name,
            )
            run_id = str(made.info.run_id)
            self._statuses[run_id] = "RUNNING"
        self._runs[key] = run_id
        return run_id

    def _find(self, key: RunKey) -> str | None:
        """Give the run of that identity; of several, left by a call answered too late, only the first stays."""
        if key in self._runs:
            return self._runs[key]
        wanted = {"study.id": self.study_id, **dict(key)}
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        client, experiment = self._opened()
        found = client.search_runs([experiment], condition, order_by=["start_time ASC"])
        for double in found[1:]:
            client.delete_run(double.info.run_id)
        if found:
            self._runs[key] = str(found[0].info.run_id)
        return self._runs.get(key)

    def remove_doubles(self) -> None:
        """Look every run up once more, so that a run made twice by a slow server is removed."""
        for key in list(self._runs):
            del self._runs[key]
            self._find(key)


def refused(error: Exception) -> bool:
    """Whether the same will happen however often it is tried: the store refuses it, or what is told makes no sense."""
    if isinstance(error, MlflowException):
        return str(error.error_code) in REFUSALS
    return isinstance(error, TypeError | AttributeError | LookupError)


def arm_title(tags: Mapping[str, str]) -> str:
    """Give the name of an arm's run by its tags: `joint-25`, or `joint-25 fold 2`."""
    return tags["arm"] + (f" fold {tags['fold']}" if "fold" in tags else "")


def _key(kind: str, tags: Mapping[str, str], trial_id: str = "") -> RunKey:
    """Give the tags that tell a run from all others of its study."""
    own = {"study.kind": kind, "arm": tags["arm"], "fold": tags.get("fold", ""), "trial.id": trial_id}
    return tuple((name, value) for name, value in own.items() if value)

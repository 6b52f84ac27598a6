"""All writes to MLflow runs: a run for the study, below it a run for each arm, and below each arm one for each trial.

Only the driver writes. Every call is idempotent. It looks for existing runs, possibly of an earlier driver, before it
creates one. Metrics have the time of the ledger's event as their timestamp, by which MLflow's databases recognize a
metric that they hold already.
"""

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from jointnet.errors import DISK_FULL, InputError, SettingsError
from study.plan.environment import set_environment
from study.store_address import correct_records, error_text, without_secrets
from study.store_names import VIEW_TAG
from study.tracking.find_runs import STUDY, RunKey, StudyRuns, key_of, run_key
from study.tracking.open_store import open_store
from study.tracking.presentation import LoggedData, TrialView, dataset_inputs, share_view
from study.tracking.registry import Champion, register

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
"""The tag that the MLflow UI shows as a run's description."""
LONGEST_TAG = 5000
LONGEST_PARAM = 500
MOST_METRICS = 1000
"""Maximum number of metrics in one MLflow call."""
PERMANENT_CODES = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
"""Error codes of permanent errors: repeating the call does not help."""

Row = tuple[int, int, Mapping[str, float]]
"""Step, Unix time in ms, and metrics."""


class StudyTracker:
    """The MLflow runs of one study. The client is opened when it is first needed.

    Args:
        uri: address of the store.
        study_id: id of the study, a tag of all its runs.
        tags: further tags of all its runs.
        title: title of the study in the names of its runs; its id by default.
        data: its data, logged as the input of each run.

    Attributes:
        began_ms: start of the study in ms (Unix time), used for its run and its arms' runs. None means now.
    """

    def __init__(
        self, uri: str, study_id: str, tags: Mapping[str, str], title: str = "", data: LoggedData | None = None
    ) -> None:
        self.study_id = study_id
        self._title, self._data = title or study_id, data
        self.began_ms: int | None = None
        self._uri, self._tags = uri, {"study.id": study_id, **tags}
        self._store: tuple[MlflowClient, str] | None = None
        self._found = StudyRuns(study_id, self._open_store)
        self._attempted: set[RunKey] = set()  # runs that this tracker created or tried to create
        self._with_params: set[str] = set()  # runs whose parameters are logged
        self._placed: set[str] = set()  # runs whose parent run and data are logged
        self._statuses: dict[str, str] = {}
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        set_environment()

    def connect(self, *, needed: bool = True) -> None:
        """Open the store now. Store and experiment are created if they are missing.

        Args:
            needed: whether a store that does not open is an error.

        Raises:
            SettingsError: if the store does not open and is needed, or if the experiment is deleted.
            OSError: if the store's disk is full.
        """
        try:
            self._open_store()
        except SettingsError:
            raise
        except Exception as error:  # the exceptions of an unreachable store depend on its backend
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            if needed:
                raise self._unreachable(error) from error

    def has_runs(self, ends: Mapping[RunKey, Mapping[str, str]], files: Mapping[RunKey, Sequence[str]]) -> bool:
        """Return whether the store has active runs with these tags and artifacts.

        Args:
            ends: required tags of each run.
            files: paths of required artifacts, for some of the runs in `ends`.

        Raises:
            SettingsError: if the store does not open or answer, or if the experiment is deleted.
        """
        self.connect()
        try:
            runs = {key_of(run.data.tags): run for run in self._found.search()}
            return all(key in runs and _has(runs[key], tags) for key, tags in ends.items()) and all(
                self._has_files(runs[key].info.run_id, *paths) for key, paths in files.items()
            )
        except Exception as error:  # the exceptions of an unreachable store depend on its backend
            raise self._unreachable(error) from error

    def study_run(self) -> str:
        """Return the id of the study's run, created if it is missing."""
        return self._run(STUDY, "study", {}, self.began_ms)

    def arm_run(self, tags: Mapping[str, str]) -> str:
        """Return the id of the run of an arm in a fold, created if it is missing.

        It is a child of the study's run and the parent of the arm's trial runs.

        Args:
            tags: tags of the run. `arm`, and `fold` with cross-validation, identify it.
        """
        return self._run(run_key("arm", tags), arm_title(tags), {PARENT: self.study_run(), **tags}, self.began_ms)

    def baseline_run(self, tags: Mapping[str, str]) -> str:
        """Return the id of the run of a baseline in a fold, a child of the study's run, created if it is missing.

        Args:
            tags: tags of the run. `baseline`, and `fold` with cross-validation, identify it.
        """
        fold = f" fold {tags['fold']}" if "fold" in tags else ""
        parent = {PARENT: self.study_run()}
        return self._run(run_key("baseline", tags), tags["baseline"] + fold, {**parent, **tags}, self.began_ms)

    def trial_run(
        self,
        kind: str,
        trial_id: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        new: Mapping[str, str],
        *,
        began_ms: int | None = None,
        drawn_here: bool = False,
    ) -> str:
        """Return the id of a trial's run, created if it is missing.

        Args:
            kind: `trial`, or `retrain` for a retraining.
            trial_id: id of the trial in its arm.
            name: name of a new run.
            tags: tags of the run, including those of its arm.
            params: parameters of the run.
            new: further tags of a new run, whose status is RUNNING.
            began_ms: start of a new run in ms (Unix time); now by default.
            drawn_here: whether this tracker's driver drew the trial. If this tracker also created the study's run,
                the store cannot hold the trial's run yet and is not searched.
        """
        key, parent = run_key(kind, tags, trial_id), {PARENT: self.arm_run(tags)}
        absent = drawn_here and STUDY in self._attempted
        run_id = self._run(key, name, {**new, **parent, **tags}, began_ms, absent=absent)
        if run_id not in self._with_params:
            entities = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
            self._client.log_batch(run_id, params=entities, synchronous=True)
            self._with_params.add(run_id)
        return run_id

    def find_trial_run(self, trial_id: str, tags: Mapping[str, str], kind: str = "trial") -> str | None:
        """Return the id of the run of an arm's trial or `retrain`, or None if the store has none."""
        return self._found.find(run_key(kind, tags, trial_id))

    def has_ended_run(
        self, kind: str, trial_id: str, tags: Mapping[str, str], last: Mapping[str, str], folder: str | None = None
    ) -> bool:
        """Return whether a trial's run has ended, is a child of its arm's run and has its final tags.

        Args:
            kind: kind of the run, as in `trial_run`.
            trial_id: id of the trial in its arm.
            tags: tags of its arm.
            last: tags that are set last; the run must have them.
            folder: folder of artifacts that the run must have.
        """
        run_id = self._found.find(run_key(kind, tags, trial_id))
        if run_id is None:
            return False
        run = self._client.get_run(run_id)
        if run.info.status == "RUNNING" or not _has(run, {PARENT: self.arm_run(tags), **last}):
            return False
        return folder is None or self._has_files(run_id, folder)

    def log_rows(self, run_id: str, rows: Sequence[Row], tags: Mapping[str, str] | None = None) -> None:
        """Log rows of metrics and then tags, if possible in one call.

        Metrics that are not finite are left out, because MLflow would store an infinity as a finite number.
        """
        entities = [
            Metric(name, float(value), at_ms, step)
            for step, at_ms, metrics in rows
            for name, value in metrics.items()
            if math.isfinite(value)
        ]
        while len(entities) > MOST_METRICS:
            self._client.log_batch(run_id, metrics=entities[:MOST_METRICS], synchronous=True)
            del entities[:MOST_METRICS]
        if entities or tags:
            self._client.log_batch(run_id, metrics=entities, tags=_tags(tags or {}), synchronous=True)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run in one call."""
        self.log_rows(run_id, (), tags)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log parameters of a run, which cannot change."""
        entities = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
        self._client.log_batch(run_id, params=entities, synchronous=True)

    def describe(self, run_id: str, text: str) -> None:
        """Set the description of a run that the MLflow UI shows."""
        self.tag(run_id, {NOTE: text})

    def mark_trials(self, run_ids: Sequence[str], tags: Mapping[str, str], name: str, value: str) -> None:
        """Tag the runs of an arm's trials, and remove the tag from other trials of the arm that had it."""
        for run in self._found.search((*run_key("trial", tags), (name, value))):
            if run.info.run_id not in run_ids:
                self._client.delete_tag(run.info.run_id, name)
        for run_id in run_ids:
            self.tag(run_id, {name: value})

    def share_view(self, view: TrialView) -> None:
        """Make the MLflow UI open the experiment as model training, and prepare the table of the study's trials."""
        share_view(*self._open_store(), self.study_id, view)
        self.tag(self.study_run(), {VIEW_TAG: self.study_id})

    def log_json(self, run_id: str, name: str, content: Any) -> None:
        """Log plain values as a JSON artifact."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")
            self.log_file(run_id, path)

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Log a file as an artifact, in a folder of the run's artifacts.

        Raises:
            InputError: if the file does not exist; this error is permanent (see `is_permanent`).
        """
        if not path.is_file():
            raise InputError(f"{path} is missing and the tracking store has no copy of it; restore it")
        correct_records(self._uri)  # a driver that mounts the store under another path may have changed them
        self._client.log_artifact(run_id, str(path), folder or None)

    def register(self, champion: Champion) -> str:
        """Register a model unless it is registered already, and return its version."""
        correct_records(self._uri)
        return register(*self._open_store(), champion)

    def is_running(self, run_id: str) -> bool:
        """Return whether the last status that this tracker logged for a run is RUNNING."""
        return self._statuses.get(run_id) == "RUNNING"

    def set_status(self, run_id: str, status: str, ended_ms: int | None = None) -> None:
        """Log the status of a run unless this tracker logged the same one last.

        Args:
            run_id: id of the run.
            status: SCHEDULED, RUNNING, FINISHED, FAILED or KILLED.
            ended_ms: end of the run in ms (Unix time), for one that has ended; now by default.
        """
        if self._statuses.get(run_id) == status:
            return
        if status in ("SCHEDULED", "RUNNING"):
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, ended_ms)
        self._statuses[run_id] = status

    @property
    def _client(self) -> MlflowClient:
        return self._open_store()[0]

    def _open_store(self) -> tuple[MlflowClient, str]:
        if self._store is None:
            self._store = open_store(self._uri)
        return self._store

    def _unreachable(self, error: Exception) -> SettingsError:
        return SettingsError(
            f"MLFLOW_TRACKING_URI: must be a store that opens, got {without_secrets(self._uri)!r}: {error_text(error)}"
        )

    def _has_files(self, run_id: str, *paths: str) -> bool:
        """Return whether a run has these artifacts, files or folders."""
        folders = {path.rpartition("/")[0] for path in paths}
        present = {item.path for folder in folders for item in self._client.list_artifacts(run_id, folder or None)}
        return present.issuperset(paths)

    def _run(
        self, key: RunKey, name: str, tags: Mapping[str, str], began_ms: int | None = None, *, absent: bool = False
    ) -> str:
        """Return the id of the run with these identifying tags, created if it is missing.

        `absent` says that the store cannot hold the run yet, so the search is skipped. A call that failed may still
        have created the run, so from the second attempt on it is searched for.
        """
        run_id = self._found.ids.get(key) if absent and key not in self._attempted else self._found.find(key)
        if run_id is None:
            self._attempted.add(key)
            merged = {**self._tags, **dict(key), **tags}
            client, experiment = self._open_store()
            own = {key: str(value)[:LONGEST_TAG] for key, value in merged.items()}
            named = f"{name} {self._title}" if key == STUDY else f"{name}, {self._title}"
            created = client.create_run(experiment, start_time=began_ms, tags=own, run_name=named)
            run_id = str(created.info.run_id)
            self._statuses[run_id] = "RUNNING"
        self._found.ids[key] = run_id
        if run_id not in self._placed:
            if parent := tags.get(PARENT):
                self._client.set_tag(run_id, PARENT, parent)
            if self._data is not None:
                self._client.log_inputs(run_id, dataset_inputs(self._data, tags))
            self._placed.add(run_id)
        return run_id

    def delete_duplicates(self) -> None:
        """Search for every run again and delete duplicates that a slow server created."""
        self._found.delete_duplicates()


def is_permanent(error: Exception) -> bool:
    """Return whether the error is permanent: the store rejects the request, or its data is invalid."""
    if isinstance(error, MlflowException):
        return str(error.error_code) in PERMANENT_CODES
    return isinstance(error, InputError | TypeError | AttributeError | LookupError)


def arm_title(tags: Mapping[str, str]) -> str:
    """Return the name of an arm's run from its tags: `joint-25`, or `joint-25 fold 2`."""
    return tags["arm"] + (f" fold {tags['fold']}" if "fold" in tags else "")


def _has(run: Any, tags: Mapping[str, str]) -> bool:
    """Return whether a run has these tags."""
    return all(run.data.tags.get(tag.key) == tag.value for tag in _tags(tags))


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, str(value)[:LONGEST_TAG]) for name, value in tags.items()]

"""All writing to MLflow: a study run, beside it an arm run for each arm, beneath that a run for each trial.

Only the driver writes. Every call finds what an earlier one or an earlier driver left before it makes anything, and
saying the same again changes nothing: a row of metrics has the moment of the ledger's event as its timestamp, by which
MLflow's databases know a row that they hold already.
"""

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from jointnet.faults import DISK_FULL, InputFaultError, SettingsFaultError
from study.planning.environment import settle, without_secrets
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
MOST_RUNS = 1000
"""That a search of runs returns in one call."""
REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
"""Error codes that mean the same however often one asks."""

RunKey = tuple[tuple[str, str], ...]
"""The tags that tell a run from all others of its study."""
STUDY: RunKey = (("study.kind", "study"),)
Row = tuple[int, int, Mapping[str, float]]
"""Step, Unix time in ms, and metrics."""


class StudyTracker:
    """The runs of one study, written through one client, which is opened when it is first needed.

    Args:
        uri: of the store.
        study_id: of the study, a tag of all its runs.
        tags: further tags of all its runs.

    Attributes:
        began_ms: when the study began (Unix time): the start of its run and of its arms'; now where it is None.
    """

    def __init__(self, uri: str, study_id: str, tags: Mapping[str, str]) -> None:
        self.study_id = study_id
        self.began_ms: int | None = None
        self._uri, self._tags = uri, {"study.id": study_id, **tags}
        self._store: tuple[MlflowClient, str] | None = None
        self._runs: dict[RunKey, str] = {}
        self._attempted: set[RunKey] = set()  # runs that the store did not have when this tracker first made them
        self._with_params: set[str] = set()  # runs that have their parameters, and stand beneath their arm's run
        self._statuses: dict[str, str] = {}
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        settle()

    def connect(self, *, needed: bool = True) -> None:
        """Open the store now; store and experiment are made where they are missing.

        Args:
            needed: whether a store that does not open is a fault.

        Raises:
            SettingsFaultError: where it does not open and is needed, or where the experiment is deleted.
            OSError: where its disk is full.
        """
        try:
            self._opened()
        except SettingsFaultError:
            raise
        except Exception as error:  # whatever the store's own backend raises where it cannot be reached
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            if needed:
                raise self._unanswered(error) from error

    def holds_all(self, ends: Mapping[RunKey, Mapping[str, str]], files: Mapping[RunKey, Sequence[str]]) -> bool:
        """Return whether the store has active runs with these tags, and these files of some of them.

        Args:
            ends: the tags of each run by what tells it from the others.
            files: the paths of artifacts of a run.

        Raises:
            SettingsFaultError: where the store does not open or answer, or where the experiment is deleted.
        """
        self.connect()
        try:
            runs = {_key_of(run.data.tags): run for run in self._search(f"tags.`study.id` = '{self.study_id}'")}
            return all(key in runs and _has(runs[key], tags) for key, tags in ends.items()) and all(
                self._has_files(runs[key].info.run_id, *paths) for key, paths in files.items()
            )
        except Exception as error:  # whatever the store's own backend raises where it cannot be reached
            raise self._unanswered(error) from error

    def study_run(self) -> str:
        """Give the study's own run."""
        return self._run(STUDY, f"study {self.study_id}", {}, self.began_ms)

    def arm_run(self, tags: Mapping[str, str]) -> str:
        """Give the run of an arm in a fold, the parent of its trials; it stands beside the study's run.

        Args:
            tags: of the run; `arm`, and `fold` where there are folds, say which it is.
        """
        return self._run(run_key("arm", tags), arm_title(tags), tags, self.began_ms)

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
        """Give the run of a trial: the one in the store where there is one, else a new one called `name`.

        Args:
            kind: `trial`, or `retrain` where it is a retraining.
            trial_id: of the trial in its arm.
            name: of a new run.
            tags: of the run, those of its arm among them.
            params: of the run.
            new: further tags of a new run, which is running.
            began_ms: the start of a new run (Unix time); now where not given.
            drawn_here: whether this tracker's driver drew the trial; where it made the study's run too, the store is
                not asked for a run that nobody can have made.
        """
        key, parent = run_key(kind, tags, trial_id), {PARENT: self.arm_run(tags)}
        unknown = drawn_here and STUDY in self._attempted
        run_id = self._run(key, name, {**new, **parent, **tags}, began_ms, unknown=unknown)
        if run_id not in self._with_params:
            entities = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
            self._client.log_batch(run_id, params=entities, tags=_tags(parent), synchronous=True)
            self._with_params.add(run_id)
        return run_id

    def known_trial(self, trial_id: str, tags: Mapping[str, str], kind: str = "trial") -> str | None:
        """Give the run of a trial, or of a `retrain`, of the arm with these tags where the store has one."""
        return self._find(run_key(kind, tags, trial_id))

    def holds(
        self, kind: str, trial_id: str, tags: Mapping[str, str], last: Mapping[str, str], folder: str | None = None
    ) -> bool:
        """Return whether a trial's run is over, in its arm's, and has the tags that are the last that it gets.

        Args:
            kind: of the run, as of `trial_run`.
            trial_id: of the trial in its arm.
            tags: of its arm.
            last: the tags that it must have.
            folder: of artifacts that the run must have.
        """
        run_id = self._find(run_key(kind, tags, trial_id))
        if run_id is None:
            return False
        run = self._client.get_run(run_id)
        if run.info.status == "RUNNING" or not _has(run, {PARENT: self.arm_run(tags), **last}):
            return False
        return folder is None or self._has_files(run_id, folder)

    def log_rows(self, run_id: str, rows: Sequence[Row], tags: Mapping[str, str] | None = None) -> None:
        """Log rows of metrics, the finite ones: MLflow stores an infinity as a number; and then tags, in one call."""
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
        """Store a file as an artifact, in a folder of the run's artifacts.

        Raises:
            InputFaultError: where there is no such file; however often it is tried, there is none.
        """
        if not path.is_file():
            raise InputFaultError(f"{path}: must be there for the tracking store, which lacks it; bring it back")
        correct_records(self._uri)  # which a driver that sees the store under another path may have changed
        self._client.log_artifact(run_id, str(path), folder or None)

    def register(self, champion: Champion) -> str:
        """Put a model into the registry, unless it is there; give its version."""
        correct_records(self._uri)
        return register(*self._opened(), champion)

    def is_running(self, run_id: str) -> bool:
        """Say whether this tracker said last that a run is RUNNING."""
        return self._statuses.get(run_id) == "RUNNING"

    def set_status(self, run_id: str, status: str, ended_ms: int | None = None) -> None:
        """Log that a run is SCHEDULED, RUNNING, FINISHED, FAILED or KILLED, unless this tracker did so last.

        Args:
            run_id: of the run.
            status: of the run.
            ended_ms: when it ended (Unix time), where it did; now where not given.
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
        return self._opened()[0]

    def _opened(self) -> tuple[MlflowClient, str]:
        if self._store is None:
            self._store = open_store(self._uri)
        return self._store

    def _unanswered(self, error: Exception) -> SettingsFaultError:
        told = " ".join(str(error).split())[:200]
        return SettingsFaultError(
            f"MLFLOW_TRACKING_URI: must be a store that opens, got {without_secrets(self._uri)!r}: {told}"
        )

    def _has_files(self, run_id: str, *paths: str) -> bool:
        """Return whether a run has these artifacts, files or folders."""
        folders = {path.rpartition("/")[0] for path in paths}
        present = {item.path for folder in folders for item in self._client.list_artifacts(run_id, folder or None)}
        return present.issuperset(paths)

    def _run(
        self, key: RunKey, name: str, tags: Mapping[str, str], began_ms: int | None = None, *, unknown: bool = False
    ) -> str:
        """Find a run by the tags that identify it, or make it; it is not looked for where it is surely unknown.

        A call that failed may have made it none the less, so from the second attempt on it is looked for.
        """
        run_id = self._runs.get(key) if unknown and key not in self._attempted else self._find(key)
        if run_id is None:
            self._attempted.add(key)
            merged = {**self._tags, **dict(key), **tags}
            client, experiment = self._opened()
            own = {key: str(value)[:LONGEST_TAG] for key, value in merged.items()}
            made = client.create_run(experiment, start_time=began_ms, tags=own, run_name=name)
            run_id = str(made.info.run_id)
            self._statuses[run_id] = "RUNNING"
        self._runs[key] = run_id
        return run_id

    def _find(self, key: RunKey) -> str | None:
        """Return the run of that identity; of several, left by a call answered too late, only the first stays.

        A run that was deleted in the MLflow UI is restored, with all that it was told, unless there is an active one.
        """
        if key in self._runs:
            return self._runs[key]
        found = self._search(self._condition(key), ViewType.ALL)
        active = [run for run in found if run.info.lifecycle_stage == "active"]
        if found and not active:
            self._client.restore_run(found[0].info.run_id)
        for double in active[1:]:
            self._client.delete_run(double.info.run_id)
        if found:
            self._runs[key] = str((active or found)[0].info.run_id)
        return self._runs.get(key)

    def remove_doubles(self) -> None:
        """Look every run up once more, so that one that a slow server made beside the one written to is removed."""
        for key, kept in self._runs.items():
            found = [str(run.info.run_id) for run in self._search(self._condition(key))]
            for double in found if kept in found else ():
                if double != kept:
                    self._client.delete_run(double)

    def _condition(self, key: RunKey) -> str:
        wanted = {"study.id": self.study_id, **dict(key)}
        return " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())

    def _search(self, condition: str, view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        """Return the experiment's runs that meet a condition, the one that started first being the first."""
        client, experiment = self._opened()
        found: list[Any] = []
        token = None
        while True:
            page = client.search_runs([experiment], condition, view, MOST_RUNS, ["start_time ASC"], token)
            found.extend(page)
            token = page.token
            if not token:
                return found


def refused(error: Exception) -> bool:
    """Whether the same will happen however often it is tried: the store refuses it, or what is told makes no sense."""
    if isinstance(error, MlflowException):
        return str(error.error_code) in REFUSALS
    return isinstance(error, InputFaultError | TypeError | AttributeError | LookupError)


def arm_title(tags: Mapping[str, str]) -> str:
    """Give the name of an arm's run by its tags: `joint-25`, or `joint-25 fold 2`."""
    return tags["arm"] + (f" fold {tags['fold']}" if "fold" in tags else "")


def run_key(kind: str, tags: Mapping[str, str], trial_id: str = "") -> RunKey:
    """Return the tags that tell a run of an arm, a trial or a retraining from all others of its study."""
    return _key_of({**tags, "study.kind": kind, "trial.id": trial_id})


def _key_of(tags: Mapping[str, str]) -> RunKey:
    """Return those of a run's tags that tell it from all others of its study."""
    return tuple((name, tags[name]) for name in ("study.kind", "arm", "fold", "trial.id") if tags.get(name))


def _has(run: Any, tags: Mapping[str, str]) -> bool:
    """Return whether a run has these tags."""
    return all(run.data.tags.get(tag.key) == tag.value for tag in _tags(tags))


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, str(value)[:LONGEST_TAG]) for name, value in tags.items()]

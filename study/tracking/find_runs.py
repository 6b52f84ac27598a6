"""The runs of one study in the tracking store, found by the tags that identify them."""

from collections.abc import Callable, Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType

RunKey = tuple[tuple[str, str], ...]
"""The tags that identify a run within its study."""
STUDY: RunKey = (("study.kind", "study"),)
MOST_RUNS = 1000
"""Maximum number of runs that one search call returns."""


def run_key(kind: str, tags: Mapping[str, str], trial_id: str = "") -> RunKey:
    """Return the tags that identify the run of an arm, a baseline, a trial or a retraining within its study."""
    return key_of({**tags, "study.kind": kind, "trial.id": trial_id})


def key_of(tags: Mapping[str, str]) -> RunKey:
    """Return the subset of a run's tags that identifies it within its study."""
    return tuple((name, tags[name]) for name in ("study.kind", "arm", "baseline", "fold", "trial.id") if tags.get(name))


class StudyRuns:
    """The runs of one study.

    Args:
        study_id: id of the study, a tag of all its runs.
        open_store: returns the client and the experiment's id.

    Attributes:
        ids: ids of the runs that were found or created so far.
    """

    def __init__(self, study_id: str, open_store: Callable[[], tuple[MlflowClient, str]]) -> None:
        self._study_id, self._open_store = study_id, open_store
        self.ids: dict[RunKey, str] = {}

    def find(self, key: RunKey) -> str | None:
        """Return the id of the run with these identifying tags, or None.

        A call that timed out may have left duplicates. All active runs but the first are deleted. If there is no active
        run, one that was deleted in the MLflow UI is restored with its content.
        """
        if key in self.ids:
            return self.ids[key]
        runs = self.search(key, ViewType.ALL)
        active = [run for run in runs if run.info.lifecycle_stage == "active"]
        if runs and not active:
            self._open_store()[0].restore_run(runs[0].info.run_id)
        for duplicate in active[1:]:
            self._open_store()[0].delete_run(duplicate.info.run_id)
        if runs:
            self.ids[key] = str((active or runs)[0].info.run_id)
        return self.ids.get(key)

    def delete_duplicates(self) -> None:
        """Search for every run again and delete duplicates that a slow server created."""
        for key, kept in self.ids.items():
            run_ids = [str(run.info.run_id) for run in self.search(key)]
            for duplicate in run_ids if kept in run_ids else ():
                if duplicate != kept:
                    self._open_store()[0].delete_run(duplicate)

    def search(self, tags: RunKey = (), view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        """Return the study's runs with these tags, ordered by start time."""
        client, experiment = self._open_store()
        wanted = {"study.id": self._study_id, **dict(tags)}
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
        runs: list[Any] = []
        token = None
        while True:
            page = client.search_runs([experiment], condition, view, MOST_RUNS, ["start_time ASC"], token)
            runs.extend(page)
            token = page.token
            if not token:
                return runs

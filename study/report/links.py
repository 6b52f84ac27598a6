"""Links from numbers to their runs, in the tracking server's UI or in the page's own table of runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from study.report.mean_tables import BEFORE
from study.report.records import StudyRecord
from study.store_address import HIDDEN, without_secrets


@dataclass(frozen=True)
class Links:
    """The addresses of a study's runs.

    Attributes:
        server: the tracking server's address; empty for a store that no browser can open.
        experiment: the experiment's id.
        runs_of: run ids by key: `before`, an arm's name, or a run id itself.
    """

    server: str
    experiment: str
    runs_of: Mapping[str, tuple[str, ...]]

    def href(self, key: str) -> str:
        """Return the address of the runs behind a key; empty where the key has no run.

        For one run, it is that of `run`. For several runs, such as the folds of an arm, it is an anchor in the page's
        table of runs.
        """
        runs = self.runs_of.get(key, ())
        if not runs:
            return ""
        return self.run(runs[0]) if len(runs) == 1 else f"#runs-{key}"

    def run(self, run_id: str) -> str:
        """Return the address of one run: its page on the tracking server, else its row in the page's table of runs."""
        if self.server:
            return f"{self.server}/#/experiments/{self.experiment}/runs/{run_id}"
        return f"#run-{run_id}"


def links_of(study: StudyRecord) -> Links:
    """Create the links to a study's runs."""
    uri = without_secrets(study.tracking_uri).replace(f"{HIDDEN}@", "")
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else ""
    runs = {name: tuple(record.run_id for record in records) for name, records in study.by_arm.items()}
    single = {run: (run,) for run in _all_runs(study)}
    return Links(server, study.experiment, {**single, **runs, BEFORE: (study.run_id,)})


def _all_runs(study: StudyRecord) -> list[str]:
    runs = [study.run_id]
    for arm in study.arms:
        runs += [arm.run_id, *(trial.run_id for trial in arm.trials), *(again.run_id for again in arm.retrains)]
    return runs

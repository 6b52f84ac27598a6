"""Ray Tune asks an arm's search: its searcher what runs next, scheduler and stopper what stops; a callback tells ends.

Ray Tune keeps snapshots of its own, which nothing here reads: after a kill everything comes from the ledger. So what it
pickles of these classes is empty: a search holds a lock, a thread and a terminal.
"""

from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.search.arm_search import ArmSearch
from study.trials.failures import cause_of, reason_of
from study.trials.worker import REPORT


class LedgerSearcher(Searcher):
    """Gives Ray Tune the next trial; an attempt at a trial is what Ray Tune calls a trial."""

    def __init__(self, search: ArmSearch) -> None:
        super().__init__()
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give the configuration of an attempt, None where none is to start now, or that all is over."""
        trial = self._search.next_trial(trial_id)
        if trial is not None:
            return {"trial_id": trial.trial_id, "sample": dict(trial.sample), "seed": trial.seed}
        over = self._search.idle and (self._search.halted or not self._search.work_left())
        return Searcher.FINISHED if over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: the callback hears of it, with its reason."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the ledger has it."""


class LedgerScheduler(FIFOScheduler):
    """Records every epoch and stops the attempts that are to stop."""

    def __init__(self, search: ArmSearch) -> None:
        super().__init__()
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record the epochs of a report; say whether the attempt goes on."""
        node = str(result.get("node_ip", ""))
        stops = [self._search.reported(trial.trial_id, int(e["epoch"]), e["metrics"], node) for e in result[REPORT]]
        return str(TrialScheduler.STOP if any(stops) else TrialScheduler.CONTINUE)


class LedgerStopper(tune.Stopper):
    """Stops all attempts when the time of the round is over."""

    def __init__(self, search: ArmSearch) -> None:
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no single attempt: the scheduler does."""
        return False

    def stop_all(self) -> bool:
        """Whether all attempts are to stop at once."""
        return self._search.over


class LedgerCallback(tune.Callback):
    """Hands the ends of attempts to the search."""

    def __init__(self, search: ArmSearch) -> None:
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt returned, or was told to stop."""
        self._search.returned(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """An attempt raised, or its worker died."""
        error = error_of(trial)
        self._search.raised(trial.trial_id, cause_of(error), reason_of(error))


def error_of(trial: Any) -> BaseException | None:
    """Give what an attempt raised; Ray keeps it in a file of its own, which `trial.get_error` finds only later."""
    try:
        error: BaseException = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    except Exception:  # the file is missing, or its exception needs a package that is not here
        return None

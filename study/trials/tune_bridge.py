"""Connects Ray Tune to the search of an arm.

The searcher returns the next trial, the scheduler and the stopper stop trials, and the callback reports their ends.

Ray Tune writes snapshots of its own, which are not used: after a restart everything is read from the ledger. The
pickled state of these classes is empty, because a search holds a lock, a thread and a terminal, which cannot be
pickled.
"""

from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.trials.arm_search import ArmSearch
from study.trials.failures import cause_of, reason_of
from study.trials.worker import REPORT


class LedgerSearcher(Searcher):
    """Returns the next trial to Ray Tune. A Ray Tune trial is an attempt at a trial of the study."""

    def __init__(self, search: ArmSearch) -> None:
        super().__init__()
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of an attempt, None where none can start now, or FINISHED where all is over."""
        trial = self._search.next_trial(trial_id)
        if trial is not None:
            return {"trial_id": trial.trial_id, "sample": dict(trial.sample), "seed": trial.seed}
        over = self._search.idle and (self._search.halted or not self._search.work_left())
        return Searcher.FINISHED if over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `LedgerCallback` handles the end, with its reason."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: the state is in the ledger."""


class LedgerScheduler(FIFOScheduler):
    """Records every epoch and stops attempts as the search decides."""

    def __init__(self, search: ArmSearch) -> None:
        super().__init__()
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record the epochs of a report and return CONTINUE or STOP."""
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
        """Return False: single attempts are stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Return whether all attempts must stop now."""
        return self._search.over


class LedgerCallback(tune.Callback):
    """Reports the ends of attempts to the search."""

    def __init__(self, search: ArmSearch) -> None:
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report an attempt that returned or was stopped."""
        self._search.returned(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Report an attempt that raised an exception or whose worker died."""
        error = error_of(trial)
        self._search.raised(trial.trial_id, cause_of(error), reason_of(error))


def error_of(trial: Any) -> BaseException | None:
    """Return the exception of an attempt, None where it cannot be read.

    It is read from Ray's file, because `trial.get_error` returns it only later.
    """
    try:
        error: BaseException = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    except Exception:  # the file is missing, or the exception needs a package that is not installed here
        return None

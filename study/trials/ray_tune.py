"""Runs one round of trainings with Ray Tune, as `study.trials.scheduling` decides.

The searcher returns the next trial, the scheduler and the stopper stop trials, and the callback reports their ends.

Ray Tune writes snapshots of its own, which are not used: after a restart everything is read from the ledger. The
pickled state of these classes is empty, because a search holds a lock, a thread and a terminal, which cannot be
pickled.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from jointnet.errors import DISK_FULL
from jointnet.system.versions import versions
from study.machines.fit_node import COMPARED, UnfitNodeError
from study.plan.plan import Resources
from study.store_names import TIME_BUDGET
from study.trials.file_keeper import StaleAttemptError
from study.trials.scheduling import ArmSearch, Cause
from study.trials.trial import REPORT, ArmTask, RunTrial, run_in_worker, run_trial
from study.trials.trial_files import IN_PLACE, TrialFiles

GPU_MEMORY = ("CUDA error: out of memory", "_STATUS_ALLOC_FAILED")
"""Parts of messages of errors other than `torch.OutOfMemoryError` that mean that a GPU is out of memory: a CUDA context
or a library (cuBLAS, cuDNN) does not fit."""
NODE_GONE = ("node has died", "node was terminated", "node is dead")
"""Texts of Ray's errors of an actor whose node is gone. They have no type or field of their own."""


def run_round(
    task: ArmTask,
    search: ArmSearch,
    resources: Resources,
    storage: Path,
    seconds: float | None,
    run: RunTrial = run_trial,
    files: TrialFiles = IN_PLACE,
    follow: Callable[[], None] = lambda: None,
    nodes_may_leave: bool = False,
) -> None:
    """Run the trials of one arm, or its retrainings. Their outcomes are in the ledger.

    Args:
        task: the common input of the trials.
        search: decides which trials run and records their events.
        resources: resources of a trial. The search decides its GPUs.
        storage: absolute folder for Ray Tune's own files; deleted afterwards.
        seconds: time budget, None for no limit. A trial without a validation may exceed it.
        run: trains one trial, in a worker.
        files: gives the trials their folders.
        follow: tells the search how many trials fit on the machines now; called several times a second.
        nodes_may_leave: whether the autoscaler ends idle nodes. A worker then ends with its trial instead of staying on
            its node for the next one.
    """
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                run_in_worker, task=task, report=tune.report, run=run, files=files, versions=versions(COMPARED)
            ),
            lambda config: _bundle(resources.cpus_per_trial, config["gpus"]),
        ),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            reuse_actors=not nodes_may_leave,
            search_alg=RoundSearcher(search, follow),
            scheduler=RoundScheduler(search),
        ),
        run_config=tune.RunConfig(
            name=task.arm.replace("/", "-"),
            storage_path=str(storage),
            verbose=0,
            callbacks=[RoundCallback(search, follow)],
            stop=RoundStopper(search),
        ),
    )
    search.begin(seconds)
    try:
        tuner.fit()
    finally:
        search.close(TIME_BUDGET if search.late else None)
        shutil.rmtree(storage, ignore_errors=True)


def _bundle(cpus: float, gpus: float) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([{"CPU": cpus} | ({"GPU": gpus} if gpus else {})])


class RoundSearcher(Searcher):
    """Returns the next trial to Ray Tune. A Ray Tune trial is an attempt at a trial of the study."""

    def __init__(self, search: ArmSearch, follow: Callable[[], None]) -> None:
        super().__init__()
        self._search, self._follow = search, follow

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of an attempt, None where none can start now, or FINISHED where all is over."""
        self._follow()  # also here: Ray Tune's loop stands still while this returns None and no attempt is left
        trial = self._search.next_trial(trial_id)
        if trial is not None:
            return {
                "trial_id": trial.trial_id,
                "sample": dict(trial.sample),
                "seed": trial.seed,
                "attempt": time.monotonic_ns(),  # later attempts have larger numbers
                "gpus": self._search.gpus_of(trial_id),
            }
        finished = self._search.idle and (self._search.halted or not self._search.work_left())
        return Searcher.FINISHED if finished else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `RoundCallback` handles the end, with its reason."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Do nothing: the state is in the ledger."""


class RoundScheduler(FIFOScheduler):
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


class RoundStopper(tune.Stopper):
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
        return self._search.must_stop


class RoundCallback(tune.Callback):
    """Reports the ends of attempts to the search, and lets it follow the machines."""

    def __init__(self, search: ArmSearch, follow: Callable[[], None]) -> None:
        self._search, self._follow = search, follow

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the machines."""
        self._follow()

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


def cause_of(error: BaseException | None) -> Cause:
    """Return the cause of an attempt's exception; None stands for an attempt that ended without an exception."""
    cause = _unwrapped(error)
    if isinstance(cause, OSError) and cause.errno in DISK_FULL:
        return Cause.DISK
    if isinstance(cause, UnfitNodeError):
        return Cause.NODE
    gone = isinstance(cause, ray.exceptions.RayError) and any(each in str(cause) for each in NODE_GONE)
    if gone or isinstance(cause, ray.exceptions.ActorUnavailableError):  # before Ray notices that the node is gone
        return Cause.LOST
    text = str(cause) if isinstance(cause, RuntimeError) else ""
    if isinstance(cause, torch.OutOfMemoryError) or any(each in text for each in GPU_MEMORY):
        return Cause.GPU_MEMORY
    if isinstance(cause, MemoryError | ray.exceptions.OutOfMemoryError) or "can't allocate memory" in text:
        return Cause.MEMORY
    machine = (OSError, ray.exceptions.RayError, StaleAttemptError)
    if cause is None or isinstance(cause, machine) or "CUDA error" in text:
        return Cause.MACHINE
    return Cause.TRAINING


def reason_of(error: BaseException | None) -> str:
    """Return one line about the exception that ended an attempt, without the exception that Ray wraps around it."""
    cause = _unwrapped(error)
    if cause is None:
        return "it ended without an error message"
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}"[:1000]


def _unwrapped(error: BaseException | None) -> BaseException | None:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error

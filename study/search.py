"""The search of one arm: Ray Tune runs trials, Optuna's TPE draws their samples, ASHA ends the poor ones early."""

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with verbose=0: silent, so that the progress is ours
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl+C is to raise here, not to look like a finished search
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from study.plan import Resources
from study.recorder import ArmRecorder
from study.space import Parameter, SearchSpace
from study.store_layout import INTERRUPTED, TIME_BUDGET
from study.trial import ArmTask
from study.worker import trainable

STARTUP_TRIALS = 5
"""Trials that TPE draws at random before it models anything."""


def search_arm(
    task: ArmTask,
    space: SearchSpace,
    resources: Resources,
    recorder: ArmRecorder,
    storage: Path,
    seconds: float | None,
) -> None:
    """Search one arm; the recorder holds what became of its trials.

    Args:
        task: what the trials share.
        space: what is drawn, and with what fidelity and budget.
        resources: of a trial, and how many run at once.
        recorder: told of every start, epoch and end.
        storage: absolute folder of Ray Tune's own state.
        seconds: time budget; None for no limit.
    """
    model = task.settings.model.name
    sampler = optuna.samplers.TPESampler(
        seed=task.seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, task=task),
            {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            num_samples=space.budget.num_samples,
            max_concurrent_trials=resources.concurrent,
            time_budget_s=seconds,
            reuse_actors=True,
            search_alg=OptunaSearch(
                distributions(space.parameters_of(model)), metric="objective", mode="min", sampler=sampler
            ),
            scheduler=ASHAScheduler(
                time_attr="epoch",
                metric="objective",
                mode="min",
                max_t=space.fidelity.max_epochs,
                grace_period=space.fidelity.grace_epochs,
                reduction_factor=space.fidelity.reduction_factor,
            ),
        ),
        run_config=tune.RunConfig(
            name=task.arm, storage_path=str(storage), verbose=0, callbacks=[_RecordingCallback(recorder)]
        ),
    )
    began = time.monotonic()
    try:
        tuner.fit()
    finally:
        recorder.close(closing_reason(time.monotonic() - began, seconds))


def closing_reason(elapsed_seconds: float, budget_seconds: float | None) -> str:
    """Say why trials that still run when Ray Tune returns did not end by themselves."""
    over = budget_seconds is not None and elapsed_seconds >= budget_seconds
    return TIME_BUDGET if over else INTERRUPTED


def distributions(parameters: tuple[Parameter, ...]) -> dict[str, optuna.distributions.BaseDistribution]:
    """Give Optuna's distributions of the parameters."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for parameter in parameters:
        log = parameter.scale == "log"
        if parameter.whole:
            found[parameter.name] = optuna.distributions.IntDistribution(
                int(parameter.low), int(parameter.high), log=log
            )
        else:
            found[parameter.name] = optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=log)
    return found


class _RecordingCallback(tune.Callback):
    """Hands Ray Tune's events to a recorder. Raising here would end the search, and the recorder never raises."""

    def __init__(self, recorder: ArmRecorder | None) -> None:
        self._recorder = recorder

    def __getstate__(self) -> dict[str, Any]:
        """Leave the recorder out of Ray's snapshots: it holds a connection and a terminal."""
        return {"_recorder": None}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._recorder:
            self._recorder.started(trial.trial_id, trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self._recorder and "node_ip" in result:
            self._recorder.placed(trial.trial_id, str(result["node_ip"]))
        for epoch in result.get("epochs", ()):
            if self._recorder:
                own = (
                    (result["objective"], int(result["best_epoch"])) if epoch["epoch"] == result["epoch"] else (None, 0)
                )
                self._recorder.reported(trial.trial_id, int(epoch["epoch"]), epoch["metrics"], *own)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._recorder:
            self._recorder.ended(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._recorder:
            self._recorder.failed(trial.trial_id, reason_of(_error_of(trial)))


def _error_of(trial: Any) -> BaseException | None:
    """Give what a trial raised; Ray keeps it in a file of its own, which `trial.get_error` finds only later."""
    try:
        error: BaseException = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    except Exception:  # the file is missing, or its exception needs a package that is not here
        return None


def reason_of(error: BaseException | None) -> str:
    """Give one line for the exception that ended a trial, without Ray's wrapping around it."""
    cause = getattr(error, "cause", None) or error
    if cause is None:
        return "ended without a word"
    text = " ".join(str(cause).split())
    return f"{type(cause).__name__}: {text}"[:1000]

"""Trials as Optuna's: for its samplers, and for optuna-dashboard."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.search.outcome import TrialOutcome
from study.search.space import Parameter
from study.store_address import sqlite_address


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the parameters, by name."""
    by_name: dict[str, BaseDistribution] = {}
    for parameter in parameters:
        log = parameter.scale == "log"
        if parameter.whole:
            low, high = int(parameter.low), int(parameter.high)
            by_name[parameter.name] = optuna.distributions.IntDistribution(low, high, log=log)
        else:
            by_name[parameter.name] = optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=log)
    return by_name


def optuna_trials(
    parameters: Sequence[Parameter], outcomes: Iterable[TrialOutcome], unfinished: TrialState
) -> list[FrozenTrial]:
    """Convert outcomes to Optuna trials. Their intermediate values are the best objective so far after each epoch.

    A trial that trained all its epochs is COMPLETE. A trial stopped by early stopping or the time budget is PRUNED. A
    failed trial, or a complete one without an objective, is FAIL. A trial that is not over is `unfinished`.
    """
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    by_name = distributions(parameters)
    trials = []
    for outcome in outcomes:
        state = states.get(outcome.state, unfinished)
        if state == TrialState.COMPLETE and outcome.objective is None:
            state = TrialState.FAIL
        trials.append(
            optuna.trial.create_trial(
                state=state,
                value=outcome.objective if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                params=dict(outcome.sample),
                distributions=by_name,
                intermediate_values=outcome.history,
                user_attrs={"trial.id": outcome.trial_id, "reason": outcome.reason},
            )
        )
    return trials


def write_optuna_file(path: Path, arms: Mapping[str, tuple[Sequence[Parameter], Iterable[TrialOutcome]]]) -> None:
    """Write an SQLite file for optuna-dashboard, with one Optuna study per arm. An older file is replaced atomically.

    The user attribute `trial.id` is the id of a trial. Optuna's own numbers start at 0, so its trial 1 is `t0002`. They
    are not changed, because Optuna's plots use them as indices. A trial that is not over is WAITING, because no process
    may be running it when the file is read.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*part*"):  # temporary files and SQLite journals of a killed driver
        left.unlink(missing_ok=True)
    address = sqlite_address(part).replace("{", "{{").replace("}", "}}")  # Optuna calls str.format on the address
    storage = optuna.storages.RDBStorage(address)
    try:
        for arm, (parameters, outcomes) in arms.items():
            study = optuna.create_study(study_name=arm, storage=storage, direction="minimize")
            study.add_trials(optuna_trials(parameters, outcomes, TrialState.WAITING))
        storage.remove_session()
        storage.engine.dispose()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

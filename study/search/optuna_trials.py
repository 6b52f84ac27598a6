"""Conversion of trials to Optuna's, for its samplers and for optuna-dashboard."""

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from jointnet.train.objective import Objective
from study.search.outcome import TrialOutcome
from study.search.parameters import Choices, Parameter, Range, plain
from study.store_address import sqlite_address


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the parameters, by name."""
    return {parameter.name: _distribution(parameter.domain) for parameter in parameters}


def _distribution(domain: Range | Choices) -> BaseDistribution:
    if isinstance(domain, Choices):
        return optuna.distributions.CategoricalDistribution([_encoded(value) for value in domain.values])
    log = domain.scale == "log"
    if domain.whole:
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high), log, int(domain.step or 1))
    return optuna.distributions.FloatDistribution(domain.low, domain.high, log, domain.step)


def as_drawn(parameter: Parameter, value: Any) -> Any:
    """Return a value that Optuna suggests as the parameter's value."""
    if not isinstance(parameter.domain, Choices):
        return value
    return next(each for each in parameter.domain.values if _encoded(each) == value)


def _encoded(value: Any) -> bool | int | float | str:
    """Return a choice as Optuna takes it: a list as its JSON text."""
    return json.dumps(plain(value)) if isinstance(value, list | tuple) else value


def optuna_trials(
    parameters: Sequence[Parameter], outcomes: Iterable[TrialOutcome], unfinished: TrialState
) -> list[FrozenTrial]:
    """Convert outcomes to Optuna trials. Their intermediate values are the best objective so far after each epoch.

    An objective of several metrics gives a trial several values and, as in Optuna, no intermediate ones.

    A trial that trained all its epochs is COMPLETE. A trial stopped by early stopping or the time budget is PRUNED. A
    failed trial, or a complete one without an objective, is FAIL. A trial that is not over is `unfinished`.
    """
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    by_name = distributions(parameters)
    trials = []
    for outcome in outcomes:
        state = states.get(outcome.state, unfinished)
        if state == TrialState.COMPLETE and outcome.values is None:
            state = TrialState.FAIL
        trials.append(
            optuna.trial.create_trial(
                state=state,
                values=outcome.values if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                params={name: _encoded(value) for name, value in outcome.sample.items()},
                distributions={name: by_name[name] for name in outcome.sample},
                intermediate_values={} if outcome.ranked_by.further else outcome.history,
                user_attrs={"trial.id": outcome.trial_id, "reason": outcome.reason},
            )
        )
    return trials


def write_optuna_file(
    path: Path, arms: Mapping[str, tuple[Sequence[Parameter], Iterable[TrialOutcome]]], objective: Objective
) -> None:
    """Write an SQLite file for optuna-dashboard, with one Optuna study per arm. An older file is replaced atomically.

    The objectives have the names of their metrics. The user attribute `trial.id` is the id of a trial. Optuna's own
    numbers start at 0, so its trial 1 is `t0002`. They are not changed, because Optuna's plots use them as indices. A
    trial that is not over is WAITING, because no process may be running it when the file is read.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    for left in path.parent.glob(f".{path.name}.*part*"):  # temporary files and SQLite journals of a killed driver
        left.unlink(missing_ok=True)
    address = sqlite_address(part).replace("{", "{{").replace("}", "}}")  # Optuna calls str.format on the address
    storage = optuna.storages.RDBStorage(address)
    try:
        for arm, (parameters, outcomes) in arms.items():
            directions = [each.direction for each in objective.all]
            study = optuna.create_study(study_name=arm, storage=storage, directions=directions)
            with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
                study.set_metric_names([each.metric for each in objective.all])
            known = tuple(outcomes)
            trials = optuna_trials(parameters, known, TrialState.WAITING)
            for trial, outcome in zip(trials, known, strict=True):
                if trial.state.is_finished() and outcome.began_ms is not None and outcome.until_ms is not None:
                    trial.datetime_start = datetime.fromtimestamp(outcome.began_ms / 1000)
                    trial.datetime_complete = datetime.fromtimestamp(outcome.until_ms / 1000)
            study.add_trials(trials)
        storage.remove_session()
        storage.engine.dispose()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""Samples suggested by Optuna's TPE, as a function of the seed, the trial's number and the other trials' outcomes.

The sampler has no other state, so the same trial is suggested after a restart.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.plan.search_space import Parameter
from study.store_address import sqlite_address
from study.trials.outcome import TrialOutcome

STARTUP_TRIALS = 5
"""Number of trials that TPE draws at random before it fits its model."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Suggester:
    """Suggests the trials of an arm. Outcomes converted to Optuna trials are cached.

    Args:
        parameters: the searched parameters.
        seed: seed of the study.
    """

    def __init__(self, parameters: Sequence[Parameter], seed: int) -> None:
        self._parameters, self._seed = tuple(parameters), seed
        self._distributions = distributions(self._parameters)
        self._said: dict[str, tuple[TrialOutcome, _Said]] = {}

    def suggest(self, outcomes: Iterable[TrialOutcome], number: int) -> Mapping[str, Any]:
        """Return the sample of a trial.

        Args:
            outcomes: outcomes of the arm's other trials. Those that are not over count as running.
            number: number of the trial, from 1.
        """
        own = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        sampler = _Sampler(self._distributions, own)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(sampler=sampler, direction="minimize", storage=storage, study_name="arm")
        place = storage.get_study_id_from_name(study.study_name)
        for outcome in outcomes:
            storage.create_new_trial(place, self._in_optunas_words(outcome))
        return dict(study.ask(self._distributions).params)

    def _in_optunas_words(self, outcome: TrialOutcome) -> FrozenTrial:
        known, said = self._said.get(outcome.trial_id, (None, None))
        if known is outcome and said is not None:  # outcomes are immutable, so the cached trial is still valid
            return said
        (trial,) = optuna_trials(self._parameters, [outcome], TrialState.RUNNING)
        said = _Said(trial)
        self._said[outcome.trial_id] = outcome, said
        return said


def suggest(
    parameters: Sequence[Parameter], outcomes: Iterable[TrialOutcome], number: int, seed: int
) -> Mapping[str, Any]:
    """Return the sample of a trial, computed from these outcomes alone; see `Suggester`."""
    return Suggester(parameters, seed).suggest(outcomes, number)


class _Sampler(optuna.samplers.TPESampler):
    """TPE for parameters that are the same in every trial. This saves the comparison of all trials' parameters.

    Args:
        space: distributions of all parameters.
        seed: seed of this suggestion.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
        self._space = dict(sorted((name, each) for name, each in space.items() if not each.single()))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all parameters once a trial is complete or pruned, else none, as TPE's own method does."""
        over = (TrialState.COMPLETE, TrialState.PRUNED)
        return self._space if any(each.state in over for each in study.get_trials(deepcopy=False)) else {}


class _Said(FrozenTrial):
    """A trial whose deep copy is a shallow one, which is faster. The storage only reads its contents."""

    def __init__(self, trial: FrozenTrial) -> None:
        self.__dict__.update(trial.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Said":
        return _Said(self)


def optuna_trials(
    parameters: Sequence[Parameter], outcomes: Iterable[TrialOutcome], unfinished: TrialState
) -> list[FrozenTrial]:
    """Convert outcomes to Optuna trials. Their intermediate values are the best objective so far after each epoch.

    A trial that trained all its epochs is COMPLETE. A trial stopped by early stopping or the time budget is PRUNED. A
    failed trial, or a complete one without an objective, is FAIL. A trial that is not over is `unfinished`.
    """
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    known = distributions(parameters)
    found = []
    for outcome in outcomes:
        state = states.get(outcome.state, unfinished)
        if state == TrialState.COMPLETE and outcome.objective is None:
            state = TrialState.FAIL
        found.append(
            optuna.trial.create_trial(
                state=state,
                value=outcome.objective if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                params=dict(outcome.sample),
                distributions=known,
                intermediate_values=outcome.history,
                user_attrs={"trial.id": outcome.trial_id, "reason": outcome.reason},
            )
        )
    return found


def export(path: Path, arms: Mapping[str, tuple[Sequence[Parameter], Iterable[TrialOutcome]]]) -> None:
    """Write an SQLite file for optuna-dashboard, with one Optuna study per arm. An older file is replaced atomically.

    A trial that is not over is WAITING, because no process may be running it when the file is read.
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


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the parameters, by name."""
    found: dict[str, BaseDistribution] = {}
    for parameter in parameters:
        log = parameter.scale == "log"
        if parameter.whole:
            found[parameter.name] = optuna.distributions.IntDistribution(
                int(parameter.low), int(parameter.high), log=log
            )
        else:
            found[parameter.name] = optuna.distributions.FloatDistribution(parameter.low, parameter.high, log=log)
    return found

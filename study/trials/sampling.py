"""Which training is drawn next: a sample from Optuna's TPE, or a retraining of the winner with a new seed.

The trials of a search and the retrainings of its winner differ in the number of trainings, in their content, and in
whether early stopping applies. Scheduling, training and recording are the same for both.

A sample depends on the seed, the trial's number and the other trials' outcomes only, so the same trial is drawn after a
restart. `write_optuna_file` writes the trials of a study for optuna-dashboard.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.plan.plan import Arm, Plan
from study.plan.search_space import Fidelity, Parameter
from study.store_address import sqlite_address
from study.trials.outcome import TrialOutcome, trial_name

STARTUP_TRIALS = 5
"""Number of trials that TPE draws at random before it fits its model."""
SEED_BITS = 31
_RETRAIN = 1
"""Spawn key, applied to the study's seed, of the generator of retraining seeds."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Drawn:
    """A training to start: its id in the arm, its sample, and its seed (None: the study's)."""

    trial_id: str
    sample: Mapping[str, Any]
    seed: int | None = None


@dataclass(frozen=True)
class SearchWork:
    """The trials of a search.

    Attributes:
        key: key of the arm in the ledger.
        parameters: the searched parameters.
        fidelity: epochs and early stopping.
        most: number of trials; None for as many as the time allows.
        seed: seed of the study.
        first: sample of the first trial; None draws it as the others.
    """

    key: str
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity
    most: int | None
    seed: int
    first: Mapping[str, float] | None = None

    def draw(self, number: int, others: Iterable[TrialOutcome]) -> Drawn:
        """Return the training of a number, from 1, given the outcomes of the other trials."""
        if number == 1 and self.first is not None:
            return Drawn(trial_name(number), self.first)
        return Drawn(trial_name(number), self._sampler.sample(others, number))

    @cached_property
    def _sampler(self) -> "TpeSampler":
        return TpeSampler(self.parameters, self.seed)


@dataclass(frozen=True)
class RetrainWork:
    """The retrainings of an arm's selected trial: the same settings and sample, all epochs, and new seeds.

    Attributes:
        key: key of the retrainings of this winner in the ledger.
        winner: the selected trial.
        fidelity: fidelity of the search, without early stopping.
        most: number of retrainings.
        seed: seed of the study, with which the winner was tuned.
    """

    key: str
    winner: TrialOutcome
    fidelity: Fidelity
    most: int
    seed: int

    def draw(self, number: int, others: Iterable[TrialOutcome]) -> Drawn:
        """Return the retraining of a number, its seed index from 1."""
        seed = retrain_seeds(self.seed, number)[number - 1]
        return Drawn(f"{self.winner.trial_id}-s{number}", dict(self.winner.sample), seed)


Work = SearchWork | RetrainWork


def search_work(plan: Plan, arm: Arm) -> SearchWork:
    """Return the trials of an arm's search."""
    first = arm.space.first_sample_of(arm.method)
    return SearchWork(arm.key, arm.parameters, arm.space.fidelity, arm.budget.num_samples, plan.seed, first)


def retrain_work(plan: Plan, arm: Arm, winner: TrialOutcome) -> RetrainWork:
    """Return the retrainings of an arm's winner. `grace_epochs` equals `max_epochs`, which disables early stopping."""
    fidelity = replace(arm.space.fidelity, grace_epochs=arm.space.fidelity.max_epochs)
    return RetrainWork(f"{retrain_prefix(arm)}{winner.trial_id}", winner, fidelity, plan.design.seeds, plan.seed)


def retrain_prefix(arm: Arm) -> str:
    """Return the prefix of an arm's retrainings in the ledger's keys. The id of the winner follows it."""
    return f"{arm.key}/retrain/"


def retrain_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Return the first `count` retraining seeds. They differ from each other and from the study's seed, used in tuning.

    They are drawn from the study's seed and are the same in every arm and fold. A larger `count` only appends seeds.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_RETRAIN,)))
    seeds: list[int] = []
    while len(seeds) < count:
        drawn = int(generator.integers(2**SEED_BITS))
        if drawn != seed and drawn not in seeds:
            seeds.append(drawn)
    return tuple(seeds)


class TpeSampler:
    """Draws the samples of an arm's trials with Optuna's TPE. Outcomes converted to Optuna trials are cached.

    Args:
        parameters: the searched parameters.
        seed: seed of the study.
    """

    def __init__(self, parameters: Sequence[Parameter], seed: int) -> None:
        self._parameters, self._seed = tuple(parameters), seed
        self._distributions = distributions(self._parameters)
        self._converted: dict[str, tuple[TrialOutcome, _SharedTrial]] = {}

    def sample(self, outcomes: Iterable[TrialOutcome], number: int) -> Mapping[str, Any]:
        """Return the sample of a trial.

        Args:
            outcomes: outcomes of the arm's other trials. Those that are not over count as running.
            number: number of the trial, from 1.
        """
        own = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        sampler = _FixedSpaceSampler(self._distributions, own)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(sampler=sampler, direction="minimize", storage=storage, study_name="arm")
        study_id = storage.get_study_id_from_name(study.study_name)
        for outcome in outcomes:
            storage.create_new_trial(study_id, self._optuna_trial(outcome))
        return dict(study.ask(self._distributions).params)

    def _optuna_trial(self, outcome: TrialOutcome) -> FrozenTrial:
        before, converted = self._converted.get(outcome.trial_id, (None, None))
        if before is outcome and converted is not None:  # outcomes are immutable, so the cached trial is still valid
            return converted
        (trial,) = optuna_trials(self._parameters, [outcome], TrialState.RUNNING)
        converted = _SharedTrial(trial)
        self._converted[outcome.trial_id] = outcome, converted
        return converted


class _FixedSpaceSampler(optuna.samplers.TPESampler):
    """TPE for parameters that are the same in every trial. This saves the comparison of all trials' parameters.

    Args:
        space: distributions of all parameters.
        seed: seed of this sample.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], seed: int) -> None:
        super().__init__(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
        self._space = dict(sorted((name, each) for name, each in space.items() if not each.single()))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all parameters once a trial is complete or pruned, else none, as TPE's own method does."""
        over = (TrialState.COMPLETE, TrialState.PRUNED)
        return self._space if any(each.state in over for each in study.get_trials(deepcopy=False)) else {}


class _SharedTrial(FrozenTrial):
    """A trial whose deep copy is a shallow one, which is faster. The storage only reads its contents."""

    def __init__(self, trial: FrozenTrial) -> None:
        self.__dict__.update(trial.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_SharedTrial":
        return _SharedTrial(self)


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

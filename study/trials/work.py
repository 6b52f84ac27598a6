"""The next training: a trial of a search, or a retraining of its winner with a new seed.

The trials of a search and the retrainings of its winner differ in the number of trainings, in their content, and in
whether early stopping applies. Scheduling, training and recording are the same for both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.plan.plan import Arm, Plan
from study.search.outcome import TrialOutcome, trial_name
from study.search.parameters import Parameter
from study.search.sampling import Sampler
from study.search.space import Fidelity, Search

SEED_BITS = 31
_RETRAIN = 1
"""Spawn key, applied to the study's seed, of the generator of retraining seeds."""


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
        search: the sampler and the scheduler.
        first: samples of the first trials, which are not drawn.
        objective: the metric that ranks the trials.
    """

    key: str
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity
    most: int | None
    seed: int
    search: Search = field(default_factory=Search)
    first: tuple[Mapping[str, Any], ...] = ()
    objective: Objective = REGISTRATION_RATIO

    def draw(self, number: int, others: Iterable[TrialOutcome]) -> Drawn:
        """Return the training of a number, from 1, given the outcomes of the other trials."""
        if number <= len(self.first):
            return Drawn(trial_name(number), self.first[number - 1])
        return Drawn(trial_name(number), self._sampler.sample(others, number))

    @property
    def scheduler(self) -> str:
        """The name of the rule by which a trial is pruned."""
        return self.search.scheduler

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(self.parameters, self.search, self.seed, self.objective)


@dataclass(frozen=True)
class RetrainWork:
    """The retrainings of an arm's selected trial: the same settings and sample, all epochs, and new seeds.

    Attributes:
        key: key of the retrainings of this winner in the ledger.
        winner: the selected trial.
        fidelity: fidelity of the search. No retraining is pruned.
        most: number of retrainings.
        seed: seed of the study, with which the winner was tuned.
    """

    key: str
    winner: TrialOutcome
    fidelity: Fidelity
    most: int
    seed: int

    @property
    def scheduler(self) -> str:
        """The name of the rule by which a retraining is pruned."""
        return "none"

    def draw(self, number: int, others: Iterable[TrialOutcome]) -> Drawn:
        """Return the retraining of a number, its seed index from 1."""
        seed = retrain_seeds(self.seed, number)[number - 1]
        return Drawn(f"{self.winner.trial_id}-s{number}", dict(self.winner.sample), seed)


Work = SearchWork | RetrainWork


def search_work(plan: Plan, arm: Arm) -> SearchWork:
    """Return the trials of an arm's search."""
    space, most = arm.space, arm.budget.num_samples
    return SearchWork(
        arm.key, arm.parameters, space.fidelity, most, plan.seed, space.search, arm.first_samples, space.objective
    )


def retrain_work(plan: Plan, arm: Arm, winner: TrialOutcome) -> RetrainWork:
    """Return the retrainings of an arm's winner."""
    return RetrainWork(
        f"{retrain_prefix(arm)}{winner.trial_id}", winner, arm.space.fidelity, plan.design.seeds, plan.seed
    )


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

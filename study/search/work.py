"""What is trained in an arm: the trials of its search, or its winner again with fresh seeds. Pure values.

Both are decided on, run, recorded and resumed by the same machinery (`study.search.arm_search`); they differ in how
many there are, in what each one is, and in whether early stopping applies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from study.planning.plan import Arm, Plan
from study.question.space import Fidelity, Parameter
from study.trials.outcome import TrialOutcome, trial_name
from study.trials.suggestion import Suggester

SEED_BITS = 31
_RETRAIN = 1
"""Branch of the study's seed that the seeds of retrainings are drawn from."""


@dataclass(frozen=True)
class Drawn:
    """A training to be begun: its id in the arm, what was drawn for it, and its own seed (None: the study's)."""

    trial_id: str
    sample: Mapping[str, Any]
    seed: int | None = None


@dataclass(frozen=True)
class SearchWork:
    """The trials of a search.

    Attributes:
        key: of the arm in the ledger.
        parameters: what is drawn.
        fidelity: epochs and early stopping.
        most: trials; None for as many as the time allows.
        seed: of the study.
    """

    key: str
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity
    most: int | None
    seed: int

    def draw(self, number: int, known: Iterable[TrialOutcome]) -> Drawn:
        """Give the training of a number, from 1, where these are known."""
        return Drawn(trial_name(number), self._suggester.suggest(known, number))

    @cached_property
    def _suggester(self) -> Suggester:
        return Suggester(self.parameters, self.seed)


@dataclass(frozen=True)
class RetrainWork:
    """The selected trial of an arm again: the same settings and sample, all epochs, and seeds of its own.

    Attributes:
        key: of the retrainings of this winner in the ledger.
        winner: the selected trial.
        fidelity: of the search, without early stopping.
        most: retrainings.
        seed: of the study, which the winner was tuned with.
    """

    key: str
    winner: TrialOutcome
    fidelity: Fidelity
    most: int
    seed: int

    def draw(self, number: int, known: Iterable[TrialOutcome]) -> Drawn:
        """Give the training of a number, which is its seed index from 1."""
        return Drawn(
            f"{self.winner.trial_id}-s{number}", dict(self.winner.sample), retrain_seeds(self.seed, number)[number - 1]
        )


Work = SearchWork | RetrainWork


def search_work(plan: Plan, arm: Arm) -> SearchWork:
    """Give the trials of an arm's search."""
    space = arm.space
    return SearchWork(arm.key, space.parameters_of(arm.model), space.fidelity, space.budget.num_samples, plan.seed)


def retrain_work(plan: Plan, arm: Arm, winner: TrialOutcome) -> RetrainWork:
    """Give the retrainings of an arm's winner; where grace lasts as long as a trial, early stopping never applies."""
    fidelity = replace(arm.space.fidelity, grace_epochs=arm.space.fidelity.max_epochs)
    return RetrainWork(f"{retrain_prefix(arm)}{winner.trial_id}", winner, fidelity, plan.design.seeds, plan.seed)


def retrain_prefix(arm: Arm) -> str:
    """Give what the ledger's keys of all retrainings of an arm begin with; the id of the winner follows."""
    return f"{arm.key}/retrain/"


def retrain_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Give the first seeds to retrain with: all different, none of them the study's own, which tuned the trials.

    They are drawn from the study's seed, the same in every arm and fold; more of them begin with the fewer.
    """
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_RETRAIN,)))
    found: list[int] = []
    while len(found) < count:
        drawn = int(generator.integers(2**SEED_BITS))
        if drawn != seed and drawn not in found:
            found.append(drawn)
    return tuple(found)

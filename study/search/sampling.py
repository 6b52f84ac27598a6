"""Drawing of a trial's sample by Optuna's samplers, given the trials so far.

A sample depends on the seed, the trial's number and the other trials' samples and outcomes only, so the same trial is
drawn after a restart. No sampler keeps anything between two samples. Those whose suggestion depends on their own
earlier ones, CMA-ES and quasi-random numbers, are replayed: they suggest every trial anew, in order.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.search.grid import Grid
from study.search.optuna_trials import as_drawn, distributions, optuna_trials
from study.search.outcome import TrialOutcome
from study.search.parameters import Parameter, in_order
from study.search.samplers import GRID, REPLAYED, make_sampler
from study.search.space import Search

optuna.logging.set_verbosity(optuna.logging.ERROR)
OVER = (TrialState.COMPLETE, TrialState.PRUNED)


class Sampler:
    """Draws the samples of an arm's trials. Outcomes converted to Optuna trials are cached.

    Args:
        parameters: the searched parameters.
        search: the sampler and its options.
        seed: seed of the study.
        objective: the metric that ranks the trials, and further ones that a sampler also follows.
    """

    def __init__(
        self, parameters: Sequence[Parameter], search: Search, seed: int, objective: Objective = REGISTRATION_RATIO
    ) -> None:
        self._objective = objective
        self._parameters, self._search, self._seed = in_order(parameters), search, seed
        self._distributions = distributions(self._parameters)
        self._conditions = any(parameter.when for parameter in self._parameters)
        self._converted: dict[str, tuple[TrialOutcome, _SharedTrial]] = {}
        self._grid = Grid(self._parameters, seed) if search.sampler == GRID else None

    def sample(self, outcomes: Iterable[TrialOutcome], number: int) -> Mapping[str, Any]:
        """Return the sample of a trial.

        Args:
            outcomes: outcomes of the arm's other trials. Those that are not over count as running.
            number: number of the trial, from 1.

        Raises:
            ValueError: every point of the grid was drawn.
        """
        if self._grid is not None:
            return self._grid.next_point(outcome.sample for outcome in outcomes)
        if self._search.sampler in REPLAYED:
            return self._replayed(sorted(outcomes, key=lambda outcome: outcome.number))
        own = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        study, storage = self._study(own)
        study_id = storage.get_study_id_from_name(study.study_name)
        for outcome in outcomes:
            storage.create_new_trial(study_id, self._optuna_trial(outcome))
        return self._suggested(study.ask())

    def _replayed(self, outcomes: Sequence[TrialOutcome]) -> Mapping[str, Any]:
        """Return the sample of the next trial, after the sampler has suggested those before it in their order."""
        study, _ = self._study(self._seed % 2**32)
        for trial in optuna_trials(self._parameters, outcomes, TrialState.RUNNING):
            asked = study.ask()
            self._suggested(asked)
            study.tell(asked, state=TrialState.FAIL)  # what the trial has was suggested with fewer outcomes
            trial.system_attrs = dict(study.get_trials(deepcopy=False)[asked.number].system_attrs)
            study.add_trial(trial)
        return self._suggested(study.ask())

    def _study(self, seed: int) -> tuple[optuna.Study, optuna.storages.InMemoryStorage]:
        """Return a new study with the sampler."""
        groups = {"group": True} if self._conditions and self._search.sampler == "tpe" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = make_sampler(self._search, seed, **groups)
        if not self._conditions:
            _fix_space(sampler, self._distributions, from_first=self._search.sampler == "qmc")
        storage = optuna.storages.InMemoryStorage()
        directions = [each.direction for each in self._objective.all]
        study = optuna.create_study(sampler=sampler, directions=directions, storage=storage, study_name="arm")
        return study, storage

    def _suggested(self, trial: optuna.Trial) -> Mapping[str, Any]:
        """Return the values that a trial suggests. Those of a condition that does not hold are left out."""
        sample = dict[str, Any]()
        for parameter in self._parameters:
            if parameter.is_drawn(sample):
                value = _suggested(trial, parameter.name, self._distributions[parameter.name])
                sample[parameter.name] = as_drawn(parameter, value)
        return sample

    def _optuna_trial(self, outcome: TrialOutcome) -> FrozenTrial:
        before, converted = self._converted.get(outcome.trial_id, (None, None))
        if before is outcome and converted is not None:  # outcomes are immutable, so the cached trial is still valid
            return converted
        (trial,) = optuna_trials(self._parameters, [outcome], TrialState.RUNNING)
        converted = _SharedTrial(trial)
        self._converted[outcome.trial_id] = outcome, converted
        return converted


def _suggested(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    bounds = {"step": distribution.step, "log": distribution.log}
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, **bounds)
    return trial.suggest_float(name, distribution.low, distribution.high, **bounds)


def _fix_space(
    sampler: optuna.samplers.BaseSampler, space: Mapping[str, BaseDistribution], from_first: bool = False
) -> None:
    """Set the parameters that a sampler models. They are the same in every trial, so it need not compare all trials.

    As by Optuna's own rule it models none before a trial is complete or pruned, unless `from_first`.
    """
    modelled = dict(sorted((name, each) for name, each in space.items() if not each.single()))

    def infer(study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        over = from_first or any(each.state in OVER for each in study.get_trials(deepcopy=False))
        return modelled if over else {}

    sampler.infer_relative_search_space = infer


class _SharedTrial(FrozenTrial):
    """A trial whose deep copy is a shallow one, which is faster. The storage only reads its contents."""

    def __init__(self, trial: FrozenTrial) -> None:
        self.__dict__.update(trial.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_SharedTrial":
        return _SharedTrial(self)

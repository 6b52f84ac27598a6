"""How the sample of a trial is drawn: by Optuna's TPE, from the trials so far.

A sample depends on the seed, the trial's number and the other trials' outcomes only, so the same trial is drawn after a
restart.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.search.optuna_trials import distributions, optuna_trials
from study.search.outcome import TrialOutcome
from study.search.space import Parameter

STARTUP_TRIALS = 5
"""Number of trials that TPE draws at random before it fits its model."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


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

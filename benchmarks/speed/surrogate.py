"""A recorded table of results as a function of any sample: Gaussian processes, and the noise of the seed beside them.

One process for each epoch, of the logarithm of the best objective so far, over the unit cube of the parameters
(Eggensperger et al., AAAI 2015, replay searches on such surrogates). A training by the surrogate is its mean curve and
a whole residual curve of a sample that was trained with several seeds, so that the noise of one epoch goes with that of
the next. How good it is, is told by cross-validation over samples.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from results_table import best_so_far, place_of
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from study.question.space import Parameter

FOLDS = 10


@dataclass(frozen=True)
class Quality:
    """How well samples that were left out are predicted at an epoch: share of variance explained, rank correlation."""

    epoch: int
    r2: float
    spearman: float


class Surrogate:
    """What a training of any sample would give.

    Args:
        table: see `results_table.read_table`; trainings of the first seed are fitted.
        parameters: of the search.
        seed: the one that all samples were trained with.
    """

    def __init__(self, table: pd.DataFrame, parameters: Sequence[Parameter], seed: int) -> None:
        own = table[table["seed"] == seed]
        self._parameters = parameters
        self._places = np.array([place_of(parameters, row) for row in own.to_dict("records")])
        self._logs = np.log(best_so_far(own))
        self._processes = _fitted(self._places, self._logs)
        self.residuals = residual_curves(table)

    @property
    def epochs(self) -> int:
        """How many a training has."""
        return self._logs.shape[1]

    def mean(self, sample: Mapping[str, Any]) -> np.ndarray:
        """Give the best objective so far after each epoch, without noise."""
        return np.exp(_predicted(self._processes, np.array([place_of(self._parameters, sample)]))[0])

    def training(self, sample: Mapping[str, Any], generator: np.random.Generator) -> np.ndarray:
        """Give the same of one training: with the noise of a seed."""
        return np.exp(np.log(self.mean(sample)) + self.residuals[generator.integers(len(self.residuals))])

    def quality(self, epochs: Sequence[int]) -> list[Quality]:
        """Tell by cross-validation over samples how good it is at some epochs."""
        found = []
        for epoch in epochs:
            true = self._logs[:, epoch - 1]
            guess = np.zeros_like(true)
            for fit, test in KFold(FOLDS, shuffle=True, random_state=0).split(self._places):
                guess[test] = _predicted(_fitted(self._places[fit], true[fit, None]), self._places[test])[:, 0]
            r2 = 1 - float(((true - guess) ** 2).mean() / true.var())
            found.append(Quality(epoch, r2, float(spearmanr(true, guess).statistic)))
        return found


def residual_curves(table: pd.DataFrame) -> np.ndarray:
    """Give what seeds do to the log of the best objective so far (trainings of repeated samples, epochs).

    Each is a training's difference to its sample's mean, widened for the mean having been taken from as few.
    """
    found = []
    for _, trainings in table.groupby("sample"):
        if len(trainings) > 1:
            logs = np.log(best_so_far(trainings))
            found.append((logs - logs.mean(axis=0)) * np.sqrt(len(logs) / (len(logs) - 1)))
    return np.concatenate(found)


def _fitted(places: np.ndarray, logs: np.ndarray) -> list[GaussianProcessRegressor | None]:
    """Fit a process to each epoch's column, none to an epoch that was not validated."""
    found: list[GaussianProcessRegressor | None] = []
    for column in logs.T:
        kernel = ConstantKernel() * Matern([0.5] * places.shape[1], (0.1, 100.0), nu=2.5) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
        with warnings.catch_warnings(record=True):  # a length scale at its bound: the parameter does little
            found.append(None if np.isnan(column).any() else process.fit(places, column))
    return found


def _predicted(processes: Sequence[GaussianProcessRegressor | None], places: np.ndarray) -> np.ndarray:
    """Give the logs (places, epochs); a best so far never rises."""
    none = np.full(len(places), np.nan)
    logs = np.stack([none if each is None else each.predict(places) for each in processes], axis=1)
    return np.where(np.isnan(logs), np.nan, np.fmin.accumulate(logs, axis=1))

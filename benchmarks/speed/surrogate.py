"""A surrogate of a recorded table: Gaussian processes that predict the objective of any sample, and the seed's noise.

Each epoch has one process, for the logarithm of the best objective so far over the unit cube of the parameters
(Eggensperger et al., AAAI 2015, simulate searches on such surrogates). A simulated training is the mean curve plus a
whole residual curve of a sample that was trained with several seeds. So the noise of consecutive epochs is correlated
as in the table. Cross-validation over samples measures the accuracy.
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

from study.plan.search_space import Parameter

FOLDS = 10


@dataclass(frozen=True)
class Quality:
    """The accuracy at an epoch for samples that were left out: share of variance explained, and rank correlation."""

    epoch: int
    r2: float
    spearman: float


class Surrogate:
    """Predicts the training of any sample.

    Args:
        table: see `results_table.read_table`. The trainings with `seed` are fitted.
        parameters: parameters of the search.
        seed: the seed with which all samples were trained.
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
        """The number of epochs of a training."""
        return self._logs.shape[1]

    def mean(self, sample: Mapping[str, Any]) -> np.ndarray:
        """Return the best objective so far after each epoch, without noise."""
        return np.exp(_predicted(self._processes, np.array([place_of(self._parameters, sample)]))[0])

    def training(self, sample: Mapping[str, Any], generator: np.random.Generator) -> np.ndarray:
        """Return the best objective so far after each epoch of one training, with the noise of a seed."""
        return np.exp(np.log(self.mean(sample)) + self.residuals[generator.integers(len(self.residuals))])

    def quality(self, epochs: Sequence[int]) -> list[Quality]:
        """Return the accuracy at these epochs, by cross-validation over samples."""
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
    """Return the seed residuals of the log of the best objective so far (trainings of repeated samples, epochs).

    A residual is a training's difference to the mean of its n trainings, times sqrt(n / (n - 1)) to correct the bias of
    that mean.
    """
    found = []
    for _, trainings in table.groupby("sample"):
        if len(trainings) > 1:
            logs = np.log(best_so_far(trainings))
            found.append((logs - logs.mean(axis=0)) * np.sqrt(len(logs) / (len(logs) - 1)))
    return np.concatenate(found)


def _fitted(places: np.ndarray, logs: np.ndarray) -> list[GaussianProcessRegressor | None]:
    """Fit a process to each epoch's column; None for an epoch with a missing value."""
    found: list[GaussianProcessRegressor | None] = []
    for column in logs.T:
        kernel = ConstantKernel() * Matern([0.5] * places.shape[1], (0.1, 100.0), nu=2.5) + WhiteKernel(0.1)
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0)
        with warnings.catch_warnings(record=True):  # a length scale at its bound means a parameter with little effect
            found.append(None if np.isnan(column).any() else process.fit(places, column))
    return found


def _predicted(processes: Sequence[GaussianProcessRegressor | None], places: np.ndarray) -> np.ndarray:
    """Return the predicted logs (places, epochs), made non-increasing over epochs as a best objective so far is."""
    none = np.full(len(places), np.nan)
    logs = np.stack([none if each is None else each.predict(places) for each in processes], axis=1)
    return np.where(np.isnan(logs), np.nan, np.fmin.accumulate(logs, axis=1))

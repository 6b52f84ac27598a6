"""Comparison of TPE with random search on a surrogate of a recorded table. The command is `search.py`.

The compared value is the surrogate's mean, without noise, at the sample that would be selected after a number of
trials, or after a number of epochs with early stopping. Repeats are paired: the searches of a repeat begin with the
same random trials and have the same noise in the same trial.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import optuna
import torch
from figures import Figure
from replay import Draw, Sample, replay
from scipy.stats import wilcoxon
from surrogate import Surrogate

from study.plan.search_space import Fidelity, Parameter
from study.trials.outcome import TrialOutcome
from study.trials.sampling import STARTUP_TRIALS, TpeSampler, distributions, optuna_trials

COUNTS = (8, 16, 32, 64)
"""Numbers of trials after which samplers are compared."""
SHIPPED, RANDOM = "TPE", "random"
OTHERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    RANDOM: lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "TPE, 10 random first": lambda seed: optuna.samplers.TPESampler(
        seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10
    ),
    "TPE, univariate": lambda seed: optuna.samplers.TPESampler(
        seed=seed, multivariate=False, constant_liar=True, n_startup_trials=STARTUP_TRIALS
    ),
    "Gaussian process": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
}
"""Samplers to compare with the study's own."""


@dataclass(frozen=True)
class Search:
    """A search to simulate.

    Attributes:
        sampler: SHIPPED or one of OTHERS.
        fidelity: epochs and early stopping. There is none where `grace_epochs` equals `max_epochs`.
        at_once: largest number of concurrent trials.
        trials: total number of trials.
    """

    sampler: str
    fidelity: Fidelity
    at_once: int
    trials: int

    @property
    def stops(self) -> bool:
        """Return whether the search uses early stopping."""
        return self.fidelity.grace_epochs < self.fidelity.max_epochs

    def __str__(self) -> str:
        grace, factor = self.fidelity.grace_epochs, self.fidelity.reduction_factor
        stopping = f"grace {grace}, factor {factor}" if self.stops else "all epochs"
        return f"{self.sampler}, {stopping}, {self.at_once} at once"


@dataclass(frozen=True)
class Progress:
    """A simulated search at the end of each trial: total epochs so far, and noise-free value of the selected trial."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]

    def after_epochs(self, epochs: int) -> float:
        """Return the value after this many total epochs; NaN before the end of the first trial."""
        ended = sum(spent <= epochs for spent in self.epochs)
        return self.values[ended - 1] if ended else float("nan")


def drawn_by(sampler: str, parameters: Sequence[Parameter], seed: int) -> Draw:
    """Return the function that draws samples: the study's own suggestion, or another sampler with the same input."""
    if sampler == SHIPPED:
        own = TpeSampler(parameters, seed)
        return lambda number, outcomes: own.sample(outcomes, number)

    def draw(number: int, outcomes: Sequence[TrialOutcome]) -> Sample:
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        study = optuna.create_study(sampler=OTHERS[sampler](own), direction="minimize")
        study.add_trials(optuna_trials(parameters, outcomes, optuna.trial.TrialState.RUNNING))
        return dict(study.ask(distributions(parameters)).params)

    return draw


def progress_of(search: Search, repeat: int, surrogate: Surrogate, parameters: tuple[Parameter, ...]) -> Progress:
    """Simulate a search with the seed and the noise of a repeat."""
    torch.set_num_threads(1)
    over = replay(
        drawn_by(search.sampler, parameters, repeat),
        lambda number, sample: surrogate.training(sample, np.random.default_rng([repeat, number])),
        search.fidelity,
        search.trials,
        search.at_once,
        repeat,
    )
    true = {trial.trial_id: float(surrogate.mean(trial.sample)[-1]) for trial in over.trials}
    return Progress(over.epochs, tuple(true[over.selected(count).trial_id] for count in range(1, search.trials + 1)))


def replay_all(
    searches: Sequence[Search], repeats: int, surrogate: Surrogate, parameters: tuple[Parameter, ...], jobs: int
) -> dict[Search, list[Progress]]:
    """Simulate each search `repeats` times in `jobs` processes."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {
            each: [pool.submit(progress_of, each, repeat, surrogate, parameters) for repeat in range(repeats)]
            for each in searches
        }
        return {each: [future.result() for future in found] for each, found in futures.items()}


def sampler_figures(found: Mapping[Search, Sequence[Progress]]) -> list[Figure]:
    """Compare each search with random search: at equal trials, or at equal epochs with early stopping.

    A search with early stopping is also compared with the same search without it: the share of epochs that it trains,
    and the increase of the final value.
    """
    figures = []
    for search, progress in found.items():
        if search.stops:
            epochs = search.fidelity.max_epochs
            whole = found[replace(search, fidelity=replace(search.fidelity, grace_epochs=epochs))]
            shares = tuple(each.epochs[-1] / (search.trials * epochs) for each in progress)
            worse = tuple(a.values[-1] - b.values[-1] for a, b in zip(progress, whole, strict=True))
            figures.append(Figure(f"{search}, {search.trials} trials: share of epochs", shares, ""))
            figures.append(Figure(f"{search}, {search.trials} trials: less that of all epochs", worse, ""))
        random = found[replace(search, sampler=RANDOM)]
        for count in (count for count in COUNTS if count <= search.trials):
            if search.stops:
                spent = count * search.fidelity.max_epochs // 4
                name = f"{search}, after {spent} epochs"
                ours, others = ([each.after_epochs(spent) for each in kind] for kind in (progress, random))
            else:
                name = f"{search}, after {count} trials"
                ours, others = ([each.values[count - 1] for each in kind] for kind in (progress, random))
            figures.append(Figure(f"{name}: objective", tuple(ours), ""))
            if search.sampler != RANDOM:
                figures += compared(name, ours, others)
    return figures


def compared(name: str, ours: Sequence[float], random: Sequence[float]) -> list[Figure]:
    """Return a sampler's differences to random search, the repeats in which it is better or worse, and Wilcoxon's p."""
    less = np.subtract(ours, random)
    p = float(wilcoxon(less).pvalue) if less.any() else 1.0
    return [
        Figure(f"{name}: less random search's", tuple(less.tolist()), ""),
        Figure(f"{name}: repeats ahead of it", (float((less < 0).mean()),), ""),
        Figure(f"{name}: repeats behind it", (float((less > 0).mean()),), ""),
        Figure(f"{name}: Wilcoxon's p", (p,), ""),
    ]


def draw_curves(path: Path, found: Mapping[Search, Sequence[Progress]]) -> None:
    """Plot the value of the selected sample against the trained epochs: median and quartiles over repeats."""
    figure, axes = plt.subplots(figsize=(8, 5))
    for search, progress in found.items():
        most = min(each.epochs[-1] for each in progress)
        spent = np.arange(search.fidelity.max_epochs, most + 1, search.fidelity.max_epochs // 2)
        values = np.array([[each.after_epochs(int(epochs)) for epochs in spent] for each in progress])
        ended = ~np.isnan(values).all(0)  # epochs by which a trial had ended in at least one repeat
        spent, values = spent[ended], values[:, ended]
        low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=0)
        (line,) = axes.plot(spent, middle, label=str(search))
        axes.fill_between(spent, low, high, alpha=0.15, color=line.get_color())
    axes.set(xlabel="epochs trained by all trials", ylabel="noise-free objective of the selected sample", xscale="log")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)

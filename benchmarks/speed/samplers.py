"""Compare samplers on a recorded table of trainings: how far from the best a search ends after 6, 12, 24 and 48 trials.

python benchmarks/speed/samplers.py [--repeats 100]

As in HPOBench and YAHPO Gym, trainings are recorded once (`results_table.py`) and searches then train nothing. A
Gaussian process is fitted to the table; its mean stands for the true objective, and its noise for what a seed changes.
Each search draws by the study's own sampler, sees noisy objectives, and selects the trial with the lowest. Its regret
is the true objective of the selected trial less the lowest one in the space. Searches begin with the settings, as in
the study, unless the row says otherwise. Nothing runs at once and nothing is stopped early.

Printed: how well the process predicts trainings that it was not fitted to, what each parameter explains (total Sobol
indices), then a line per sampler and number of trials: the median regret, the bootstrap's 95 % interval of the median,
and the number of random trials that reach the same median.

Only the table's trainings with fully connected heads are used. Guided heads learn nothing in so few steps where the
cross-entropy has more than a quarter of the loss, so that no process can be fitted to them.
"""

import argparse
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from points import place_of, sobol_samples
from results_table import best_so_far, read_table
from scipy.stats import bootstrap, sobol_indices, uniform
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict

from jointnet.train.objective import OBJECTIVE
from study.search.file.reading import load_spaces
from study.search.outcome import EpochRecord, TrialOutcome, trial_name
from study.search.parameters import Parameter
from study.search.sampling import Sampler
from study.search.space import Search

HERE = Path(__file__).parent
COUNTS = (6, 12, 24, 48)
"""Numbers of trials after which regrets are compared."""
RANDOM: Final = "random"
HEAD = "model.head"
SLOW = ("gp", "qmc", "cmaes")
"""Samplers that take seconds for a search, and are repeated less often."""
MOST_TRIALS = {"gp": 24}
"""Trials of a search by sampler, where they are fewer than the largest of the counts."""
RANDOM_TRIALS = 192
"""Trials of a random search, of which so many are needed for the regret of another."""
WORST = 1.1
"""Objective of trainings that ended worse, or diverged. Otherwise they would decide the fit."""
GRID = 2**14
"""Points on which the best true objective is looked for."""


def searches() -> dict[str, tuple[Search, bool]]:
    """Return the compared searches by name, and whether each begins with the settings."""
    found: dict[str, tuple[Search, bool]] = {RANDOM: (Search(RANDOM), True)}
    for startup in (2, 5, 10):
        found[f"tpe, {startup} random"] = (Search("tpe", {"n_startup_trials": startup}), True)
    found["random, settings not first"] = (Search(RANDOM), False)
    found["tpe, 5 random, settings not first"] = (Search("tpe", {"n_startup_trials": 5}), False)
    return found | {
        "qmc": (Search("qmc"), True),
        "cmaes": (Search("cmaes"), True),
        "gp, 5 random": (Search("gp", {"n_startup_trials": 5}), True),
    }


def search_regrets(
    draw: Callable[[Sequence[TrialOutcome], int], Mapping[str, Any]],
    first: Sequence[Mapping[str, Any]],
    objective: Callable[[Mapping[str, Any]], float],
    noise: float,
    trials: int,
    seed: int,
) -> np.ndarray:
    """Return the true objective of the trial that a search would select after each of its trials.

    Args:
        draw: returns the sample of a trial for the other trials' outcomes and its number, from 1.
        first: samples of the first trials, which are not drawn.
        objective: the true objective of a sample.
        noise: SD of what the search sees about the true objective.
        trials: number of trials.
        seed: of the noise.
    """
    errors = np.random.default_rng([seed, 1]).normal(0, noise, trials)
    outcomes: list[TrialOutcome] = []
    true = np.empty(trials)
    for number in range(1, trials + 1):
        sample = first[number - 1] if number <= len(first) else draw(outcomes, number)
        true[number - 1] = objective(sample)
        seen = EpochRecord(1, 0, {OBJECTIVE: float(true[number - 1] + errors[number - 1])})
        outcomes.append(TrialOutcome(number, trial_name(number), sample, "complete", epochs=(seen,)))
    seen_so_far = true + errors
    return np.array([true[seen_so_far[:count].argmin()] for count in range(1, trials + 1)])


def fitted(places: np.ndarray, objectives: np.ndarray) -> GaussianProcessRegressor:
    """Return a Gaussian process with a length for each parameter, fitted to objectives at points of the unit cube."""
    lengths = np.ones(places.shape[1])
    kernel = ConstantKernel() * Matern(lengths, (0.2, 100), nu=1.5) + WhiteKernel(0.1, (0.01, 1))
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):  # a length at its bound has no effect
        return process.fit(places, objectives)


def print_quality(process: GaussianProcessRegressor, parameters: Sequence[Parameter], rows: np.ndarray) -> float:
    """Print how well the process predicts, and what each parameter explains. Return the SD of its noise.

    Args:
        process: the process.
        parameters: the parameters.
        rows: the points of the unit cube, and in the last column the objectives.
    """
    places, objectives = rows[:, :-1], rows[:, -1]
    noise = float(np.sqrt(process.kernel_.k2.noise_level) * objectives.std())
    from_here = clone(process).set_params(kernel=process.kernel_, n_restarts_optimizer=0)
    with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
        held_out = cross_val_predict(from_here, places, objectives, cv=KFold(10, shuffle=True, random_state=0))
    error = float(np.sqrt(np.mean((held_out - objectives) ** 2)))
    explained = 1 - error**2 / objectives.var()
    print(f"{len(rows)} trainings, objective {objectives.min():.3f} to {objectives.max():.3f}, ", end="")
    print(f"SD {objectives.std():.3f}, of the noise {noise:.3f}")
    print(f"left out of ten folds: error {error:.3f}, {explained:.0%} of the variance explained")
    shares = sobol_indices(
        func=lambda x: process.predict(x.T), n=1024, dists=[uniform()] * len(parameters), rng=np.random.default_rng(0)
    ).total_order
    for parameter, share in zip(parameters, shares, strict=True):
        print(f"  {parameter.name}: {share:.0%} of the variance with interactions")
    return noise


def print_regrets(
    process: GaussianProcessRegressor,
    noise: float,
    parameters: Sequence[Parameter],
    settings: Mapping[str, Any],
    repeats: tuple[int, int],
) -> None:
    """Simulate the searches and print a line for each.

    Args:
        process: its mean is the true objective.
        noise: SD of what a search sees about it.
        parameters: the searched parameters.
        settings: the sample that has the settings themselves.
        repeats: searches of each sampler, and of each slow one.
    """

    def objective(sample: Mapping[str, Any]) -> float:
        return float(process.predict([place_of(parameters, sample)])[0])

    points = [place_of(parameters, sample) for sample in sobol_samples(parameters, GRID, 0)]
    best = float(process.predict(points).min())
    counts = f"{repeats[0]} repeats, {repeats[1]} of {', '.join(SLOW)}"
    print(f"\nbest {best:.3f}, settings {objective(settings):.3f}; {counts}")
    print(f"{'regret (random trials of the same regret)':34}" + "".join(f"{count:>28}" for count in COUNTS))
    reached = np.empty(0)
    for name, (search, with_settings) in searches().items():
        trials = RANDOM_TRIALS if name == RANDOM else MOST_TRIALS.get(search.sampler, COUNTS[-1])
        regrets = []
        for seed in range(repeats[search.sampler in SLOW]):
            sampler = Sampler(parameters, search, seed)
            random = search.sampler == RANDOM  # needs no outcomes, and is faster without
            draw = (lambda _, number, of=sampler: of.sample([], number)) if random else sampler.sample
            regrets.append(search_regrets(draw, [settings] * with_settings, objective, noise, trials, seed) - best)
        medians = np.median(regrets, axis=0)
        if name == RANDOM:
            reached = medians
        cells = []
        for count in (count for count in COUNTS if count <= trials):
            own = np.array([each[count - 1] for each in regrets])
            interval = bootstrap((own,), np.median, method="percentile", rng=0).confidence_interval
            as_good = np.flatnonzero(reached <= medians[count - 1])
            needed = str(as_good[0] + 1) if len(as_good) else f">{RANDOM_TRIALS}"
            cells.append(f"{medians[count - 1]:.3f} ({interval.low:.3f}-{interval.high:.3f}) {needed:>4}")
        print(f"{name:34}" + "".join(f"{cell:>28}" for cell in cells), flush=True)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=HERE / "heads", help="folder of a recorded table")
    parser.add_argument("--search", default=str(HERE / "heads.toml"), help="search space of the table")
    parser.add_argument("--repeats", type=int, default=100, help="searches of each kind (default 100)")
    parser.add_argument("--slow", type=int, default=20, help="searches of gp, qmc and cmaes each (default 20)")
    options = parser.parse_args()
    if min(options.repeats, options.slow) < 2:
        parser.error(f"--repeats, --slow: must be at least 2, got {options.repeats}, {options.slow}")
    space = load_spaces([options.search])[0]
    (method,) = space.methods
    parameters = [p for p in space.parameters_of(method.name) if p.name != HEAD]
    (first,) = space.first_samples_of(method.name)
    table, _ = read_table(options.table)
    table = table.assign(objective=np.fmin(best_so_far(table)[:, -1], WORST))
    table = table[table[HEAD] == "fully_connected"]
    trainings = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    places = [place_of(parameters, training) for training in trainings]
    rows = np.column_stack([places, table["objective"]])
    process = fitted(rows[:, :-1], rows[:, -1])
    noise = print_quality(process, parameters, rows)
    settings = {parameter.name: first[parameter.name] for parameter in parameters}
    print_regrets(process, noise, parameters, settings, (options.repeats, options.slow))


if __name__ == "__main__":
    main()

"""Replay searches on a recorded table: what early stopping saves and loses, and TPE against random search.

python benchmarks/speed/results_table.py --out runs/results-table        # once; the trainings
python benchmarks/speed/search.py --table runs/results-table [--repeats 50] [--trials 24]

**Early stopping** on the table's own trainings: each repeat takes trials from it in a random order, and the study's
rule stops them. The share is the epochs trained over those of all trials at full budget. The regret is the objective
of the selected model, when its trial ended, less the best full-budget objective among the same trials, over the seed
spread: the SD over seeds of the best samples' full-budget objective.

**Samplers**: the study's own TPE, random search and other samplers of Optuna draw samples, and the nearest recorded
sample that the search has not had yet is trained in place of each. Every training ends. What is compared is the best
full-budget objective after some trials, less random search's in the same repeat.

The study's own functions decide. Only training and clock are simulated; epochs of trials differ in duration by a tenth.
"""

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from results_table import best_so_far, place_of, read_table
from scipy.stats import wilcoxon
from timing import Figure, create_parser, print_figures

from jointnet.train.epoch_report import OBJECTIVE
from study.search.file.reading import load_spaces
from study.search.optuna_trials import distributions, optuna_trials
from study.search.outcome import EpochRecord, TrialOutcome, trial_name
from study.search.parameters import Parameter
from study.search.pruning import Asha
from study.search.samplers import STARTUP_TRIALS
from study.search.sampling import Sampler
from study.search.space import Fidelity, Search
from study.store_names import EARLY

GOAL = 0.35
TRIALS = (6, 16, 32)
AT_ONCE = 2
SCHEDULES = ((4, 3), (2, 2), (2, 3), (2, 4))
"""Grace epochs and reduction factors in addition to those of the search space."""
SPREAD = 0.1
"""Largest relative deviation of a trial's epoch duration."""
COUNTS = (4, 8, 16, 32)
"""Numbers of trials after which samplers are compared."""
RANDOM = "random search"

Draw = Callable[[int, Sequence[TrialOutcome]], Mapping[str, Any]]
"""Returns the sample of a trial for its number, from 1, and the other trials' outcomes."""
Train = Callable[[Mapping[str, Any]], Sequence[float]]
"""Returns the objective after each epoch for a sample; NaN for epochs without a validation."""


@dataclass(frozen=True)
class Replayed:
    """A finished search: its trials in the order in which they ended, and the total epochs of all trials."""

    ended: tuple[TrialOutcome, ...]
    epochs: int

    @property
    def selected(self) -> float:
        """The objective of the trial that a study would select."""
        return min(trial.objective for trial in self.ended if trial.objective is not None)


def replay(draw: Draw, train: Train, fidelity: Fidelity, trials: int, seed: int) -> Replayed:
    """Simulate a search to its end. `seed` is that of the epoch durations."""
    lengths = np.random.default_rng(seed).uniform(1 - SPREAD, 1 + SPREAD, trials)
    outcomes: list[TrialOutcome] = []
    curves: list[Sequence[float]] = []
    due: list[tuple[float, int]] = []
    ended: list[TrialOutcome] = []
    asha, epochs = Asha(fidelity), 0

    def begin(now: float) -> None:
        place = len(outcomes)
        sample = draw(place + 1, outcomes)
        outcomes.append(TrialOutcome(place + 1, trial_name(place + 1), sample))
        curves.append(train(sample))
        heapq.heappush(due, (now + lengths[place], place))

    for _ in range(min(AT_ONCE, trials)):
        begin(0.0)
    while due:
        now, place = heapq.heappop(due)
        epoch = outcomes[place].epoch + 1
        epochs += 1
        objective = float(curves[place][epoch - 1])
        metrics = {} if math.isnan(objective) else {OBJECTIVE: objective}
        trial = outcomes[place].with_epoch(EpochRecord(epoch, 0, metrics))
        asha.update(trial)
        if epoch == fidelity.max_epochs:
            trial = replace(trial, state="complete")
        elif asha.prunes(trial):
            trial = replace(trial, state="stopped", reason=EARLY)
        outcomes[place] = trial
        if not trial.is_final:
            heapq.heappush(due, (now + lengths[place], place))
            continue
        ended.append(trial)
        if len(outcomes) < trials:
            begin(now)
    return Replayed(tuple(ended), epochs)


def in_order(curves: np.ndarray, fidelity: Fidelity, seed: int) -> Replayed:
    """Replay a search that takes known curves of the objective (trials, epochs) in their order."""
    return replay(
        lambda number, _: {"row": number}, lambda sample: curves[sample["row"] - 1], fidelity, len(curves), seed
    )


def seed_spread(table: pd.DataFrame) -> float:
    """Return the SD over seeds of the full-budget objective, pooled over the better half of the repeated samples."""
    final = table.assign(final=best_so_far(table)[:, -1]).groupby("sample")["final"]
    repeated = final.agg(["mean", "var", "count"]).query("count > 1").sort_values("mean")
    return float(np.sqrt(repeated["var"].head(max(1, len(repeated) // 2)).mean()))


def stopping_figures(curves: np.ndarray, spread: float, fidelities: Sequence[Fidelity], repeats: int) -> list[Figure]:
    """Return the figures of trainings replayed in random orders with each fidelity, the first one as shipped."""
    figures = []
    for trials in sorted({*(count for count in TRIALS if count < len(curves)), len(curves)}):
        orders = [
            np.random.default_rng([repeat, trials]).permutation(len(curves))[:trials] for repeat in range(repeats)
        ]
        for fidelity in fidelities:
            over = [in_order(curves[order], fidelity, repeat) for repeat, order in enumerate(orders)]
            shares = tuple(each.epochs / (trials * curves.shape[1]) for each in over)
            regrets = tuple(
                (each.selected - float(curves[order, -1].min())) / spread
                for each, order in zip(over, orders, strict=True)
            )
            name = f"{trials} trials, grace {fidelity.grace_epochs}, factor {fidelity.reduction_factor}"
            name += " (shipped)" * (fidelity == fidelities[0])
            within = sum(regret <= 1 for regret in regrets) / repeats
            figures += [
                Figure(f"{name}: share of epochs", shares, "", most=GOAL),
                Figure(f"{name}: regret over seed spread", regrets, "x", most=1.0),
                Figure(f"{name}: repeats within it", (within,), ""),
            ]
    return figures


def samplers(parameters: Sequence[Parameter], seed: int) -> dict[str, Draw]:
    """Return the functions that draw samples, by name: the study's own, random search, and a Gaussian process."""
    tpe = Sampler(parameters, Search(), seed)

    def draw_by(sampler: type[optuna.samplers.BaseSampler], **options: Any) -> Draw:
        def draw(number: int, outcomes: Sequence[TrialOutcome]) -> Mapping[str, Any]:
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            study = optuna.create_study(sampler=sampler(seed=own, **options), direction="minimize")
            study.add_trials(optuna_trials(parameters, outcomes, optuna.trial.TrialState.RUNNING))
            return dict(study.ask(distributions(parameters)).params)

        return draw

    return {
        "TPE as shipped": lambda number, outcomes: tpe.sample(outcomes, number),
        RANDOM: draw_by(optuna.samplers.RandomSampler),
        "Gaussian process": draw_by(optuna.samplers.GPSampler, n_startup_trials=STARTUP_TRIALS),
    }


def recorded_only(draw: Draw, rows: Sequence[Mapping[str, Any]], parameters: Sequence[Parameter]) -> Draw:
    """Return a function that draws the recorded sample nearest to the sampler's in the unit cube, each only once."""
    places = np.array([place_of(parameters, row) for row in rows])
    free = np.ones(len(rows), bool)

    def nearest(number: int, outcomes: Sequence[TrialOutcome]) -> Mapping[str, Any]:
        wanted = place_of(parameters, draw(number, outcomes))
        distances = np.where(free, np.linalg.norm(places - wanted, axis=1), np.inf)
        index = int(distances.argmin())
        free[index] = False
        return {parameter.name: rows[index][parameter.name] for parameter in parameters}

    return nearest


def sampler_figures(table: pd.DataFrame, parameters: Sequence[Parameter], repeats: int, trials: int) -> list[Figure]:
    """Return the best objective after some trials of each sampler, and its difference from random search."""
    rows, curves = table.to_dict("records"), best_so_far(table)
    by_sample = {tuple(place_of(parameters, row)): curve for row, curve in zip(rows, curves, strict=True)}
    full = Fidelity(curves.shape[1], curves.shape[1], 2)
    best: dict[str, list[np.ndarray]] = {}
    for repeat in range(repeats):
        for name, draw in samplers(parameters, repeat).items():
            drawn = recorded_only(draw, rows, parameters)
            over = replay(drawn, lambda s: by_sample[tuple(place_of(parameters, s))], full, trials, repeat)
            objectives = [math.inf if trial.objective is None else trial.objective for trial in over.ended]
            best.setdefault(name, []).append(np.minimum.accumulate(objectives))
    figures = []
    for name, found in best.items():
        for count in (count for count in COUNTS if count <= trials):
            own, random = (np.array([each[count - 1] for each in kind]) for kind in (found, best[RANDOM]))
            figures.append(Figure(f"{name}, {count} trials: best objective", tuple(own.tolist()), ""))
            if name != RANDOM:
                less = own - random
                p = float(wilcoxon(less).pvalue) if less.any() else 1.0
                figures.append(Figure(f"{name}, {count} trials: less random search's", tuple(less.tolist()), ""))
                figures.append(Figure(f"{name}, {count} trials: Wilcoxon's p", (p,), ""))
    return figures


def main() -> None:
    """Print and write the figures."""
    parser = create_parser(__doc__, repeats=50)
    parser.add_argument("--table", type=Path, required=True, help="folder of a table that results_table.py recorded")
    parser.add_argument("--trials", type=int, default=24, help="of a sampler's search; fewer than the table's samples")
    options = parser.parse_args()
    table, about = read_table(options.table)
    seed, space = about["identity"]["seed"], load_spaces([about["identity"]["search"]])[0]
    own = table[table["seed"] == seed]
    curves, spread = best_so_far(own), seed_spread(table)
    if options.trials > len(curves):
        parser.error(f"--trials: must be at most the {len(curves)} samples of the table, got {options.trials}")
    shipped = replace(space.fidelity, max_epochs=curves.shape[1])
    fidelities = dict.fromkeys([shipped, *(Fidelity(curves.shape[1], *schedule) for schedule in SCHEDULES)])
    figures = [
        Figure("full-budget objective of the samples", tuple(curves[:, -1].tolist()), ""),
        Figure("SD over seeds, best samples", (spread,), ""),
        *stopping_figures(curves, spread, list(fidelities), options.repeats),
        *sampler_figures(own, space.parameters_of("joint"), options.repeats, options.trials),
    ]
    print_figures(figures, options, table=about, samples=len(curves), trials=options.trials)


if __name__ == "__main__":
    main()

"""Replay searches on a recorded table: what early stopping saves and loses, and TPE against random search.

python benchmarks/speed/results_table.py --out runs/results-table        # once; the trainings
python benchmarks/speed/search.py --table runs/results-table [--out runs/speed/search.json] [--repeats 50]
python benchmarks/speed/search.py                                        # the arithmetic alone, without a table

**The arithmetic** of a schedule of early stopping: the share of epochs that it trains where the trials' order is the
same at every epoch, so that nothing is ever lost.

**Early stopping** runs over the table's own trainings: each repeat draws trials from it in a random order, none twice,
and lets the study's rule stop them. The share is the epochs trained over those of all trials at full budget. The
regret is the objective of the model that would be selected, as it was when its trial ended, less the best full-budget
objective among the same trials, over the seed spread: the SD over seeds of the best samples' full-budget objective.
"Never less" is the share of a rule that knows every trial's end, stops all but the best so far for good at the first
validation, and so loses nothing: T trials in a random order have 1 + 1/2 + ... + 1/T best-so-fars.

**TPE** needs an answer for samples that no one trained, so `surrogate.py` gives it, and how good that is comes first;
`samplers.py` says what is compared. `--curves FILE.png` draws the best so far.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # matrices are small, and more threads would be slower
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from figures import Figure, add_options, tell
from replay import Replayed, replay
from results_table import best_so_far, read_table
from samplers import OTHERS, RANDOM, SHIPPED, Search, draw_curves, replay_all, sampler_figures
from surrogate import Surrogate

from study.plan.search_file import load_spaces
from study.plan.search_space import Fidelity

GOAL = 0.35
TRIALS = (6, 16, 32)
MOST_TRIALS, LONG = 64, 60
"""For the arithmetic: largest number of trials, and epochs of a long training in addition to the search space's."""
SCHEDULES = ((4, 3), (2, 2), (2, 3), (2, 4))
"""Grace epochs and reduction factors in addition to those of the search space."""


def stopped(curves: np.ndarray, fidelity: Fidelity, at_once: int, seed: int) -> Replayed:
    """Simulate a search with early stopping over known best objectives so far (trials, epochs)."""
    return replay(
        lambda number, _: {"row": number}, lambda number, _: curves[number - 1], fidelity, len(curves), at_once, seed
    )


def never_less(curves: np.ndarray) -> float:
    """Return the share of epochs of the "never less" rule, see the module's docstring."""
    first = 1 + int(np.flatnonzero(~np.isnan(curves).all(axis=0))[0])
    final = curves[:, -1]
    best_yet = int((final <= np.minimum.accumulate(final)).sum())
    return (best_yet * curves.shape[1] + (len(curves) - best_yet) * first) / curves.size


def seed_spread(table: pd.DataFrame) -> float:
    """Return the SD over seeds of the full-budget objective, pooled over the better half of the repeated samples."""
    final = table.assign(final=best_so_far(table)[:, -1]).groupby("sample")["final"]
    repeated = final.agg(["mean", "var", "count"]).query("count > 1").sort_values("mean")
    return float(np.sqrt(repeated["var"].head(max(1, len(repeated) // 2)).mean()))


def stopping_figures(curves: np.ndarray, spread: float, fidelities: Sequence[Fidelity], repeats: int) -> list[Figure]:
    """Return the figures of trainings replayed in random orders with each fidelity, the first one as shipped."""
    found = []
    for trials in sorted({*(count for count in TRIALS if count < len(curves)), len(curves)}):
        orders = [
            np.random.default_rng([repeat, trials]).permutation(len(curves))[:trials] for repeat in range(repeats)
        ]
        bounds = tuple(never_less(curves[order]) for order in orders)
        found.append(Figure(f"{trials} trials: never less", bounds, ""))
        for fidelity in fidelities:
            for at_once in (1, 2) if fidelity == fidelities[0] else (2,):
                over = [stopped(curves[order], fidelity, at_once, repeat) for repeat, order in enumerate(orders)]
                shares = tuple(each.epochs[-1] / (trials * curves.shape[1]) for each in over)
                best = [float(curves[order, -1].min()) for order in orders]
                regrets = [
                    ((each.selected().objective or 0.0) - least) / spread
                    for each, least in zip(over, best, strict=True)
                ]
                name = f"{trials} trials, {at_once} at once, grace {fidelity.grace_epochs}"
                name += f", factor {fidelity.reduction_factor}" + " (shipped)" * (fidelity == fidelities[0])
                within = sum(regret <= 1 for regret in regrets) / repeats
                found += [
                    Figure(f"{name}: share of epochs", shares, "", most=GOAL),
                    Figure(f"{name}: regret over seed spread", tuple(regrets), "x", most=1.0),
                    Figure(f"{name}: repeats within it", (within,), ""),
                ]
    return found


def arithmetic_figures(fidelities: Sequence[Fidelity], repeats: int) -> list[Figure]:
    """Return the share of epochs of simulated trials, two at once, whose objectives are constant."""
    found = []
    for trials in (*TRIALS, MOST_TRIALS):
        levels = [np.random.default_rng([repeat, trials]).random((trials, 1)) for repeat in range(repeats)]
        for fidelity in fidelities:
            epochs = fidelity.max_epochs
            over = [stopped(np.tile(each, (1, epochs)), fidelity, 2, repeat) for repeat, each in enumerate(levels)]
            shares = tuple(each.epochs[-1] / (trials * epochs) for each in over)
            name = f"{trials} trials of {epochs} epochs, grace {fidelity.grace_epochs}"
            found.append(Figure(f"{name}, factor {fidelity.reduction_factor}: share of epochs", shares, "", most=GOAL))
    return found


def table_figures(table: pd.DataFrame, curves: np.ndarray, surrogate: Surrogate) -> list[Figure]:
    """Return the figures of the table: the samples, their spread, the seed spread, and the surrogate's accuracy."""
    final = curves[:, -1]
    found = [
        Figure("full-budget objective of the samples", tuple(final.tolist()), ""),
        Figure("SD over samples", (float(final.std(ddof=1)),), ""),
        Figure("SD over seeds, best samples", (seed_spread(table),), ""),
    ]
    validated = np.flatnonzero(~np.isnan(curves).all(axis=0)) + 1
    for each in surrogate.quality(validated.tolist()):
        found.append(Figure(f"surrogate, epoch {each.epoch}: R2 of samples left out", (each.r2,), ""))
        found.append(Figure(f"surrogate, epoch {each.epoch}: rank correlation", (each.spearman,), ""))
    return found


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=50)
    parser.add_argument("--table", type=Path, help="folder of a table that results_table.py recorded")
    parser.add_argument("--search", default="joint", help="without a table: search space whose schedule it is")
    parser.add_argument("--trials", type=int, default=64, help="of a search on the surrogate (default 64)")
    parser.add_argument("--alternatives", action="store_true", help="other samplers too; several minutes more")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--curves", type=Path, help="PNG of the best so far")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table is None:
        shipped = load_spaces([options.search])[0].fidelity
        schedules = [shipped, *(Fidelity(shipped.max_epochs, *each) for each in SCHEDULES)]
        schedules += [replace(shipped, max_epochs=LONG), Fidelity(LONG, 4, 3)]
        tell(arithmetic_figures(list(dict.fromkeys(schedules)), options.repeats), options)
        return
    table, about = read_table(options.table)
    seed, space = about["identity"]["seed"], load_spaces([about["identity"]["search"]])[0]
    curves = best_so_far(table[table["seed"] == seed])
    epochs = curves.shape[1]
    shipped, parameters = replace(space.fidelity, max_epochs=epochs), space.parameters_of("joint")
    surrogate = Surrogate(table, parameters, seed)
    figures = table_figures(table, curves, surrogate)
    fidelities = dict.fromkeys([shipped, *(Fidelity(epochs, *schedule) for schedule in SCHEDULES)])
    figures += stopping_figures(curves, seed_spread(table), list(fidelities), options.repeats)
    full = Fidelity(epochs, epochs, shipped.reduction_factor)
    searches = [Search(each, full, at_once, options.trials) for at_once in (1, 2) for each in (SHIPPED, RANDOM)]
    searches += [Search(each, shipped, 2, options.trials) for each in (SHIPPED, RANDOM)]
    drawn = list(searches[2:])
    if options.alternatives:
        searches += [Search(each, full, 2, options.trials) for each in OTHERS if each != RANDOM]
    found = replay_all(searches, options.repeats, surrogate, parameters, options.jobs)
    figures += sampler_figures(found)
    if options.curves is not None:
        draw_curves(options.curves, {each: found[each] for each in drawn})
    tell(figures, options, table=about, samples=len(curves), trials=options.trials)


if __name__ == "__main__":
    main()

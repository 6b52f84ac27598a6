"""Replay searches on a recorded table: what early stopping saves and loses.

python benchmarks/speed/results_table.py --out runs/results-table        # once; the trainings
python benchmarks/speed/early_stopping.py --table runs/results-table [--repeats 50]

Each repeat takes trials from the table in a random order, and the study's rule stops them. The share is the epochs
trained over those of all trials at full budget. The regret is the objective of the selected model, when its trial
ended, less the best full-budget objective among the same trials, over the seed spread: the SD over seeds of the best
samples' full-budget objective.

The study's own functions decide. Only training and clock are simulated; epochs of trials differ in duration by a tenth.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from results_table import best_so_far, read_table
from timing import Figure, create_parser, print_figures

from jointnet.train.objective import OBJECTIVE
from study.search.file.reading import load_spaces
from study.search.outcome import EpochRecord, TrialOutcome, trial_name
from study.search.pruning import Asha
from study.search.space import Fidelity
from study.store_names import EARLY

GOAL = 0.35
TRIALS = (6, 16, 32)
AT_ONCE = 2
SCHEDULES = ((4, 3), (2, 2), (2, 3), (2, 4))
"""Grace epochs and reduction factors in addition to those of the search space."""
SPREAD = 0.1
"""Largest relative deviation of a trial's epoch duration."""


@dataclass(frozen=True)
class Replayed:
    """A finished search: its trials in the order in which they ended, and the total epochs of all trials."""

    ended: tuple[TrialOutcome, ...]
    epochs: int

    @property
    def selected(self) -> float:
        """The objective of the trial that a study would select."""
        return min(trial.objective for trial in self.ended if trial.objective is not None)


def replay(curves: np.ndarray, fidelity: Fidelity, seed: int) -> Replayed:
    """Simulate a search to its end.

    Args:
        curves: the objective of each trial after each epoch, in the order in which they begin, (trials, epochs); NaN
            for epochs without a validation.
        fidelity: the schedule.
        seed: of the epoch durations.
    """
    trials = len(curves)
    lengths = np.random.default_rng(seed).uniform(1 - SPREAD, 1 + SPREAD, trials)
    outcomes: list[TrialOutcome] = []
    due: list[tuple[float, int]] = []
    ended: list[TrialOutcome] = []
    asha, epochs = Asha(fidelity), 0

    def begin(now: float) -> None:
        place = len(outcomes)
        outcomes.append(TrialOutcome(place + 1, trial_name(place + 1), {}))
        heapq.heappush(due, (now + lengths[place], place))

    for _ in range(min(AT_ONCE, trials)):
        begin(0.0)
    while due:
        now, place = heapq.heappop(due)
        epoch = outcomes[place].epoch + 1
        epochs += 1
        objective = float(curves[place, epoch - 1])
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
            over = [replay(curves[order], fidelity, repeat) for repeat, order in enumerate(orders)]
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


def main() -> None:
    """Print and write the figures."""
    parser = create_parser(__doc__, repeats=50)
    parser.add_argument("--table", type=Path, required=True, help="folder of a table that results_table.py recorded")
    options = parser.parse_args()
    table, about = read_table(options.table)
    seed, space = about["identity"]["seed"], load_spaces([about["identity"]["search"]])[0]
    own = table[table["seed"] == seed]
    curves, spread = best_so_far(own), seed_spread(table)
    if not spread > 0:
        rule = "must hold samples whose objective differs between seeds"
        parser.error(f"--table: {rule}, got {options.table} with an SD of {spread:g}")
    shipped = replace(space.fidelity, max_epochs=curves.shape[1])
    fidelities = dict.fromkeys([shipped, *(Fidelity(curves.shape[1], *schedule) for schedule in SCHEDULES)])
    figures = [
        Figure("full-budget objective of the samples", tuple(curves[:, -1].tolist()), ""),
        Figure("SD over seeds, best samples", (spread,), ""),
        *stopping_figures(curves, spread, list(fidelities), options.repeats),
    ]
    print_figures(figures, options, table=about, samples=len(curves))


if __name__ == "__main__":
    main()

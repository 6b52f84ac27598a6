"""What a study costs beside its trainings: the wall time of trials in a study against the very same ones by hand.

    python benchmarks/speed/overhead.py [--trials 20] [--stores sqlite server slow hanging]

The study: Ray Tune, two trials at once with one thread each, ledger, TPE, checkpoints, models frozen and logged, MLflow
(see `one_arm`). By hand: two plain processes with one thread each take the same samples from a queue and train them by
`jointnet.train.loop.train`, validation and `model.pt` included, without checkpoints. No trial is stopped early. Starts
are left out: Ray's, the imports, and each worker's first training (two more trials on both sides, before the clock
starts, which wait for each other). With `--repeats` study and trainings by hand take turns, and each study but the
first is held against the mean of those before and after it, since these machines drift within minutes.

Stores: `sqlite` as a study has it; `server`, a tracking server on 127.0.0.1, whose own CPU is told apart; `slow`,
SQLite where every entry takes ten times as long; `hanging`, a server that takes calls and never answers. The last two
must cost the trials nothing, since logging is in nobody's way.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))
sys.path.insert(0, str(Path(__file__).absolute().parent))  # Ray passes only absolute paths to its workers

from by_hand import seconds_by_hand
from cohort import cached_patients
from figures import Figure, add_options, ratios, tell
from one_arm import AT_ONCE, arm_task, by_ray, run_study
from processors import seconds_by_group
from stores import STORES, Store
from timed_trial import MEASURED, timed_trial

from study.machines.cluster import ray_session
from study.plan.search_space import Fidelity
from study.trials.ledger import LEDGER_FILE, read_events
from study.trials.trial import ArmTask

MOST_RATIO, MOST_LOGGING_PERCENT = 1.05, 1.0


def main() -> None:
    """Run a study with each store and the trainings by hand, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4, help="of a trial")
    parser.add_argument("--patients", type=int, default=4, help="to train on; two more validate")
    parser.add_argument("--slices", type=int, default=8, help="of a patient")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    add_options(parser, repeats=1)
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        patients = cached_patients(Path(scratch) / "cache", options.patients + 2, options.slices)
        for name in options.stores:
            studies, by_hand = list[Study](), list[tuple[float, float]]()
            for turn in range(options.repeats):
                folder = Path(scratch) / f"{name}-{turn}"
                task = arm_task(folder, options.epochs, patients[2:], patients[:2])
                studies.append(study(task, options.trials, STORES[name]))
                by_hand.append(seconds_by_hand(task, studies[-1].samples, AT_ONCE, folder / "by-hand"))
            figures += figures_of(name, studies, by_hand)
    names = ("trials", "epochs", "patients", "slices")
    tell(figures, options, **{name: getattr(options, name) for name in names})


@dataclass(frozen=True)
class Study:
    """The measurements of one study, without each worker's first trial.

    Attributes:
        seconds: wall time of all trials.
        samples: samples of all trials, including the first ones.
        processors: CPU seconds by group of processes, and of the thread that logs.
        at_worker: milliseconds of every epoch or trial in the worker, by what they were spent on.
    """

    seconds: float
    samples: list[Mapping[str, Any]]
    processors: Mapping[str, float]
    at_worker: Mapping[str, list[float]]


def study(task: ArmTask, trials: int, store: Store) -> Study:
    """Run a study of an arm without early stopping."""
    epochs = task.settings.training.epochs
    whole = Fidelity(epochs, epochs, 2)
    with store(task.folder.parent) as (uri, outbox), ray_session(None):
        course = run_study(task, trials + AT_ONCE, whole, by_ray(timed_trial), outbox, uri, seconds_by_group)
        outbox.close(store.seconds_to_close)
    first, last = course[AT_ONCE - 1], course[-1]
    events, _ = read_events(task.folder.parent / LEDGER_FILE)
    told = [event["metrics"] for event in events if event["event"] == "epoch"]
    return Study(
        seconds=last["seconds"] - first["seconds"],
        samples=[event["sample"] for event in events if event["event"] == "drawn"],
        processors={name: last[name] - first.get(name, 0.0) for name in last if name not in ("epochs", "memory")},
        at_worker={name: [metrics[name] for metrics in told if name in metrics] for name in MEASURED},
    )


def figures_of(store: str, studies: Sequence[Study], by_hand: Sequence[tuple[float, float]]) -> list[Figure]:
    """Return the figures of the studies with a store.

    `by_hand` has the wall and CPU seconds of the same trainings by hand.
    """

    def figure(name: str, values: Sequence[float], unit: str, most: float | None = None) -> Figure:
        return Figure(f"{store}: {name}", tuple(values), unit, most)

    logging = [100 * each.processors["delivering"] / each.seconds for each in studies]
    found = [
        figure("wall time by hand", [wall for wall, _ in by_hand], "s"),
        figure("wall time of the study", [each.seconds for each in studies], "s"),
        figure(
            "the study's / by hand before and after",
            ratios([each.seconds for each in studies], around([wall for wall, _ in by_hand])),
            "x",
            MOST_RATIO,
        ),
        figure("CPU of MLflow's thread / wall time", logging, "%", MOST_LOGGING_PERCENT),
        figure("CPU by hand / wall time", [100 * cpu / wall for wall, cpu in by_hand], "%"),
    ]
    groups = [name for name in studies[0].processors if name not in ("seconds", "delivering", "suggesting")]
    everything = [sum(each.processors[group] for group in groups) for each in studies]
    found.append(
        figure(
            "CPU of the study, all of it / by hand before and after",
            ratios(everything, around([cpu for _, cpu in by_hand])),
            "x",
        )
    )
    for group in groups:
        shares = [100 * each.processors[group] / each.seconds for each in studies]
        found.append(figure(f"CPU of {group} / wall time", shares, "%"))
    for what, shown in MEASURED.items():
        medians = [statistics.median(each.at_worker[what]) for each in studies]
        found.append(figure(f"{shown}, at the worker", medians, "ms"))
    return found


def around(by_hand: Sequence[float]) -> list[float]:
    """Return the reference of each study: the mean of the trainings by hand before and after it."""
    return [statistics.fmean(by_hand[max(0, turn - 1) : turn + 1]) for turn in range(len(by_hand))]


if __name__ == "__main__":
    main()

"""How a study's own time and memory grow with its trials, where a training costs nothing.

    python benchmarks/speed/growth.py [--trials 10 30 100 300 1000] [--drivers plain ray]

Each study runs in a process of its own, see `costless`. `plain` is our own share without Ray: the same decisions,
ledger and tracking, in turn in one thread. `ray` is what a user runs: Ray Tune, two trials at once, tracking in its own
thread. Times per trial are means over the last tenth of the trials of a study; `flat` holds the last tenth of the
largest study against the trials around its hundredth.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from costless import WAITED, costless_trial, plainly
from figures import Figure, add_options, tell
from one_arm import SPACE, Course, ImmediateOutbox, TimedOutbox, arm_task, by_ray, run_study

from study.machines.cluster import ray_session
from study.store_address import sqlite_address
from study.trials.ledger import LEDGER_FILE, read_events

HUNDREDTH = (49, 149)
"""First and last row of the trials around the hundredth."""
MOST_RATIO = 1.2
PARTS = {"plain": ("suggesting", "delivering"), "ray": ("suggesting",)}


def main() -> None:
    """Run every study and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--drivers", nargs="+", choices=["plain", "ray"], default=["plain", "ray"])
    parser.add_argument("--single", action="store_true", help="run one study in this process, and print it as JSON")
    add_options(parser, repeats=1)
    options = parser.parse_args()
    if options.single:
        print(json.dumps(study_of(options.drivers[0], options.trials[0])))
        return
    figures: list[Figure] = []
    for driver in options.drivers:
        studies = {trials: [apart(driver, trials) for _ in range(options.repeats)] for trials in options.trials}
        figures += figures_of(driver, studies)
    tell(figures, options, trials=options.trials)


def study_of(driver: str, trials: int) -> dict[str, Any]:
    """Run a study in this process.

    Returns:
        `course`, and with Ray also `waits`, the times in ms that workers waited for the driver's answers, and `cpu`,
        the CPU seconds of the outbox's thread.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, uri = Path(scratch), sqlite_address(Path(scratch) / "mlflow.db")
        task = arm_task(folder, SPACE.fidelity.max_epochs, (), ())
        if driver == "plain":
            return {"course": run_study(task, trials, SPACE.fidelity, plainly, ImmediateOutbox(), uri)}
        with ray_session(None):
            outbox = TimedOutbox(permanent=lambda error: False)  # rejected writes are retried, never dropped
            course = run_study(task, trials, SPACE.fidelity, by_ray(costless_trial), outbox, uri)
        if outbox.flush(3600):
            raise SystemExit("the store must take what it is told, it did not within an hour")
        cpu = outbox.spent
        outbox.close(0)
        events, _ = read_events(folder / "study" / LEDGER_FILE)
        waits = [event["metrics"][WAITED] for event in events if event["event"] == "epoch" and event["epoch"] > 1]
        return {"course": course, "waits": waits, "cpu": cpu}


def apart(driver: str, trials: int) -> dict[str, Any]:
    """Run a study in a separate process."""
    command = [sys.executable, __file__, "--single", "--drivers", driver, "--trials", str(trials)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    print(f"{driver}, {trials} trials: {json.loads(done.stdout)['course'][-1]['seconds']:.1f} s", file=sys.stderr)
    return dict(json.loads(done.stdout))


def per_trial(course: Course, what: str, first: int, last: int) -> float:
    """Return the mean increase of a column per trial, from one row to another."""
    last = min(last, len(course) - 1)
    return (course[last][what] - course[first][what]) / (last - first)


def last_tenth(course: Course, what: str) -> float:
    """Return the mean increase of a column per trial over the last tenth of the trials."""
    return per_trial(course, what, min(len(course) - 2, int(0.9 * len(course)) - 1), len(course) - 1)


def figures_of(driver: str, studies: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[Figure]:
    """Return the figures of a driver's studies, which are given by their number of trials."""
    found = []
    for trials, runs in studies.items():
        courses = [run["course"] for run in runs]
        name = f"{driver}, {trials} trials: "
        found.append(_figure(name + "a trial", [1e3 * last_tenth(course, "seconds") for course in courses], "ms"))
        for part in PARTS[driver]:
            found.append(_figure(name + f"  of it {part}", [1e3 * last_tenth(c, part) for c in courses], "ms"))
        if driver == "ray":
            found.append(_figure(name + "a report's wait", [median(run["waits"]) for run in runs], "ms"))
            found.append(_figure(name + "MLflow's thread a trial", [1e3 * run["cpu"] / trials for run in runs], "ms"))
    largest = max(studies)
    if largest > 2 * HUNDREDTH[1]:
        courses = [run["course"] for run in studies[largest]]
        flat = [last_tenth(course, "seconds") / per_trial(course, "seconds", *HUNDREDTH) for course in courses]
        found.append(_figure(f"{driver}: flat, a trial late / about the hundredth", flat, "x", MOST_RATIO))
        grown = [1e3 * per_trial(course, "memory", HUNDREDTH[1], len(course) - 1) for course in courses]
        found.append(_figure(f"{driver}: memory of the driver a trial", grown, "kB"))
    return found


def _figure(name: str, values: Sequence[float], unit: str, most: float | None = None) -> Figure:
    return Figure(name, tuple(values), unit, most)


if __name__ == "__main__":
    main()

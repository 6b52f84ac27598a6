"""What a study costs beside its trainings: wall time of its trials against the same trainings in plain processes.

    python benchmarks/speed/overhead.py [--trials 20] [--epochs 4] [--patients 4] [--store URI] [--repeats 1]

The study runs one arm of the shipped joint search: Ray Tune, two trials at once with one thread each, ledger, TPE,
checkpoints, models frozen and logged, MLflow in a thread of its own; no early stopping. By hand: two plain processes
with one thread each take the same samples from a queue and train them by `jointnet.train.loop.train`, with validation
and `model.pt` but without checkpoints. Starts are left out: Ray's, the imports, and the first training of each worker
(two more trials on both sides, which wait for each other). Study and trainings by hand take turns, and each study but
the first is compared with the mean of those before and after it, since these machines drift within minutes. The store
is a new SQLite file, or the one in `--store`.
"""

import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))
sys.path.insert(0, str(Path(__file__).absolute().parent))  # Ray passes only absolute paths to its workers

import torch
from cohort import cached_patients
from rich.console import Console
from timing import Figure, create_parser, print_figures, ratios

from jointnet.compute.allocator import keep_freed_memory
from jointnet.settings import with_values
from jointnet.train.loop import train
from study.machines.cluster import ray_session
from study.plan.plan import Resources
from study.search.file.reading import load_spaces
from study.search.space import Fidelity
from study.store_address import sqlite_address
from study.tracking.outbox import Outbox
from study.tracking.runs import StudyTracker, is_permanent
from study.trials.ledger import Ledger
from study.trials.progress import ArmProgress, StudyProgress
from study.trials.ray_tune import run_round
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask, OnEpoch, TrialSpec, run_trial
from study.trials.work import SearchWork

MOST_RATIO, MOST_LOGGING_PERCENT = 1.05, 1.0
ARM = "joint-25"
AT_ONCE = 2
VALIDATE_EVERY = 2
"""Epochs between two validations. It replaces the search space's value, so that runs stay comparable."""
SECONDS_TO_DELIVER = 60.0

_trained: list[bool] = []
"""Not empty once this worker has trained."""


@dataclass(frozen=True)
class Study:
    """Wall seconds without each worker's first trial, CPU share of MLflow's thread in %, and all trials' samples."""

    seconds: float
    logging_percent: float
    samples: list[Mapping[str, Any]]


def main() -> None:
    """Run studies and trainings by hand in turn, and print the figures."""
    parser = create_parser(__doc__, repeats=1)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=4, help="of a trial, each a pass over its slices")
    parser.add_argument("--patients", type=int, default=4, help="to train on; two more validate")
    parser.add_argument("--slices", type=int, default=8, help="of a patient")
    parser.add_argument("--store", metavar="URI", help="tracking store (default: a new SQLite file)")
    options = parser.parse_args()
    studies, by_hand = list[Study](), list[float]()
    with tempfile.TemporaryDirectory() as scratch:
        patients = cached_patients(Path(scratch) / "cache", options.patients + 2, options.slices)
        for turn in range(options.repeats):
            task = task_in(Path(scratch) / str(turn), options.epochs, patients)
            uri = options.store or sqlite_address(Path(scratch) / f"{turn}.db")
            studies.append(run_study(task, options.trials + AT_ONCE, uri))
            by_hand.append(seconds_by_hand(task, studies[-1].samples, Path(scratch) / f"{turn}-by-hand"))
    around = [statistics.fmean(by_hand[max(0, turn - 1) : turn + 1]) for turn in range(len(by_hand))]
    seconds = [study.seconds for study in studies]
    logging = tuple(study.logging_percent for study in studies)
    figures = [
        Figure("wall time by hand", tuple(by_hand), "s"),
        Figure("wall time of the study", tuple(seconds), "s"),
        Figure("the study's / by hand before and after", ratios(seconds, around), "x", MOST_RATIO),
        Figure("CPU of MLflow's thread / wall time", logging, "%", MOST_LOGGING_PERCENT),
    ]
    names = ("trials", "epochs", "patients", "slices", "store")
    print_figures(figures, options, **{name: getattr(options, name) for name in names})


def task_in(folder: Path, epochs: int, patients: Sequence[Any]) -> ArmTask:
    """Return the common input of the trials: one thread each, two patients to validate on, the others to train on."""
    shipped = load_spaces(("joint",), None)[0].settings_of("joint")
    length = {"training.epochs": epochs, "training.steps": None}
    settings = with_values(shipped, {**length, "training.validate_every": VALIDATE_EVERY})
    return ArmTask(ARM, settings, tuple(patients[2:]), tuple(patients[:2]), 0, "cpu", 1, folder / ARM)


def run_study(task: ArmTask, trials: int, uri: str) -> Study:
    """Run a study of one arm without early stopping."""
    from overhead import run_synchronised  # by this name a worker imports the module once; `__main__` is pickled anew

    epochs = task.settings.training.epochs
    parameters = load_spaces(("joint",), None)[0].parameters_of("joint")
    work = SearchWork(ARM, parameters, Fidelity(epochs, epochs, 2), trials, 0)
    progress = StudyProgress({ARM: ArmProgress(ARM, trials, trials * epochs, 60)}, 0, Console(file=io.StringIO()))
    folder, tracker = task.folder.parent, StudyTracker(uri, f"benchmark-{time.time():.0f}", {})
    outbox = Outbox(lambda line: print(line, file=sys.stderr), is_permanent)
    clock = time.pthread_getcpuclockid(outbox._thread.ident or 0)
    tracker.study_run()  # creates the store's tables
    with Ledger(folder) as ledger, ray_session(None):
        recorder = ArmRecorder(task, {"arm": ARM}, ledger, tracker, outbox, progress)
        search = ArmSearch(work, recorder, AT_ONCE)
        run_round(task, search, Resources(AT_ONCE, 1.0, 0.0, "cpu"), folder / "tune", None, run_synchronised)
        outbox.flush(SECONDS_TO_DELIVER)
        logging_seconds = time.clock_gettime(clock)
        outbox.close(0)
        events = {kind: [each for each in ledger.events if each["event"] == kind] for kind in ("drawn", "ended")}
    began_ms, *ends_ms = events["drawn"][0]["at_ms"], *(event["at_ms"] for event in events["ended"])
    percent = 100 * logging_seconds / (1e-3 * (ends_ms[-1] - began_ms))
    return Study(1e-3 * (ends_ms[-1] - ends_ms[AT_ONCE - 1]), percent, [event["sample"] for event in events["drawn"]])


def run_synchronised(spec: TrialSpec, on_epoch: OnEpoch) -> None:
    """Run a trial as a study does; the first trainings of all workers end together."""
    run_trial(spec, on_epoch)
    _wait_after_first(spec.task.folder / "trained")


def seconds_by_hand(task: ArmTask, samples: Sequence[Mapping[str, Any]], folder: Path) -> float:
    """Train these samples in AT_ONCE processes of one thread each, and return the wall seconds after the first ones."""
    os.environ["OMP_NUM_THREADS"] = "1"
    own = replace(task, folder=folder)
    specs = [TrialSpec(own, f"t{number:04}", sample) for number, sample in enumerate(samples, start=1)]
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        ends = [time.perf_counter() for _ in pool.imap_unordered(_train, specs)]
    return ends[-1] - ends[AT_ONCE - 1]


def _train(spec: TrialSpec) -> None:
    keep_freed_memory()  # as the study's workers do
    torch.set_num_threads(spec.task.threads)
    spec.folder.mkdir(parents=True)
    task = spec.task
    train(spec.settings, task.training, task.validation, seed=task.seed, device=task.device, out=spec.folder)
    _wait_after_first(task.folder / "trained")


def _wait_after_first(folder: Path) -> None:
    """After this worker's first training, wait until all AT_ONCE workers have trained."""
    if not _trained:
        _trained.append(True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < AT_ONCE:
            time.sleep(0.005)


if __name__ == "__main__":
    main()

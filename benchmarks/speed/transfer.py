"""What it costs that nothing is shared but Ray: files in a shared folder and through Ray, for few and many trials.

    python benchmarks/speed/transfer.py [--trials 4 16 64] [--every 10] [--epochs 3] [--patients 10]

A simulated trial trains nothing. Every `--every` seconds, the largest time between two checkpoints in a study, it
writes a model and a checkpoint of the shipped joint model's sizes, and waits until both are kept. The trials are
threads of two workers and begin one after the other. Measured are the seconds and MB of an epoch's files, the share of
one core that this process and the keeper of the files take meanwhile, and the memory of one worker and of two that read
the same patients, as proportional set sizes.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))
sys.path.insert(0, str(Path(__file__).absolute().parent))  # Ray passes only absolute paths to its workers

import psutil
import ray
from cohort import cached_patients
from timing import Figure, create_parser, print_figures

from jointnet.model_path import MODEL_FILE
from jointnet.system.atomic_file import write_whole
from jointnet.train.checkpoint_files import checkpoint_name, remove_old
from study.machines.cluster import ray_session
from study.plan.cost import COPIES_IN_CHECKPOINT, model_bytes
from study.search.file.reading import load_spaces
from study.trials.file_keeper import FileKeeper
from study.trials.through_ray import FilesThroughRay, PatientStore
from study.trials.trial import ArmTask
from study.trials.trial_files import CHECKPOINTS, IN_PLACE, TrialFiles

WORKERS = 2
MOST_PERCENT = 25.0


class Worker:
    """A process with simulated trials, or one that reads patients."""

    def train(self, files: TrialFiles, folders: Sequence[Path], epochs: int, every: float, size: int) -> list[float]:
        """Run a trial in each folder at the same time, and return the seconds of each epoch's files."""
        seconds: list[float] = []
        trials = [threading.Thread(target=_train, args=(files, each, epochs, every, size, seconds)) for each in folders]
        for number, trial in enumerate(trials):
            trial.start()
            time.sleep(every / len(trials) if number < len(trials) - 1 else 0)
        for trial in trials:
            trial.join()
        return seconds

    def read(self, task: ArmTask) -> None:
        """Read and hold all arrays of a task's patients."""
        self._before = _own_bytes()
        block = task.settings.training.downsampling
        self._held = [array for each in task.training for array in each.network_arrays(block)]
        self._held += [array for each in task.validation for array in (each.images(), each.labels(), each.field())]
        for array in self._held:
            array.sum(dtype="float64")

    def megabytes(self) -> float:
        """Return the growth of this process's proportional set size since before the reading."""
        return 1e-6 * (_own_bytes() - self._before)


def _own_bytes() -> int:
    return int(psutil.Process().memory_full_info().pss)


def _train(files: TrialFiles, folder: Path, epochs: int, every: float, size: int, seconds: list[float]) -> None:
    content = os.urandom(size * COPIES_IN_CHECKPOINT)
    with files.attempt(folder, time.monotonic_ns()) as own:
        (own.folder / CHECKPOINTS).mkdir(exist_ok=True)
        for epoch in range(1, epochs + 1):
            due = time.perf_counter() + every
            write_whole(own.folder / MODEL_FILE, content[epoch:size])
            write_whole(own.folder / CHECKPOINTS / checkpoint_name(epoch), content[epoch:])
            remove_old(own.folder / CHECKPOINTS)
            own.keep()
            seconds.append(time.perf_counter() - due + every)
            time.sleep(max(0.0, due - time.perf_counter()))


def main() -> None:
    """Run the trials both ways, print the figures."""
    parser = create_parser(__doc__, repeats=1)
    parser.add_argument("--trials", type=int, nargs="+", default=[4, 16, 64], help="at once")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two checkpoints of a trial")
    parser.add_argument("--epochs", type=int, default=3, help="of a trial")
    parser.add_argument("--patients", type=int, default=10, help="half of them to train on")
    options = parser.parse_args()
    settings = load_spaces(("joint",), None)[0].settings_of("joint")
    size = model_bytes(settings)
    figures = [Figure("files of an epoch", (1e-6 * size * (1 + COPIES_IN_CHECKPOINT),), "MB")]
    with tempfile.TemporaryDirectory() as scratch, ray_session(None):
        study = Path(scratch)
        workers = [ray.remote(num_cpus=0)(Worker).remote() for _ in range(WORKERS)]
        ways: dict[str, TrialFiles] = {"in place": IN_PLACE, "through Ray": FilesThroughRay(study)}
        for trials in options.trials:
            for way, files in ways.items():
                folder = study / f"{way}-{trials}"
                figures += _figures(workers, files, f"{trials} trials, {way}", folder, trials, options, size)
        patients = cached_patients(study / "cache", options.patients, 12)
        half = options.patients // 2
        task = ArmTask("a", settings, tuple(patients[:half]), tuple(patients[half:]), 0, "cpu", 1, study)
        for way, read in {"in place": task, "through Ray": PatientStore().sent(task)}.items():
            readers = [ray.remote(num_cpus=0)(Worker).remote() for _ in range(WORKERS)]
            held = list[float]()
            for count, reader in enumerate(readers, start=1):
                ray.get(reader.read.remote(read))
                held.append(sum(ray.get([each.megabytes.remote() for each in readers[:count]])))
            figures += [
                Figure(f"patients of {count} of its workers, {way}", (megabytes,), "MB")
                for count, megabytes in enumerate(held, start=1)
            ]
    print_figures(figures, options, trials=options.trials, every=options.every, epochs=options.epochs)


def _figures(
    workers: Sequence[Any], files: TrialFiles, name: str, study: Path, trials: int, options: Any, size: int
) -> list[Figure]:
    """Run simulated trials at once and return their figures."""
    busy = [psutil.Process(), *_keepers()]
    before, began = sum(_cpu_seconds(each) for each in busy), time.perf_counter()
    folders = [study / f"t{number:04}" for number in range(1, trials + 1)]
    arguments = options.epochs, options.every, size
    runs = [worker.train.remote(files, folders[place::WORKERS], *arguments) for place, worker in enumerate(workers)]
    seconds = sorted(second for run in runs for second in ray.get(run))
    percent = 100 * (sum(_cpu_seconds(each) for each in busy) - before) / (time.perf_counter() - began)
    return [
        Figure(f"{name}: an epoch's files, median", (seconds[len(seconds) // 2],), "s"),
        Figure(f"{name}: the slowest", (seconds[-1],), "s"),
        Figure(f"{name}: keeper and driver, of one core", (percent,), "%", most=MOST_PERCENT),
    ]


def _keepers() -> list[psutil.Process]:
    """Return the processes of the keepers that this process started."""
    below = psutil.Process().children(recursive=True)
    return [each for each in below if f"ray::{FileKeeper.__name__}" in " ".join(each.cmdline())]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()

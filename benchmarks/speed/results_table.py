"""Record a table of results: real trainings over a search's space, with the objective after every validated epoch.

python benchmarks/speed/results_table.py --out runs/results-table [--samples 48] [--epochs 36] [--validate-every 2]

Samples are a scrambled Sobol sequence over the parameters of `--search`, each trained for all the search's epochs, or
`--epochs`, with one seed, as in a study, where all trials share the study's. Then the best two of them and two spread
over the others' ranks are trained with `--repeats` more seeds: the seed spread, without which no difference between
samples means anything. One thread a training, `--jobs` at once. The patients are the phantom's, few of them so that a
training takes a minute, in smaller batches than the search's own so that an epoch still has some steps; all else is the
search's.

Into --out: `table.csv`, a line per training, and `table.json`, what it was recorded with. The same command goes on
where it was stopped and trains nothing twice; it refuses a folder that holds a table of other settings or patients.
More samples begin with the fewer. `benchmarks/speed/search.py` replays searches on the table.
"""

import argparse
import contextlib
import csv
import json
import math
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import qmc

from jointnet.data.cache import CachedPatient, fingerprint, prepare
from jointnet.data.folder import find_patients
from jointnet.errors import TrainingDivergedError
from jointnet.phantom.writer import write_phantom
from jointnet.settings import Settings, settings_to_dict, with_values
from jointnet.system.versions import commit, versions
from jointnet.train.epoch_report import EpochReport
from jointnet.train.loop import train
from study.plan.search_file import load_spaces
from study.plan.search_space import Parameter, SearchSpace, settings_of_sample
from study.store_names import OBJECTIVE

TABLE, RECORDED_WITH = "table.csv", "table.json"
BEST, OTHERS = 2, 2
"""Numbers of samples that are repeated with other seeds: the best ones, and others."""


def places(count: int, parameters: Sequence[Parameter], seed: int) -> np.ndarray:
    """Return Sobol points (count, parameters) in the unit cube. A larger count only appends points."""
    sequence = qmc.Sobol(len(parameters), rng=np.random.default_rng(seed))
    return np.asarray(sequence.random_base2(math.ceil(math.log2(max(count, 2))))[:count])


def sample_at(parameters: Sequence[Parameter], place: Sequence[float]) -> dict[str, float]:
    """Return the sample at a point of the unit cube, each parameter on its own scale."""
    found = {}
    for parameter, share in zip(parameters, place, strict=True):
        if parameter.scale == "log":
            found[parameter.name] = parameter.low * (parameter.high / parameter.low) ** float(share)
        else:
            found[parameter.name] = parameter.low + (parameter.high - parameter.low) * float(share)
    return found


def place_of(parameters: Sequence[Parameter], sample: Mapping[str, Any]) -> list[float]:
    """Return the point of the unit cube for a sample."""
    found = []
    for parameter in parameters:
        value, low, high = float(sample[parameter.name]), float(parameter.low), float(parameter.high)
        if parameter.scale == "log":
            value, low, high = math.log(value), math.log(low), math.log(high)
        found.append((value - low) / (high - low))
    return found


def read_table(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a recorded table and the settings that it was recorded with.

    Returns:
        The table and the content of `table.json`. The table has columns `sample` (number from 0), `seed`, the
        parameters by name, and `1`, `2`, ...: the objective after each epoch, NaN where it was not validated or the
        training had diverged.
    """
    return pd.read_csv(folder / TABLE), json.loads((folder / RECORDED_WITH).read_text())


def epoch_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns with the objective after each epoch, in order."""
    return sorted((name for name in table.columns if name.isdigit()), key=int)


def best_so_far(table: pd.DataFrame) -> np.ndarray:
    """Return the smallest objective up to each validated epoch, by which a study ranks; NaN elsewhere.

    The shape is (trainings, epochs).
    """
    objectives = table[epoch_columns(table)].to_numpy(float)
    return np.where(np.isnan(objectives), np.nan, np.fmin.accumulate(objectives, axis=1))


def to_repeat(table: pd.DataFrame, seed: int) -> list[int]:
    """Return the samples to repeat: the best ones, and others evenly spread over the remaining ranks."""
    own = table[table["seed"] == seed]
    ranked = own["sample"].to_numpy()[np.argsort(best_so_far(own)[:, -1], kind="stable")]
    others = np.linspace(BEST, len(ranked) - 1, OTHERS + 2)[1:-1] if len(ranked) > BEST + OTHERS else []
    return [int(ranked[rank]) for rank in (*range(min(BEST, len(ranked))), *(round(other) for other in others))]


def learning_curve(
    settings: Settings, training: Sequence[CachedPatient], validation: Sequence[CachedPatient], seed: int
) -> list[float]:
    """Train once on one thread and return the objective after each epoch, NaN from the epoch where it diverged."""
    torch.set_num_threads(1)
    found: list[float] = []

    def keep(report: EpochReport) -> None:
        found.append(report.metrics.get(OBJECTIVE, math.nan))

    with contextlib.suppress(TrainingDivergedError):
        train(settings, training, validation, seed=seed, device="cpu", on_epoch=keep)
    return found + [math.nan] * (settings.training.epochs - len(found))


class Recorder:
    """Runs the trainings that are missing in the table, and writes the line of each as soon as it is over."""

    def __init__(
        self, folder: Path, space: SearchSpace, settings: Settings, samples: np.ndarray, patients: tuple[Any, Any]
    ) -> None:
        self.path, self.parameters = folder / TABLE, space.parameters
        self._settings = settings
        self._samples, self._patients = samples, patients
        if not self.path.exists():
            names = [parameter.name for parameter in self.parameters]
            self._write(["sample", "seed", *names, *range(1, settings.training.epochs + 1)])

    def known(self) -> set[tuple[int, int]]:
        """Return the samples and seeds of the trainings in the table."""
        table = pd.read_csv(self.path)
        return set(zip(table["sample"].tolist(), table["seed"].tolist(), strict=True))

    def record(self, pool: ProcessPoolExecutor, wanted: Sequence[tuple[int, int]]) -> None:
        """Train each wanted sample and seed that is missing in the table."""
        missing = [each for each in wanted if each not in self.known()]
        values = {number: sample_at(self.parameters, self._samples[number]) for number, _ in missing}
        futures = {
            pool.submit(
                learning_curve, settings_of_sample(self._settings, values[each[0]]), *self._patients, each[1]
            ): each
            for each in missing
        }
        for done, future in enumerate(as_completed(futures), start=1):
            (number, seed), curve = futures[future], future.result()
            self._write([number, seed, *values[number].values(), *curve])
            print(f"{done}/{len(missing)}: sample {number}, seed {seed}: {np.nanmin(curve):.4f}", flush=True)

    def _write(self, line: Sequence[Any]) -> None:
        with self.path.open("a", newline="") as stream:
            csv.writer(stream).writerow(line)


def main() -> None:
    """Record the missing trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--search", default="joint", help="search space of the joint model (default joint)")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3, help="further seeds of four samples (default 3)")
    parser.add_argument("--epochs", type=int, help="of a training (default: the search's)")
    parser.add_argument("--validate-every", type=int, help="epochs (default: the search's)")
    parser.add_argument("--patients", default="4/4", help="to train on / to validate on (default 4/4)")
    parser.add_argument("--batch-size", type=int, default=4, help="slice pairs in a step (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples, the phantom and the trainings")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a thread each (default 2)")
    options = parser.parse_args()
    space = load_spaces([options.search])[0]
    training, validation = (int(count) for count in options.patients.split("/"))
    data = options.out / f"phantom-{training + validation}"
    if not data.exists():
        write_phantom(data, patients=training + validation, seed=options.seed)
    cached = prepare(list(find_patients(data).values()), options.out / "cache")
    shipped = space.settings_of("joint")
    epochs = options.epochs or shipped.training.epochs
    every = options.validate_every or shipped.training.validate_every
    settings = with_values(
        shipped,
        {"training.batch_size": options.batch_size, "training.epochs": epochs, "training.validate_every": every},
    )
    recorder = Recorder(
        options.out,
        space,
        settings,
        places(options.samples, space.parameters, options.seed),
        (cached[:training], cached[training:]),
    )
    identity = {
        "search": space.name,
        "parameters": {p.name: [p.low, p.high, p.scale] for p in space.parameters},
        "settings": settings_to_dict(settings),
        "patients": {"training": training, "validation": validation},
        "data_fingerprint": fingerprint(cached),
        "seed": options.seed,
    }
    about = options.out / RECORDED_WITH
    if about.exists():
        if json.loads(about.read_text())["identity"] != json.loads(json.dumps(identity)):
            parser.error(f"--out: must hold a table of the same search, settings and patients, or none, got {about}")
    else:
        about.write_text(json.dumps({"identity": identity, "commit": commit(), "versions": versions()}, indent=1))
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        recorder.record(pool, [(number, options.seed) for number in range(options.samples)])
        repeated = to_repeat(pd.read_csv(recorder.path), options.seed)
        seeds = range(options.seed + 1, options.seed + 1 + options.repeats)
        recorder.record(pool, [(number, seed) for number in repeated for seed in seeds])


if __name__ == "__main__":
    main()

"""Record a table of results: real trainings over a search space, with the objective after every validated epoch.

python benchmarks/speed/results_table.py --out runs/results-table [--samples 48] [--epochs 36] [--validate-every 2]

Samples are a scrambled Sobol sequence over the parameters of `--search`, each trained for all epochs with one seed, as
in a study. Then the best four are trained with `--repeats` more seeds, for the spread over seeds. Each training has one
thread, `--jobs` run at once. The patients are a few of the phantom's and batches are small, so that a training takes a
minute; all other settings are the search's.

Writes `table.csv`, a line per training, and `table.json`, its settings, into --out. The same command continues after a
stop and repeats no training; a folder with a table of other settings or patients is an error. `early_stopping.py`
and `samplers.py` replay searches on the table.
"""

import argparse
import contextlib
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
from points import sobol_samples

from jointnet.data.folder import find_patients
from jointnet.errors import TrainingDivergedError
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.cache import CachedPatient, fingerprint, prepare
from jointnet.settings import Settings, settings_to_dict, with_values
from jointnet.system.versions import commit, versions
from jointnet.train.loop import train
from jointnet.train.objective import OBJECTIVE, EpochReport
from study.search.file.reading import load_spaces
from study.search.parameters import settings_of_sample

TABLE, RECORDED_WITH = "table.csv", "table.json"
REPEATED = 4
"""Number of the best samples that are trained with further seeds."""


def read_table(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a recorded table and the settings that it was recorded with.

    Returns:
        The table and the content of `table.json`. The table has columns `sample` (number from 0), `seed`, the
        parameters by name, and `1`, `2`, ...: the objective after each epoch, NaN where it was not validated or the
        training had diverged.
    """
    return pd.read_csv(folder / TABLE), json.loads((folder / RECORDED_WITH).read_text())


def best_so_far(table: pd.DataFrame) -> np.ndarray:
    """Return the smallest objective up to each validated epoch, by which a study ranks; NaN elsewhere.

    The shape is (trainings, epochs).
    """
    epochs = sorted((name for name in map(str, table.columns) if name.isdigit()), key=int)
    objectives = table[epochs].to_numpy(float)
    return np.where(np.isnan(objectives), np.nan, np.fmin.accumulate(objectives, axis=1))


def best_samples(table: pd.DataFrame, seed: int) -> list[int]:
    """Return the REPEATED samples with the best objective at full budget."""
    own = table[table["seed"] == seed]
    return own["sample"].to_numpy()[np.argsort(best_so_far(own)[:, -1], kind="stable")][:REPEATED].tolist()


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


def record(
    path: Path,
    pool: ProcessPoolExecutor,
    wanted: Mapping[tuple[int, int], Mapping[str, Any]],
    settings: Settings,
    patients: tuple[Any, Any],
) -> None:
    """Train each wanted sample and seed that the table lacks, and append a line as soon as each is over."""
    known = set(pd.read_csv(path)[["sample", "seed"]].itertuples(index=False, name=None)) if path.exists() else set()
    missing = {key: sample for key, sample in wanted.items() if key not in known}
    futures = {
        pool.submit(learning_curve, settings_of_sample(settings, sample), *patients, key[1]): (key, sample)
        for key, sample in missing.items()
    }
    for done, future in enumerate(as_completed(futures), start=1):
        ((number, seed), sample), curve = futures[future], future.result()
        epochs = {str(epoch): value for epoch, value in enumerate(curve, start=1)}
        line = {"sample": number, "seed": seed, **sample, **epochs}
        pd.DataFrame([line]).to_csv(path, mode="a", header=not path.exists(), index=False)
        print(f"{done}/{len(missing)}: sample {number}, seed {seed}: {np.nanmin(curve):.4f}", flush=True)


def main() -> None:
    """Record the missing trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--search", default="joint", help="search space of the joint model (default joint)")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3, help="further seeds of four samples (default 3)")
    parser.add_argument("--epochs", type=int, help="passes over the slices (default: the length in the search)")
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
    every = options.validate_every or shipped.training.validate_every
    values = {"training.batch_size": options.batch_size, "training.validate_every": every}
    if options.epochs is not None:
        values |= {"training.epochs": options.epochs, "training.steps": None}
    settings = with_values(shipped, values)
    identity = {
        "search": space.name,
        "parameters": {p.name: list(p.domain.as_dict().values()) for p in space.parameters},
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
    samples = sobol_samples(space.parameters, options.samples, options.seed)
    table, inputs = options.out / TABLE, (settings, (cached[:training], cached[training:]))
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        record(table, pool, {(number, options.seed): sample for number, sample in enumerate(samples)}, *inputs)
        repeated = best_samples(pd.read_csv(table), options.seed)
        seeds = range(options.seed + 1, options.seed + 1 + options.repeats)
        record(table, pool, {(number, seed): samples[number] for number in repeated for seed in seeds}, *inputs)


if __name__ == "__main__":
    main()

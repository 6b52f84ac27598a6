"""Thousands of broken scans, folders, TOML and model files: each gives a valid result or a message, and nothing else.

    python benchmarks/faults/fuzz.py --cases 10000 --seed 0

A case is a sound input with one to three mutations. It passes where reading it gives a valid result, or an
InputError whose every line names a file and a rule, within 5 s of CPU and 2 GB of memory, without a warning of
numpy's, and without a change to the input. What fails is listed with the number that repeats it: --only 1234.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
from broken_folders import broken_folder
from broken_scans import SECRET, broken_scan, sound_patient
from broken_toml import broken_toml

from jointnet.data.__main__ import main as data_command
from jointnet.data.check.inspection import inspect_folder
from jointnet.data.description import FILE, MSCMRSEG, load_dataset, preset_content
from jointnet.data.folder import find_patients
from jointnet.errors import EXIT_DATA, EXIT_USAGE, DataError, InputError
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
from jointnet.preparation.prepared_patient import prepare_patient
from jointnet.settings import Settings, load_settings, with_values
from study.plan.plan import make_arms
from study.plan.splits import make_splits
from study.search.file.reading import load_spaces
from study.search.file.split_counts import Counts
from study.store_names import is_plain_name

ROOT = Path(__file__).parents[2]
SECONDS = 5.0
MEMORY_BYTES = 2 * 1024**3
"""Memory limit, in addition to the address space of the process before the first case."""
KINDS = {"scan": 0.44, "folder": 0.1, "search": 0.18, "settings": 0.1, "dataset": 0.14, "model": 0.04}
RULE = re.compile(r"\bmust\b|\blacks\b|\?")
"""The words of a message that states a rule, or that asks."""
NOBODY = 65534
"""A user without permissions, as whom half of the folders are read if the fuzz is run by root."""


class TooSlowError(Exception):
    """A case exceeded its time limit. It is no OSError, which the readers catch."""


def main() -> int:
    """Run the cases and return 0 if all pass, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone, with its traceback")
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)
    signal.signal(signal.SIGPROF, _too_slow)
    model = _sound_model()
    preset_content(MSCMRSEG)  # loads a module that NOBODY may not be able to read
    resource.setrlimit(resource.RLIMIT_AS, (int(1024**2 * _memory_mb("VmSize")) + MEMORY_BYTES, resource.RLIM_INFINITY))
    numbers = range(options.cases) if options.only is None else [options.only]
    outcomes: Counter[tuple[str, str]] = Counter()
    failed, began = 0, time.perf_counter()
    slowest, largest_mb = 0.0, 0.0
    for done, number in enumerate(numbers, start=1):
        rng = np.random.default_rng([options.seed, number])
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        outcome, detail, seconds, mb = run_case(kind, rng, model)
        slowest, largest_mb = max(slowest, seconds), max(largest_mb, mb)
        outcomes[kind, outcome] += 1
        failed += outcome == "FAILED"
        if outcome == "FAILED" or options.only is not None:
            shown = detail if options.only is not None else detail.splitlines()[-1]
            print(f"case {number}, {kind}, {outcome}: {shown}", flush=True)
        if done % 1000 == 0:
            print(f"{done} cases, {failed} failed, {time.perf_counter() - began:.0f} s", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:<10}{outcome:<10}{count:>7}")
    print(f"{failed} failed of {len(numbers)}; at most {slowest:.2f} s of CPU and {largest_mb:.0f} MB for a case")
    return int(failed > 0)


def run_case(kind: str, rng: np.random.Generator, model: tuple[bytes, Settings]) -> tuple[str, str, float, float]:
    """Create an input and read it.

    Returns:
        `valid`, `refused` or `FAILED`, the message, CPU seconds, and MB of memory.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reading = {"scan": _scan, "search": _search, "settings": _settings, "dataset": _dataset, "folder": _folder}
        read, told = _model(folder, rng, model) if kind == "model" else reading[kind](folder, rng)
        before = _digest(folder)
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak to the current resident memory
        resident_mb, began = _memory_mb("VmRSS"), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            read()
            outcome, detail = "valid", ""
        except InputError as error:
            outcome, detail = "refused", str(error)
            strange = [line for line in error.errors if not (any(name in line for name in told) and RULE.search(line))]
            if strange or not error.errors or SECRET in detail or max(map(len, error.errors)) > 3000:
                outcome, detail = "FAILED", f"message: {detail[:400]!r}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome, detail = "FAILED", traceback.format_exc()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        used = time.process_time() - began, _memory_mb("VmHWM") - resident_mb
        if _digest(folder) != before:
            outcome, detail = "FAILED", "the input was changed"
        return outcome, detail, *used


Case = tuple[Callable[[], None], list[str]]


def _scan(folder: Path, rng: np.random.Generator) -> Case:
    """Create a patient with one or two broken files. Reading checks and prepares it, as the command does."""
    for name, data in sound_patient().items():
        (folder / name).write_bytes(data)
    names = sorted(path.name for path in folder.iterdir())
    for name in rng.choice(names, int(rng.integers(1, 3)), replace=False):
        (folder / name).write_bytes(broken_scan((folder / name).read_bytes(), rng))

    def read() -> None:
        facts = inspect_folder(folder)
        result = facts.content()
        shown = f"{facts.table()}{json.dumps(result, allow_nan=False)}"
        if SECRET in shown:
            raise RuntimeError("text of a header is shown")
        if result["errors"]:
            raise InputError(result["errors"])
        images, labels, _, _ = prepare_patient(find_patients(folder)["1"])
        if not (np.isfinite(images).all() and labels.max() <= 3 and 0 <= images.min() <= images.max() <= 1.5):
            raise RuntimeError("prepared arrays are not valid")

    return read, [str(folder)]


def _folder(folder: Path, rng: np.random.Generator) -> Case:
    """Create a broken folder of two patients. Reading runs `init`, which proposes a description and writes nothing."""
    folder.chmod(0o755)
    arguments = ["init", str(folder), *broken_folder(folder, rng)]
    as_nobody = os.geteuid() == 0 and rng.random() < 0.5

    def read() -> None:
        shown, told = io.StringIO(), io.StringIO()
        os.seteuid(NOBODY if as_nobody else os.geteuid())
        try:
            with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(told):
                status = data_command(arguments)
        finally:
            os.seteuid(os.getuid())
        if SECRET in shown.getvalue() + told.getvalue():
            raise RuntimeError("text of a header is shown")
        if status not in (0, EXIT_USAGE, EXIT_DATA):
            raise RuntimeError(f"status {status}")
        if status:
            raise InputError(told.getvalue().removeprefix("error: ").split("\nerror: "))

    return read, [str(folder), "--cine", "--lge", "--values", "--frame"]


def _dataset(folder: Path, rng: np.random.Generator) -> Case:
    """Create a sound patient with a broken description. Reading checks and prepares it."""
    for name, data in sound_patient().items():
        (folder / name).write_bytes(data)
    (folder / FILE).write_bytes(broken_toml(Path(__file__).with_name("described.toml"), rng))

    def read() -> None:
        dataset = load_dataset(folder)
        facts = inspect_folder(folder, dataset=dataset)
        json.dumps(facts.content(), allow_nan=False)
        facts.table()
        dataset.summary()
        if facts.errors:
            raise DataError(facts.errors)
        for files in find_patients(folder).values():
            if prepare_patient(files).labels.max() > 3:
                raise RuntimeError("prepared labels are not valid")

    return read, [str(folder)]


def _search(folder: Path, rng: np.random.Generator) -> Case:
    """Create a broken search space. Reading goes as far as creating its arms."""
    path = folder / "own.toml"
    path.write_bytes(
        broken_toml((ROOT / "search_spaces" / f"{rng.choice(['joint', 'standalone', 'smoke'])}.toml"), rng)
    )

    def read() -> None:
        spaces = load_spaces([str(path)])
        for arm in make_arms(spaces, make_splits(list(map(str, range(1, 11))), [Counts(5, 3, 2)], 0)):
            arm.space.settings_of(arm.method)
            if not is_plain_name(arm.name) or "/" in arm.space.name:
                raise RuntimeError(f"arm {arm.name!r} is no plain name")

    return read, [path.name]


def _settings(folder: Path, rng: np.random.Generator) -> Case:
    path = folder / "own.toml"
    path.write_bytes(broken_toml(ROOT / "jointnet" / "settings" / f"{rng.choice(['quick', 'paper'])}.toml", rng))

    def read() -> None:
        if not isinstance(load_settings(path), Settings):
            raise RuntimeError("no settings")

    return read, [path.name]


def _model(folder: Path, rng: np.random.Generator, sound: tuple[bytes, Settings]) -> Case:
    data, settings = bytearray(sound[0]), sound[1]
    for _ in range(int(rng.integers(1, 4))):
        match rng.integers(0, 4):
            case 0:
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            case 1:
                data = data[: int(rng.integers(1, len(data)))]
            case 2:
                at = int(rng.integers(len(data)))
                data[at : at + 64] = rng.bytes(64)
            case _:
                first, second = sorted(int(at) for at in rng.integers(0, len(data), 2))
                data += data[first:second]
    path = folder / "model.pt"
    path.write_bytes(data)

    def read() -> None:
        if load_model(path).settings != settings:
            raise RuntimeError("another model was read")

    return read, [str(path)]


def _sound_model() -> tuple[bytes, Settings]:
    """Return the file of a small joint model, and its settings."""
    settings = with_values(Settings(), {"model.widths": [4, 4], "model.hidden": 2})
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.pt"
        save_model(path, build_model(settings).state_dict(), settings, {"training": ["1"], "validation": ["2"]}, 1)
        return path.read_bytes(), settings


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path))
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _memory_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TooSlowError(f"took more than {SECONDS:g} s")


if __name__ == "__main__":
    sys.exit(main())

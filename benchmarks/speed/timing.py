"""Shared by the timings: the machine's description, measurement in turn, the printed table, and JSON of a run.

Times on these machines are noisy. So alternatives are measured in turn (A B A B ...), ratios are computed turn by turn,
and every figure is a median with its range. The load of the machine is recorded as well.

    python benchmarks/speed/step.py --out runs/speed/step.json
    python benchmarks/speed/step.py --compare runs/speed/step.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from jointnet.system.versions import versions

PACKAGES = ("torch", "numpy", "scipy", "ray", "optuna", "mlflow", "monai")


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: name of the figure, by which two runs are compared.
        values: one value for each repeat.
        unit: `s`, `ms`, `MB`, `x` (a ratio) ...
        most: goal that is an upper bound, or None.
        least: goal that is a lower bound, or None.
    """

    name: str
    values: tuple[float, ...]
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def goal(self) -> str:
        """The text of the goal; "" where there is none."""
        bounds = (("at most", self.most), ("at least", self.least))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    @property
    def missed(self) -> bool:
        """Return whether the median misses the goal. NaN misses every goal."""
        over = self.most is not None and not self.median <= self.most
        return over or (self.least is not None and not self.median >= self.least)


def in_turn(functions: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Time functions in turn for `repeats` rounds, after `warm_up` rounds, and return the seconds of each by name."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(warm_up + repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> tuple[float, ...]:
    """Return the ratio of each turn."""
    return tuple(a / b for a, b in zip(over, under, strict=True))


def create_parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"counted turns (default {repeats})")
    parser.add_argument("--out", type=Path, help="JSON file for the figures and the machine")
    parser.add_argument("--compare", type=Path, help="JSON file of an earlier run; its medians stand beside these")
    return parser


def machine() -> dict[str, Any]:
    """Return the processor, the number of threads, the versions, and the load of the last minute."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "versions": versions(PACKAGES),
        "load": round(os.getloadavg()[0], 2),
    }


def print_figures(figures: Sequence[Figure], options: argparse.Namespace, **settings: Any) -> None:
    """Print the figures as a table, beside those of the run in `--compare`, and write them to `--out`.

    Args:
        figures: the figures in the order of the table.
        options: options of the command line, see `create_parser`.
        settings: further settings that are needed to repeat the figures.
    """
    here = machine()
    print(f"{here['processor']}, {here['simd']}, {here['threads']} threads, GPU {here['gpu']}, load {here['load']}")
    before = {}
    if options.compare is not None:
        earlier = json.loads(options.compare.read_text())
        before = {each["name"]: each["median"] for each in earlier["figures"]}
        now, then = json.loads(json.dumps(here | settings)), earlier["machine"] | earlier["settings"]
        for name in sorted({*now, *then} - {"load"}):
            if now.get(name) != then.get(name):
                print(f"not comparable with {options.compare}: {name} was {then.get(name)}, is {now.get(name)}")
    width = max((len(each.name) for each in figures), default=0)
    for each in figures:
        low, high = min(each.values), max(each.values)
        line = f"{each.name:{width}}  {each.median:10.4g} {each.unit:4} ({low:.4g} to {high:.4g})"
        if each.goal:
            line += f"  goal {each.goal}: {'MISSED' if each.missed else 'met'}"
        if each.name in before:
            line += f"  before {before[each.name]:.4g}"
        print(line)
    if options.out is not None:
        values = [asdict(figure) | {"median": figure.median} for figure in figures]
        content = {"machine": here, "settings": settings, "figures": values}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=1))


def _processor() -> str:
    """Return the processor's name from Linux, else from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

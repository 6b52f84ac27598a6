"""Sections of a benchmark, each in a process of its own, which a crash or a time limit ends without the others."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from timing import Figure

SECONDS_TO_STOP = 20.0
"""Time that a section gets to end what it started, such as Ray, before it is killed."""


@dataclass(frozen=True)
class Ran:
    """What became of a section.

    Attributes:
        name: its name.
        figures: its figures, also where it did not end.
        seconds: how long it took.
        error: why it did not end; "" where it did.
        late: whether its time was over.
    """

    name: str
    figures: list[Figure]
    seconds: float
    error: str = ""
    late: bool = False


def run_sections(sections: Mapping[str, tuple[Sequence[str], float]], seconds: float) -> list[Ran]:
    """Run sections one after the other.

    Args:
        sections: the command of each section by its name, and its largest share of the time. The command gets
            `--figures FILE`, to which it writes with `write_figures`.
        seconds: limit of all sections.
    """
    ran, end = [], time.monotonic() + seconds
    for name, (command, share) in sections.items():
        began = time.monotonic()
        limit = max(0.0, min(end - began, share * seconds))
        with tempfile.TemporaryDirectory() as folder:
            file, error, late = Path(folder) / "figures", "", False
            file.touch()
            whole = [*command, "--figures", str(file)]
            process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                _, said = process.communicate(timeout=limit)
                if process.returncode:
                    error = f"status {process.returncode}: {' '.join(said.split())[-1500:]}"
            except subprocess.TimeoutExpired:
                late, error = True, f"out of time after {limit:.0f} s"
                _stop(process)
            ran.append(Ran(name, read_figures(file), time.monotonic() - began, error, late))
        print(f"{name}: {error or 'done'} ({ran[-1].seconds:.0f} s)", flush=True)
    return ran


def write_figures(figures: Iterable[Figure], file: Path) -> None:
    """Write each figure to the file as soon as it is measured."""
    with file.open("a", encoding="utf-8") as lines:
        for figure in figures:
            print(json.dumps(asdict(figure)), file=lines, flush=True)


def read_figures(file: Path) -> list[Figure]:
    """Return the figures that `write_figures` wrote. Half a last line of a killed process is left out."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines(True) if line.endswith("\n")]
    return [Figure(**line | {"values": tuple(line["values"])}) for line in lines]


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()

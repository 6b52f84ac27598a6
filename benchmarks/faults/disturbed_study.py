"""A study in a separate process, into which faults can be injected, and its ledger and tracking store afterwards."""

import contextlib
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from study.search.outcome import TrialOutcome, after
from study.store_address import sqlite_address
from study.store_names import EXPERIMENT
from study.trials.ledger import LEDGER_FILE, read_events

MARK = "JOINTNET_FAULTS"
TABLES = ("table1.csv", "patients.csv", "slices.csv")
"""Tables of the report without times and names of runs."""
SEARCH = """
question = "Does a study survive what happens to it?"
models = ["standalone"]
phantom_patients = 5
splits = ["2/2/1"]
[fixed]
"model.widths" = [4, 4]
"training.downsampling" = 4
"training.validate_every" = 2
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[parameters.alpha]
low = 0.0
high = 1.0
scale = "linear"
why = "all of it"
[fidelity]
max_epochs = 6
grace_epochs = 2
reduction_factor = 2
[budget]
num_samples = 3
"""
"""A search with the smallest setting of the phantom. After a kill between two validations an epoch is trained again."""


@dataclass
class DisturbedStudy:
    """One study: its command, its driver, and the faults so far.

    Attributes:
        campaign: folder of the campaign. Its studies share a phantom and its cache there, unless they are fresh.
        name: name of the study within the campaign.
        seed: seed of the study.
        server: address of the tracking server; None for a study in a fresh folder, with its own phantom, cache and
            store.
        options: options of the command, in addition to those common to all studies of a campaign.
        driver: the last driver's process.
        starts: number of drivers so far.
        events_before: number of events in the ledger when the last driver started.
        done: the faults so far, each as moment and kind.
    """

    campaign: Path
    name: str
    seed: int
    server: str | None
    options: tuple[str, ...] = ()
    driver: subprocess.Popen[bytes] | None = None
    starts: int = 0
    events_before: int = 0
    done: list[tuple[str, str]] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """The working directory of the study's command."""
        return self.campaign if self.server else self.campaign / "out" / self.name

    @property
    def tracking_uri(self) -> str:
        """The address of the study's tracking store."""
        return self.server or sqlite_address(self.place / "mlruns" / "mlflow.db")

    @property
    def out(self) -> Path:
        """The output folder, which the study's folder is in."""
        return self.campaign / "out" / self.name

    @property
    def folder(self) -> Path | None:
        """The study's folder; None before it exists."""
        return next(iter(sorted(path.parent for path in self.out.glob(f"*/{LEDGER_FILE}"))), None)

    @property
    def log(self) -> Path:
        """The file with the output of all drivers."""
        return self.campaign / f"{self.name}.log"

    def start(self) -> None:
        """Start a driver, always with the same command."""
        self.place.mkdir(parents=True, exist_ok=True)
        self.events_before = len(self.events())
        command = [sys.executable, "-m", "study.run", "--search", str(self.campaign / "faults.toml")]
        command += ["--concurrent", "1", "--seed", str(self.seed), "--out", str(self.out), *self.options]
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        environment |= {"JOINTNET_CACHE": str(self.place / "cache"), "PYTHONPATH": str(Path(__file__).parents[2])}
        environment |= {"OMP_NUM_THREADS": "1", MARK: str(self.out)}
        if self.server:
            environment["MLFLOW_TRACKING_URI"] = self.server
        with self.log.open("ab") as log:
            self.driver = subprocess.Popen(
                command, cwd=self.place, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.starts += 1

    def ended(self) -> int | None:
        """Return the exit status of the driver; None while it runs."""
        return None if self.driver is None else self.driver.poll()

    def clear(self) -> None:
        """Kill the Ray processes of a dead driver, so that they do not accumulate on a small machine."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.out):
                    process.kill()

    def events(self) -> list[dict[str, Any]]:
        """Return the ledger's events so far."""
        return [] if self.folder is None else read_events(self.folder / LEDGER_FILE)[0]

    def epochs(self) -> int:
        """Return the number of epochs in the ledger so far."""
        return sum(event["event"] == "epoch" for event in self.events())

    # Faults. Each method returns whether there was a target.

    def kill_driver(self) -> bool:
        """Kill the driver."""
        if self.driver is None or self.driver.poll() is not None:
            return False
        self.driver.kill()
        return True

    def terminate(self) -> bool:
        """Send SIGTERM to the driver, as a batch system does."""
        if self.driver is None or self.driver.poll() is not None:
            return False
        self.driver.terminate()
        return True

    def kill_below(self, *names: str) -> bool:
        """Kill the first descendant of the driver whose command line contains one of these names."""
        with contextlib.suppress(psutil.Error):  # a process may end meanwhile
            for process in [] if self.driver is None else psutil.Process(self.driver.pid).children(recursive=True):
                if any(name in " ".join(process.cmdline()) for name in names):
                    process.kill()
                    return True
        return False

    def corrupt_checkpoint(self, draw: random.Random) -> bool:
        """Kill the driver and truncate or overwrite the newest checkpoint, which the next driver then needs."""
        files = sorted(self.out.rglob("checkpoints/epoch-*.pt"), key=lambda path: path.stat().st_mtime)
        if not files:
            return False
        killed = self.kill_driver()
        self.clear()
        files = sorted(path for path in files if path.exists())
        if files:
            content = files[-1].read_bytes()
            files[-1].write_bytes(draw.choice([b"", content[: len(content) // 2], b"x" * len(content)]))
        return killed and bool(files)

    # Results.

    def outcomes(self) -> dict[str, TrialOutcome]:
        """Return the trials of the ledger by arm and id."""
        trials: dict[str, TrialOutcome] = {}
        for event in self.events():
            if "trial" in event and self.folder is not None:
                key = f"{event['arm']}/{event['trial']}"
                outcome = after(trials.get(key), event, self.folder)
                if outcome is not None:
                    trials[key] = outcome
        return trials

    def runs(self) -> list[Any]:
        """Return the study's runs in the tracking store."""
        if self.folder is None:
            return []
        client = MlflowClient(self.tracking_uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        condition = f"tags.`study.id` = '{self.folder.name}'"
        return list(client.search_runs([experiment.experiment_id], condition, max_results=1000))

    def leftovers(self) -> list[Path]:
        """Return the incomplete files and folders that were neither finished nor deleted."""
        return sorted({path for place in (self.place, self.out) for path in place.rglob("*.part*")})

    def rows(self, run: Any) -> list[tuple[str, int, float]]:
        """Return the metric rows of a run: name, step, value."""
        client = MlflowClient(self.tracking_uri)
        return sorted(
            (name, point.step, point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        )


def wait_for(study: DisturbedStudy, condition: Any, seconds: float) -> bool:
    """Wait until a condition of a study holds or its driver ends, and return whether the condition holds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition(study):
            return True
        if study.ended() is not None:
            return bool(condition(study))
        time.sleep(0.05)
    return False


def differences(study: DisturbedStudy, twin: DisturbedStudy) -> dict[str, int]:
    """Return the numbers of differences between a study and its undisturbed twin, in ledger, store and files."""
    mine, other = study.outcomes(), twin.outcomes()
    common = set(mine) & set(other)
    found = study.runs()
    runs, expected = {_key(run): run for run in found}, {_key(run): run for run in twin.runs()}
    both = set(runs) & set(expected)
    rows = [(study.rows(runs[key]), twin.rows(expected[key])) for key in both]
    openings, wanted = (sum(event["event"] == "opened" for event in each.events()) for each in (study, twin))
    return {
        "trials lost": len(set(other) - set(mine)),
        "trials too many": len(set(mine) - set(other)),
        "other suggestions": sum(mine[key].sample != other[key].sample for key in common),
        "other ends": sum((mine[k].state, mine[k].reason) != (other[k].state, other[k].reason) for k in common),
        "other metrics": sum(
            [(e.epoch, e.metrics) for e in mine[key].epochs] != [(e.epoch, e.metrics) for e in other[key].epochs]
            for key in common
        ),
        "runs lost": len(set(expected) - both),
        "runs too many": len(found) - len(both),
        "wrong statuses": sum(runs[key].info.status != expected[key].info.status for key in both),
        "metric rows lost": sum(len(set(right) - set(own)) for own, right in rows),
        "metric rows too many": sum(len(own) - len(set(own)) + len(set(own) - set(right)) for own, right in rows),
        "openings too many": openings - wanted,
        "other tables": sum(_report_file(study, name) != _report_file(twin, name) for name in TABLES),
        "folders too many": max(0, len([path for path in study.out.glob("2*-*") if path.is_dir()]) - 1),
        "leftovers": len(study.leftovers()),
    }


def _report_file(study: DisturbedStudy, name: str) -> bytes | None:
    path = None if study.folder is None else study.folder / "report" / name
    return path.read_bytes() if path is not None and path.is_file() else None


def _key(run: Any) -> str:
    tags = run.data.tags
    return "/".join(tags.get(name, "") for name in ("study.kind", "arm", "baseline", "fold", "trial.id"))

"""The ledger of a study: an append-only file of events, from which the state of the study is rebuilt.

Each line is one event in JSON with its kind (`event`) and time (`at_ms`, Unix time in ms). An event is on the disk
before anything acts on it. Kinds:

    session     a driver starts: data fingerprint, commit
    searching   the search of an arm begins or continues
    drawn       a trial is drawn: arm, trial, number, sample; for a retraining also its seed
    epoch       a trial finished an epoch: arm, trial, epoch, metrics, node, and whether it is `pruned` (in older
                ledgers `behind`)
    failure     the machine ended an attempt at a trial: arm, trial, reason
    ended       a trial is over: arm, trial, state, reason, model
    continued   a trial that the time budget had stopped continues
    searched    the search of an arm is over: arm, num_samples, minutes, per_arm
    selected    a trial is selected: arm, selection
    opened      the sealed test patients are opened for an arm: arm, trial, reason, the models (id and epoch)
    tested      the models were evaluated on them: arm, trial, models, metrics, fingerprint
    baseline    a baseline was evaluated on them: arm (`baselines/NAME`, in folds after the fold), metrics, fingerprint
    delivered   the tracking store holds everything up to here, except the optional entries listed in `left_out`

An arm is named by its key, `joint-25` or, in folds, `fold-2/joint-25`. The retrainings of its trial `t0003` are
separate trials under `joint-25/retrain/t0003`.

An incomplete last line, left by a killed process, is removed when the ledger is opened again. Only one driver at a time
can open the ledger.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from jointnet.errors import InputError, SettingsError
from jointnet.system.atomic_file import sync_folder
from jointnet.system.lock import LockedError, locked
from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.search.outcome import TrialOutcome, after

LEDGER_FILE = "ledger.jsonl"
TRIAL_EVENTS = ("drawn", "epoch", "failure", "ended", "continued")
SEARCH_EVENTS = (*TRIAL_EVENTS, "searched")

Event = dict[str, Any]


class Ledger:
    """The events of one study and the outcomes of its trials. Use as a context manager.

    Args:
        folder: folder of the study; created where it is missing.
        objective: the metric that ranks its trials.

    Raises:
        SettingsError: another driver has the ledger open.
        InputError: a line other than the last is damaged.
    """

    def __init__(self, folder: Path, objective: Objective = REGISTRATION_RATIO) -> None:
        self._objective = objective
        self.folder, self.path = folder, folder / LEDGER_FILE
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            try:
                held.enter_context(locked(folder / f".{LEDGER_FILE}.lock", wait=False))
            except LockedError as error:
                raise SettingsError(
                    f"--out: a study must be run by one process at a time, {folder} is being run by another ({error})"
                ) from None
            self.events, length = read_events(self.path)
            self._outcomes: dict[str, dict[str, TrialOutcome]] = {}
            self._unfinished: dict[str, set[str]] = {}
            for event in self.events:
                self._follow(event)
            self._stream = self.path.open("ab", buffering=0)
            self._stream.truncate(length)
            sync_folder(folder)
            self._held = held.pop_all()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close and unlock the ledger. Without any event, delete its file, and the study's folder if it is empty."""
        self._stream.close()
        if not self.events:
            self.path.unlink(missing_ok=True)
        self._held.close()
        if not self.events:
            with suppress(OSError):  # the folder is not empty
                self.folder.rmdir()

    def append(self, kind: str, **values: Any) -> Event:
        """Write an event to the disk, update the outcomes, and return the event.

        Raises:
            OSError: the event cannot be written; the file is then unchanged.
        """
        event = {"event": kind, "at_ms": int(time.time() * 1000), **values}
        line = json.dumps(event).encode() + b"\n"
        length = os.fstat(self._stream.fileno()).st_size
        try:
            written = 0
            while written < len(line):
                written += self._stream.write(line[written:]) or 0
            os.fsync(self._stream.fileno())
        except OSError:
            self._stream.truncate(length)
            raise
        event = _parsed(line)
        self.events.append(event)
        self._follow(event)
        return event

    def outcomes(self, arm: str) -> Mapping[str, TrialOutcome]:
        """Return a live view of an arm's trials by id, in the order in which they were drawn."""
        return MappingProxyType(self._outcomes.setdefault(arm, {}))

    def unfinished(self, arm: str) -> list[TrialOutcome]:
        """Return an arm's trials that are not over, in the order in which they were drawn."""
        outcomes = self._outcomes.get(arm, {})
        return sorted((outcomes[name] for name in self._unfinished.get(arm, ())), key=lambda trial: trial.number)

    def groups(self) -> list[str]:
        """Return the keys of all arms and of all winners' retrainings that have at least one trial."""
        return [arm for arm, trials in self._outcomes.items() if trials]

    def last(self, kind: str, arm: str | None = None) -> Event | None:
        """Return the last event of a kind, of one arm or of any; None where there is none."""
        return next((e for e in reversed(self.events) if e["event"] == kind and arm in (None, e.get("arm"))), None)

    def count(self, kind: str, arm: str) -> int:
        """Return the number of an arm's events of a kind."""
        return sum(event["event"] == kind and event.get("arm") == arm for event in self.events)

    def searched_seconds(self, arm: str) -> float:
        """Return the seconds for which an arm was searched, summed over all drivers.

        For each driver the time runs from its `searching` event to its last event of the arm's search.
        """
        total_ms = began = until = 0
        for event in (event for event in self.events if event.get("arm") == arm):
            if event["event"] == "searching":
                total_ms, began, until = total_ms + until - began, event["at_ms"], event["at_ms"]
            elif event["event"] in SEARCH_EVENTS:
                until = event["at_ms"]
        return (total_ms + until - began) / 1000

    def _follow(self, event: Event) -> None:
        if event["event"] in TRIAL_EVENTS:
            trials = self._outcomes.setdefault(event["arm"], {})
            outcome = after(trials.get(event["trial"]), event, self.folder, self._objective)
            if outcome is not None:
                trials[event["trial"]] = outcome
                unfinished = self._unfinished.setdefault(event["arm"], set())
                (unfinished.discard if outcome.is_final else unfinished.add)(event["trial"])


def read_events(path: Path) -> tuple[list[Event], int]:
    """Read a ledger and return its events and their length in bytes. A damaged or incomplete last line is left out.

    Raises:
        InputError: another line is damaged.
    """
    content = path.read_bytes() if path.exists() else b""
    lines = content.split(b"\n")
    events: list[Event] = []
    length = 0
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = _parsed(line)
            if not isinstance(event, dict) or "event" not in event:
                raise ValueError("no event")
        except ValueError as error:
            if number == len(lines) - 1:  # a crash of the machine may keep the length of a line but not its content
                break
            raise InputError(f"{path}: line {number} must be an event in JSON, got {line[:80]!r} ({error})") from None
        events.append(event)
        length += len(line) + 1
    return events, length


def _parsed(line: bytes) -> Any:
    """Parse a line of JSON. Keys are interned, because thousands of events share them."""
    return json.loads(line, object_pairs_hook=lambda pairs: {sys.intern(name): value for name, value in pairs})

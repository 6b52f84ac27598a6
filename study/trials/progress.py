"""Progress of a running study: a live table with the remaining time in a terminal, or plain lines without one."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.search.outcome import TrialOutcome
from study.setting_text import setting_text
from study.store_names import TIME_BUDGET

PLAIN_SECONDS = 20.0
"""Without a terminal: least interval between lines about epochs."""
MOST_ROWS = 12
"""Largest number of rows of the live table. With more arms, those that are over are hidden."""
MOST_RUNNING = 4
"""Largest number of running trials that are named."""
ENDS = {
    "complete": "complete",
    "stopped": "stopped early",
    "out of time": "stopped by the time budget",
    "failed": "failed",
}
"""Text of each state of an ended trial."""


@dataclass
class ArmProgress:
    """Progress of the search of one arm, or of its retrainings.

    `trials` is None where the time budget limits them; `expected_epochs` is then infinite. `best` is the best trial so
    far, `latest` the moment of the latest epoch, `training` the number of epochs of each running trial.
    """

    name: str
    trials: int | None
    expected_epochs: float
    expected_seconds: float | None
    limit_seconds: float | None = None
    began: float | None = None
    over: bool = False
    epochs: int = 0
    earlier_epochs: int = 0
    states: dict[str, str] = field(default_factory=dict)
    best: TrialOutcome | None = None
    latest: float | None = None
    training: dict[str, int] = field(default_factory=dict)

    def add_objective(self, trial: TrialOutcome) -> None:
        """Take a trial as the best one if it is."""
        if trial.objective is not None and trial.state != "failed":
            best = None if self.best is None else self.best.costs
            same = self.best is not None and self.best.trial_id == trial.trial_id
            self.best = trial if best is None or same or trial.costs < best else self.best

    @property
    def best_text(self) -> str:
        """The best objective with its trial and setting; "" without one."""
        if self.best is None:
            return ""
        setting = setting_text(self.best.sample)
        return f"{self.best.objective_text()} ({self.best.trial_id}{f': {setting}' if setting else ''})"

    @property
    def endings(self) -> str:
        """The number of ended trials by how they ended."""
        counts = {text: self.count(state) for state, text in ENDS.items()}
        return ", ".join(f"{count} {text}" for text, count in counts.items() if count)

    def count(self, state: str) -> int:
        """Return the number of trials in a state."""
        return sum(value == state for value in self.states.values())

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return sum(self.count(state) for state in ENDS)

    def remaining_seconds(self, now: float, pace: float) -> float | None:
        """Return the estimated remaining seconds, at most up to the time limit; None where there is no estimate.

        The estimate uses the arm's own epochs once two are done, before that the plan's estimate times `pace`. It
        falls between two epochs.
        """
        if self.over:
            return 0.0
        elapsed = 0.0 if self.began is None else now - self.began
        own = self.epochs - self.earlier_epochs
        to_go = max(0.0, self.expected_epochs - self.epochs)
        share_to_come = max(0.0, 1 - self.earlier_epochs / self.expected_epochs)
        by_plan = None if self.expected_seconds is None else self.expected_seconds * share_to_come * pace - elapsed
        since = 0.0 if self.latest is None else now - self.latest
        left = (elapsed - since) / own * to_go - since if own >= 2 else by_plan
        if own < 2 and elapsed and left is not None and left <= 0:
            left = None  # slower than planned, and no epoch shows by how much
        to_limit = None if self.limit_seconds is None else self.limit_seconds - elapsed
        estimates = [seconds for seconds in (left, to_limit) if seconds is not None]
        return max(0.0, min(estimates)) if estimates else None

    def pace(self, now: float) -> float | None:
        """Return the measured over the planned seconds per epoch.

        None before two epochs are done, after the end of the arm, or where the plan has no estimate.
        """
        own = self.epochs - self.earlier_epochs
        if self.began is None or own < 2 or self.over or not self.expected_seconds or math.isinf(self.expected_epochs):
            return None
        until = now if self.latest is None else self.latest
        return (until - self.began) / own / (self.expected_seconds / self.expected_epochs)


class StudyProgress:
    """Live progress of a study's arms. Use as a context manager."""

    def __init__(self, arms: Mapping[str, ArmProgress], seconds_after: float, console: Console | None = None) -> None:
        self._arms = dict(arms)
        self._after = seconds_after
        self._console = console or Console()
        self._tty = self._console.is_terminal
        self._phase = "preparing"
        self._pace = 1.0
        self._last_line = 0.0
        self._over_since: float | None = None
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=1, transient=True)

    def __enter__(self) -> "StudyProgress":
        if self._tty:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._tty:
            self._live.stop()

    def note(self, text: str) -> None:
        """Print a permanent line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=not self._tty)

    def phase(self, text: str) -> None:
        """Show the current phase of the study."""
        if text != self._phase and not self._tty:
            self.note(text)
        self._phase = text

    def counted(self, text: str, done: int, total: int) -> None:
        """Show the number of completed items of a phase."""
        self._phase = f"{text} {done}/{total}"
        if not self._tty and done == total:
            self.note(self._phase)

    def arm_started(self, arm: str, limit_seconds: float | None, phase: str = "searching") -> None:
        """Show that the search of an arm, or its retrainings, have started."""
        self._arms[arm].began, self._arms[arm].limit_seconds = time.monotonic(), limit_seconds
        self.phase(phase)

    def arm_ended(self, arm: str, what: str = "trials") -> None:
        """Print a summary line of an arm's search or retrainings, which are over."""
        state = self._arms[arm]
        state.over = True
        seconds = time.monotonic() - (state.began or time.monotonic())
        best = f"best {state.best_text}" if state.best else "no objective"
        ends = f" ({state.endings})" if state.endings else ""
        self.note(f"{arm}: {state.ended} {what}{ends}, {state.epochs} epochs, {seconds / 60:.1f} min, {best}")
        if all(each.over for each in self._arms.values()):
            self._over_since = time.monotonic()

    def add_earlier(self, arm: str, trial: TrialOutcome) -> None:
        """Count a trial of an earlier driver, which is over or will continue."""
        state = self._arms[arm]
        state.states[trial.trial_id] = (
            "out of time" if trial.out_of_time else trial.state if trial.is_final else "waiting"
        )
        state.epochs += len(trial.epochs)
        state.earlier_epochs += len(trial.epochs)
        state.add_objective(trial)

    def trial_started(self, arm: str, trial_id: str) -> None:
        """Count a trial as running."""
        self._arms[arm].states[trial_id] = "running"
        self._arms[arm].training[trial_id] = 0

    def epoch_done(self, arm: str, trial: TrialOutcome) -> None:
        """Count the latest epoch of a trial."""
        state = self._arms[arm]
        state.epochs += 1
        state.latest = time.monotonic()
        state.training[trial.trial_id] = trial.epoch
        state.add_objective(trial)
        self._pace = state.pace(time.monotonic()) or self._pace
        if not self._tty and time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            best = f", best {state.best_text}" if state.best else ""
            ended = state.ended
            of = "" if state.trials is None else f"/{state.trials}"
            self.note(f"{arm}: {ended}{of} ended, epochs {state.epochs}{best}; {self._eta()}")

    def trial_ended(self, arm: str, trial_id: str, state: str, reason: str) -> None:
        """Count a trial as ended or interrupted. For a failed one print a line with the reason."""
        self._arms[arm].states[trial_id] = "out of time" if reason == TIME_BUDGET else state
        if state == "failed":
            self.note(f"{arm}: trial {trial_id} failed: {reason}")

    def remaining_seconds(self) -> float | None:
        """Return the estimated seconds until the study is over; None while they are unknown for an arm."""
        now = time.monotonic()
        parts = [arm.remaining_seconds(now, self._pace) for arm in self._arms.values()]
        estimates = [seconds for seconds in parts if seconds is not None]
        after = self._after if self._over_since is None else max(0.0, self._after - (now - self._over_since))
        return after + sum(estimates) if len(estimates) == len(parts) else None

    def _eta(self) -> str:
        left = self.remaining_seconds()
        if left is None:
            return "time left unknown"
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {max(5, round(left / 5) * 5):.0f} s left"

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        table.add_column("arm", no_wrap=True)
        for name in ("trials", "epochs", "best"):
            table.add_column(name, justify="right")
        table.add_column("ended")
        crowded = len(self._arms) > MOST_ROWS
        visible = [arm for arm in self._arms.values() if not (crowded and arm.over)]
        for arm in visible[:MOST_ROWS]:
            best = "" if arm.best is None else arm.best.objective_text()
            of = "" if arm.trials is None else f"/{arm.trials}"
            table.add_row(arm.name, f"{arm.ended}{of}", str(arm.epochs), best, arm.endings)
        hidden = f"; {len(visible) - MOST_ROWS} more arms" if len(visible) > MOST_ROWS else ""
        ranked = [arm for arm in self._arms.values() if arm.best is not None]
        leader = min(ranked, key=_costs, default=None)
        lines = [] if leader is None else [Text(f"Best on validation: {leader.name} {leader.best_text}")]
        return Group(table, *lines, Text(f"Now {self._phase}{self._running()}{hidden}; {self._eta()}"))

    def _running(self) -> str:
        """Return the running trials with their number of epochs."""
        running = [
            f"{trial_id} after {epochs} {'epoch' if epochs == 1 else 'epochs'}" if epochs else f"{trial_id} starting"
            for arm in self._arms.values()
            for trial_id, epochs in arm.training.items()
            if arm.states.get(trial_id) == "running"
        ]
        more = f" and {len(running) - MOST_RUNNING} more" if len(running) > MOST_RUNNING else ""
        return f" ({', '.join(running[:MOST_RUNNING])}{more})" if running else ""


def _costs(arm: ArmProgress) -> tuple[float, ...]:
    return (math.inf,) if arm.best is None else arm.best.costs

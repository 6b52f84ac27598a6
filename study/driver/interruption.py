"""Ctrl+C during a search: once, running trials finish their epoch; twice, everything stops at once.

At any other time it stops the command at once. Signals of a batch system and of a terminal that is closed do the same.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl+C, what a batch system sends before it kills, and what a terminal sends that is closed, such as a lost ssh."""


class StudyHaltedError(Exception):
    """The study stopped before its end, with nothing lost: the same command goes on.

    Attributes:
        by_user: whether it was asked to stop; otherwise the disk or the tracking store is to blame.
    """

    def __init__(self, reason: str, *, by_user: bool) -> None:
        super().__init__(reason)
        self.by_user = by_user


def heed_signals() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does. Ray replaces the one of SIGTERM as it starts."""
    if threading.current_thread() is threading.main_thread():  # only the main thread hears signals
        for number in set(_heeded()) - {signal.SIGINT}:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def first_gently(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, the first signal calls `stop` and the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield
        return
    heard = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        heard += 1
        if heard > 1:
            raise KeyboardInterrupt
        stop()

    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded() -> list[signal.Signals]:
    """Return the signals that are not ignored on purpose, as `nohup` ignores SIGHUP."""
    return [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]

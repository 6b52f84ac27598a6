"""Handling of Ctrl+C and other signals that stop a command.

During a search, the first signal lets running trials finish their epoch, and the second stops everything at once. At
any other time the first signal stops the command. SIGTERM from a batch system and SIGHUP from a closed terminal have
the same effect as Ctrl+C.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl+C; the signal of a batch system before it kills; the signal of a closed terminal or lost ssh connection."""


class StudyHaltedError(Exception):
    """The study stopped before its end. Nothing is lost, and the same command resumes it.

    Attributes:
        by_user: whether the user stopped it; otherwise the disk or the tracking store failed.
    """

    def __init__(self, reason: str, *, by_user: bool) -> None:
        super().__init__(reason)
        self.by_user = by_user


def heed_signals() -> None:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does. Ray replaces the SIGTERM handler on start."""
    if threading.current_thread() is threading.main_thread():  # Python handles signals in the main thread only
        for number in set(_heeded()) - {signal.SIGINT}:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def first_gently(stop: Callable[[], None]) -> Iterator[None]:
    """Within the context, call `stop` on the first signal and raise KeyboardInterrupt on the second."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
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
    """Return SIGNALS, without SIGHUP if it is ignored on purpose, as under `nohup`."""
    return [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]

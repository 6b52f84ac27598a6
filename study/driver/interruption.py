"""Ctrl+C during a search: once, running trials finish their epoch; twice, everything stops at once.

So do the signals of a batch system and of a terminal that is closed.
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

    heeded = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]  # nohup
    before: dict[signal.Signals, Any] = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

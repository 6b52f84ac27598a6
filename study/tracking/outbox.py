"""A queue of writes to the tracking store, executed in order by a thread of its own.

A slow or unreachable store therefore does not delay the search. Pending writes are kept in memory. Their content is in
the study's ledger, so after a kill the next driver writes it from there. The queue has no size limit and drops nothing
for lack of room.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
REST_SECONDS = 5.0
"""Pause between two rounds of writes. Data that collects meanwhile is written in one call, which is cheaper."""


class Outbox:
    """A thread that executes writes one after the other, in rounds, and repeats a failed one until it succeeds.

    Args:
        say: prints a line. It is called once when the store becomes unreachable, once when it is back, and for the
            first write that the store refused.
        refused: returns whether an exception is permanent. Such a write is dropped and added to `refusals`.

    Attributes:
        trouble: the exception of the write that is being repeated; None while none is.
        refusals: the error message of each write that the store refused.
        left_out: the optional writes that failed, each with its error message.
    """

    def __init__(self, say: Callable[[str], None], refused: Callable[[Exception], bool]) -> None:
        self._say, self._refused = say, refused
        self.trouble: Exception | None = None
        self.refusals: list[str] = []
        self.left_out: list[str] = []
        self._deeds: deque[tuple[Callable[[], Any], str]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._flushing = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, deed: Callable[[], Any], side: str = "") -> None:
        """Append a write to the queue. It may be executed twice, so it must be idempotent.

        Args:
            deed: the write.
            side: name of an optional write, such as `the description of joint-25`. It is tried only once and does
                not block later writes. An empty name means a required write.
        """
        with self._changed:
            self._deeds.append((deed, side))
            self._changed.notify_all()

    def flush(self, seconds: float) -> int:
        """Wait at most so many seconds for an empty queue and return the number of required writes that are left."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._deeds, timeout=seconds)
            finally:
                self._flushing -= 1
            return sum(not side for _, side in self._deeds)

    def close(self, seconds: float) -> int:
        """Flush, stop the thread and return the number of required writes that are left."""
        left = self.flush(seconds)
        with self._changed:
            self._closed = True
            self.left_out += [f"{side}: not done in time" for _, side in self._deeds if side]
            self._changed.notify_all()
        return left

    def _run(self) -> None:
        pause, away_since, round_began = FIRST_PAUSE_SECONDS, 0.0, 0.0
        while True:
            with self._changed:
                if not self._deeds:
                    self._changed.wait_for(lambda: bool(self._deeds) or self._closed)
                    rest = REST_SECONDS - (time.monotonic() - round_began)
                    self._changed.wait_for(lambda: bool(self._flushing) or self._closed, timeout=max(0.0, rest))
                    round_began = time.monotonic()
                if self._closed:
                    return
                deed, side = self._deeds[0]
            try:
                deed()
            except Exception as error:  # the exceptions depend on the store's client
                told = " ".join(str(error).split())[:200]
                if not side and not self._refused(error):
                    self.trouble = error
                    if not away_since:
                        away_since = time.monotonic()
                        self._say(f"WARNING: the tracking store cannot be written, the ledger keeps all for it: {told}")
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed, timeout=pause)
                    pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
                    continue
                if side:
                    self.left_out.append(f"{side}: {told}")
                else:
                    self.refusals.append(told)
                    if len(self.refusals) == 1:
                        self._say(f"WARNING: the tracking store refused an entry: {told}")
            if away_since:
                self._say(f"The tracking store is back after {time.monotonic() - away_since:.0f} s; nothing is lost.")
            pause, away_since, self.trouble = FIRST_PAUSE_SECONDS, 0.0, None
            with self._changed:
                self._deeds.popleft()
                self._changed.notify_all()

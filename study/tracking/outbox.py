"""A queue of writes to the tracking store, executed in order by a thread of its own.

A slow or unreachable store therefore does not delay the search. Pending writes are kept in memory. Their content is in
the study's ledger, so after a kill the next driver writes it from there. The queue has no size limit and drops nothing
for lack of room.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from study.store_address import error_text

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 15.0
ROUND_PAUSE_SECONDS = 5.0
"""Pause between two rounds of writes. Data that arrives meanwhile is written in one call, which is cheaper."""


class Outbox:
    """A thread that executes writes one after the other, in rounds, and repeats a failed one until it succeeds.

    Args:
        say: prints a line. It is called once when the store becomes unreachable, once when it is back, and for the
            first write that the store refused.
        is_permanent: returns whether an exception is permanent. Such a write is dropped and added to `refusals`.

    Attributes:
        error: the exception of the write that is being repeated; None while none is.
        refusals: the error message of each write that the store refused.
        left_out: the optional writes that failed, each with its error message.
    """

    def __init__(self, say: Callable[[str], None], is_permanent: Callable[[Exception], bool]) -> None:
        self._say, self._is_permanent = say, is_permanent
        self.error: Exception | None = None
        self.refusals: list[str] = []
        self.left_out: list[str] = []
        self._writes: deque[tuple[Callable[[], Any], str]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._flushing = 0
        self._done = 0  # writes that were executed, refused or left out
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, write: Callable[[], Any], optional: str = "") -> None:
        """Append a write to the queue. It may be executed twice, so it must be idempotent.

        Args:
            write: the write.
            optional: name of an optional write, such as `the description of joint-25`. It is tried only once and does
                not block later writes. An empty name means a required write.
        """
        with self._changed:
            self._writes.append((write, optional))
            self._changed.notify_all()

    def flush(self, stalled_seconds: float, seconds: float = math.inf) -> int:
        """Wait for an empty queue and return the number of required writes that are left.

        Args:
            stalled_seconds: longest wait for one write. A slow store that takes one after the other is waited for.
            seconds: longest wait in all.
        """
        until = time.monotonic() + seconds
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                before = -1
                while self._writes and self._done > before and (rest := until - time.monotonic()) > 0:
                    before = self._done
                    self._changed.wait_for(partial(self._has_done_more, before), timeout=min(stalled_seconds, rest))
            finally:
                self._flushing -= 1
            return sum(not optional for _, optional in self._writes)

    def close(self, stalled_seconds: float, seconds: float = math.inf) -> int:
        """Flush, stop the thread and return the number of required writes that are left."""
        left = self.flush(stalled_seconds, seconds)
        with self._changed:
            self._closed = True
            self.left_out += [f"{optional}: not done in time" for _, optional in self._writes if optional]
            self._changed.notify_all()
        return left

    def _has_done_more(self, before: int) -> bool:
        return self._done > before

    def _run(self) -> None:
        pause, unreachable_since, round_began = FIRST_RETRY_SECONDS, 0.0, 0.0
        while True:
            with self._changed:
                if not self._writes:
                    self._changed.wait_for(lambda: bool(self._writes) or self._closed)
                    rest = ROUND_PAUSE_SECONDS - (time.monotonic() - round_began)
                    self._changed.wait_for(lambda: bool(self._flushing) or self._closed, timeout=max(0.0, rest))
                    round_began = time.monotonic()
                if self._closed:
                    return
                write, optional = self._writes[0]
            try:
                write()
            except Exception as error:  # the exceptions depend on the store's client
                message = error_text(error)
                if not optional and not self._is_permanent(error):
                    self.error = error
                    if not unreachable_since:
                        unreachable_since = time.monotonic()
                        self._say(f"WARNING: the tracking store cannot be written; its entries are kept: {message}")
                    with self._changed:
                        self._changed.wait_for(lambda: self._closed, timeout=pause)
                    pause = min(LONGEST_RETRY_SECONDS, 2 * pause)
                    continue
                if optional:
                    self.left_out.append(f"{optional}: {message}")
                else:
                    self.refusals.append(message)
                    if len(self.refusals) == 1:
                        self._say(f"WARNING: the tracking store refused an entry: {message}")
            if unreachable_since:
                seconds = time.monotonic() - unreachable_since
                self._say(f"The tracking store is back after {seconds:.0f} s; nothing is lost.")
            pause, unreachable_since, self.error = FIRST_RETRY_SECONDS, 0.0, None
            with self._changed:
                self._writes.popleft()
                self._done += 1
                self._changed.notify_all()

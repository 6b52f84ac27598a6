"""Deliveries to the tracking store, in order and in a thread of their own: a slow or dead store holds up nobody.

What is not delivered waits in memory, and whatever it says is in the ledger: after a kill the next driver delivers it
from there. So the spool on disk is the ledger itself, as long as the study and no longer, and nothing is ever dropped
for want of room.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
REST_SECONDS = 5.0
"""Between two rounds of deliveries: what is told in one call after it costs less than in a call each."""


class Outbox:
    """Delivers deeds one after the other, in rounds; one that fails is tried again until it succeeds.

    Args:
        say: prints a line; it hears once of every time that the store is away, once when it is back, and of the first
            deed that was refused.
        refused: whether an exception is the store's last word on a deed, which is then dropped and counted.

    Attributes:
        trouble: what the deed that is tried again failed with; None while all goes well.
        refusals: what the store said of each deed that it refused.
        left_out: the side deliveries that failed, each with what was said of it.
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
        """Have a deed done after all those before it. It may be done twice, so doing it again must change nothing.

        Args:
            deed: what to do.
            side: names a side delivery, which is tried once and holds up nothing: `the description of joint-25`.
        """
        with self._changed:
            self._deeds.append((deed, side))
            self._changed.notify_all()

    def flush(self, seconds: float) -> int:
        """Wait until all is delivered, at most so long; return the number of deeds that are not, sides not counted."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._deeds, timeout=seconds)
            finally:
                self._flushing -= 1
            return sum(not side for _, side in self._deeds)

    def close(self, seconds: float) -> int:
        """Flush, then deliver no more; return the number of deeds that are not done, side deliveries not counted."""
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
            except Exception as error:  # whatever the store's client raises
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

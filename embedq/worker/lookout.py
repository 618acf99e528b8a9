"""When to ask whether another process has written: as soon as one is told, or now and then.

A write is told of when it reaches the log, and can be read when it has been flushed: milliseconds later, or many. So
looking goes on for a while, soon at first, then every `poll` seconds. Nobody may be there to tell; then every `poll`
seconds is all there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from embedq.storage.base import ChangeWatch, Database, Listener

FIRST_LOOK_SECONDS = 0.001
SETTLING_SECONDS = 0.25
# How often to ask where others tell: they may fail to.
REST_SECONDS = 0.5


class Lookout:
    """For one thread, which alone calls `due` and `news`.

    Args:
        poll: how often to ask, in seconds.
        wake: called in another thread when somebody has written.
    """

    def __init__(self, database: Database, *, poll: float, wake: Callable[[], None]) -> None:
        self._database = database
        self._poll = poll
        self._wake = wake
        self._watch: ChangeWatch | None = None
        self._listener: Listener | None = None
        self._looked_at = self._told_at = 0.0
        self._look_soon = FIRST_LOOK_SECONDS

    def open(self) -> None:
        """Begin to listen."""
        self._watch = self._database.watch()
        # Read once before listening: the write-ahead log is there from then on.
        self._watch.changed()
        self._listener = self._database.listen(self._told, rest=self._poll)

    def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.close()
        if self._watch is not None:
            self._watch.close()

    def _told(self) -> None:
        """Somebody has written; called in the listener's thread."""
        self._told_at = time.monotonic()
        self._look_soon = FIRST_LOOK_SECONDS
        self._looked_at = 0.0
        self._wake()

    @property
    def due_at(self) -> float:
        """When to look next, on the monotonic clock."""
        if self._listener is None or not self._listener.works:
            return self._looked_at + self._poll
        if time.monotonic() - self._told_at < SETTLING_SECONDS:
            return self._looked_at + min(self._look_soon, self._poll)
        return self._looked_at + REST_SECONDS

    def due(self, now: float) -> bool:
        """Whether it is time to look; if so, the next time is later."""
        if self._watch is None or now < self.due_at:
            return False
        self._looked_at = now
        self._look_soon *= 2
        return True

    def news(self) -> ChangeWatch | None:
        """Where to read what another process may have written; None when there is nothing new."""
        if not self.watch.changed():
            return None
        self._look_soon = self._poll
        return self.watch

    @property
    def watch(self) -> ChangeWatch:
        """The connection to read on, once it is open."""
        assert self._watch is not None, "open() comes first"
        return self._watch

"""When to check whether another process has written: soon after a notification, otherwise at intervals.

A notification arrives when a write reaches the log. The write can be read when it has been flushed: milliseconds later,
or more. So checks follow for a while, soon at first, then every `poll` seconds. Where no notifications are to be
had, there is a check every `poll` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from embedq.storage.base import ChangeWatch, Database, Listener

FIRST_CHECK_SECONDS = 0.001
SETTLING_SECONDS = 0.25
# The interval where notifications work: one may be lost.
REST_SECONDS = 0.5


class ChangePoller:
    """Belongs to one thread, the only one that calls `due` and `changes`.

    Args:
        poll: the interval between checks, in seconds.
        wake: called in another thread when a notification arrives.
    """

    def __init__(self, database: Database, *, poll: float, wake: Callable[[], None]) -> None:
        self._database = database
        self._poll = poll
        self._wake = wake
        self._watch: ChangeWatch | None = None
        self._listener: Listener | None = None
        self._checked_at = self._notified_at = 0.0
        self._check_after = FIRST_CHECK_SECONDS

    def open(self) -> None:
        """Start to listen."""
        self._watch = self._database.watch()
        # Read once before listening: the write-ahead log exists from then on.
        self._watch.changed()
        self._listener = self._database.listen(self._notified, rest=self._poll)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
        if self._watch is not None:
            self._watch.close()

    def _notified(self) -> None:
        """Handle a notification, in the listener's thread."""
        self._notified_at = time.monotonic()
        self._check_after = FIRST_CHECK_SECONDS
        self._checked_at = 0.0
        self._wake()

    @property
    def due_at(self) -> float:
        """When the next check is due, on the monotonic clock."""
        if self._listener is None or not self._listener.works:
            return self._checked_at + self._poll
        if time.monotonic() - self._notified_at < SETTLING_SECONDS:
            return self._checked_at + min(self._check_after, self._poll)
        return self._checked_at + REST_SECONDS

    def due(self, now: float) -> bool:
        """Return whether a check is due; if so, schedule the next one."""
        if self._watch is None or now < self.due_at:
            return False
        self._checked_at = now
        self._check_after *= 2
        return True

    def changes(self) -> ChangeWatch | None:
        """Return where to read what another process may have written; None when nothing has changed."""
        if not self.watch.changed():
            return None
        self._check_after = self._poll
        return self.watch

    @property
    def watch(self) -> ChangeWatch:
        """The connection to read on. Call `open` first."""
        assert self._watch is not None, "open() comes first"
        return self._watch

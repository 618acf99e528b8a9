"""An outage of the database, logged once for the whole process: when it begins, at growing intervals, and when it ends.

Several threads use the database, and each fails again and again during an outage. Each reports its failures and
successes here. One line is logged when the first thread fails, further lines ever more rarely while the outage lasts,
and one line when every thread that failed has succeeded since.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from embedq.display.units import counted, duration
from embedq.errors import StorageBusyError, StorageError, StorageFullError, StorageReadOnlyError
from embedq.observability.log import get_logger

logger = get_logger()

# When the outage is logged again; the interval doubles, up to the longest.
FIRST_REMINDER_SECONDS = 15.0
LONGEST_REMINDER_SECONDS = 600.0


class Outage:
    """The outages that one process sees.

    Args:
        running: returns how many jobs run here now.
        waiting: returns how many outcomes wait to be written.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, *, running: Callable[[], int], waiting: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._running = running
        self._waiting = waiting
        self._clock = clock
        self._lock = threading.Lock()
        # The threads that have failed since they last succeeded.
        self._failing: set[str] = set()
        self._since = self._remind_at = 0.0
        self._ran = self._waited = self._interrupted = 0

    def failed(self, part: str, error: StorageError) -> None:
        """Record that the thread that does this part of the work could not use the database."""
        now = self._clock()
        with self._lock:
            begins = not self._failing
            self._failing.add(part)
            if begins:
                self._since, self._remind_at = now, now + FIRST_REMINDER_SECONDS
                self._ran, self._waited = self._running(), 0
            self._waited = max(self._waited, self._waiting())
            reminds = not begins and now >= self._remind_at
            lasted = now - self._since
            if reminds:
                self._remind_at = now + min(LONGEST_REMINDER_SECONDS, lasted)
        if begins:
            logger.error(
                "%s; running jobs continue, and what they report is kept until it can be written: %s",
                _what(error),
                error,
            )
        elif reminds:
            logger.warning(
                "%s for %s now; %s running, %s waiting to be written: %s", _what(error), duration(lasted),
                counted(self._running(), "job"), counted(self._waiting(), "outcome"), error,
            )  # fmt: skip

    def interrupted(self, runs: int) -> None:
        """Record that `runs` runs were interrupted because of it."""
        with self._lock:
            self._interrupted += runs

    def left(self, part: str) -> None:
        """Record that the thread that does this part has ended."""
        with self._lock:
            self._failing.discard(part)

    def worked(self, part: str) -> None:
        """Record that the thread that does this part could use the database."""
        if part not in self._failing:
            return
        with self._lock:
            self._failing.discard(part)
            if self._failing:
                return
            lasted, kept = self._clock() - self._since, self._kept()
            self._interrupted = 0
        logger.warning("the database can be used again, after %s: %s", duration(lasted), kept)

    def _kept(self) -> str:
        ran = f"of {counted(self._ran, 'job')} that ran when it began" if self._ran else "of the runs"
        lost = f"{self._interrupted:,} went back to the queue" if self._interrupted else "none was interrupted"
        return f"{ran} {lost}, and {counted(self._waited, 'outcome')} that waited can be written"


def _what(error: StorageError) -> str:
    if isinstance(error, StorageFullError):
        return "the database has no room left"
    if isinstance(error, StorageReadOnlyError):
        return "the database takes no writes"
    if isinstance(error, StorageBusyError):
        return "the database is busy"
    return "the database cannot be used"

"""The thread that ends the runs of this process when it may have been cut off from the database; see `contact`.

It touches no database, so that nothing delays it. A file on this machine cannot be cut off, and has no such thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from embedq.clock import elapsed
from embedq.display.units import counted, duration
from embedq.maintenance.contact import Contact
from embedq.observability.log import get_logger
from embedq.observability.outage import Outage
from embedq.process import supervision

logger = get_logger()

CHECK_SECONDS = 0.25
# A process that was frozen (stopped by a signal, a suspended machine) ran nothing meanwhile, and its last heartbeat is
# old. The database knows whether its jobs were taken, and mostly responds at once. The fence waits this long for that,
# where the runs still have their time to yield afterwards, or where the lease had ended before the process woke.
RESPONSE_SECONDS = 2.0


class LocalJobs(Protocol):
    """The jobs of this process: the dispatcher, as this room uses it."""

    def release_jobs(self, grace: float) -> tuple[int, int]:
        """Give back what has not begun, and interrupt what runs, with `grace` seconds to yield; return both counts.

        Called again and again while contact is lost: a run that was just beginning is interrupted the next time.
        """

    def look_again(self) -> None:
        """Claim jobs again: contact is restored."""

    def mark_uncertain(self) -> None:
        """Compare the claims of this process with the database's: it was declared dead and has registered again."""

    def stack_of(self, job_id: int) -> tuple[str, str] | None:
        """Return where a job is, as (where, text); None when it does not run here."""


class Fence:
    """Monitors the contact of one process.

    Args:
        beat_now: sends a heartbeat at once; called in this thread.
    Attributes:
        closed: no job may start here.
    """

    def __init__(self, contact: Contact, *, jobs: LocalJobs, beat_now: Callable[[], None], outage: Outage) -> None:
        self.closed = False
        self._contact = contact
        self._jobs = jobs
        self._beat_now = beat_now
        self._outage = outage
        # A process may be frozen before its first check.
        self._checked_at = contact.valid_from
        self._wait_until = 0.0
        self._stop = threading.Event()
        self._thread: supervision.Supervised | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = supervision.start("embedq-fence", self._watch)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        pause = min(CHECK_SECONDS, self._contact.timing.margin / 8)
        while not self._stop.wait(pause):
            try:
                self.step(elapsed())
            except Exception as error:
                logger.exception("fence: %s", error)

    def step(self, now: float) -> None:
        """Check once."""
        timing, checked_at = self._contact.timing, self._checked_at
        self._checked_at = now
        if now - checked_at > timing.margin / 2:
            # This process was frozen, or has just started.
            last = self._contact.deadline + timing.margin - timing.grace
            self._wait_until = now + RESPONSE_SECONDS if now > last else min(now + RESPONSE_SECONDS, last)
            self._beat_now()
        if not self._contact.lost(now):
            if self.closed:
                self.closed = False
                self._jobs.look_again()
            return
        if now < self._wait_until and not self.closed:
            return
        closes, self.closed = not self.closed, True
        waiting, runs = self._jobs.release_jobs(timing.grace)
        if runs:
            self._outage.interrupted(runs)
        if closes:
            left = self._contact.deadline + timing.margin - now
            silent = duration(self._contact.silent_for(now))
            logger.error(
                "no heartbeat of this process has reached the database for %s%s: %s interrupted, %s given back that "
                "had not begun; jobs are claimed again when the database responds", silent,
                f", and others may take its jobs in {duration(left)}" if left > 0 else "",
                counted(runs, "run"), counted(waiting, "job"),
            )  # fmt: skip

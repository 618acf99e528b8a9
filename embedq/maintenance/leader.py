"""Lease-based leadership. At most one process, most of the time, fires schedules and prunes.

Correctness never rests on it: an occurrence is unique by (schedule, fire_at), and pruning twice is pruning once. A
leader that dies on this host frees its lease when it is rescued, so another takes over within a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from embedq.clock import SECOND, Clock
from embedq.config import Settings
from embedq.errors import StorageError
from embedq.maintenance import recurring
from embedq.storage import schedules, servers, upkeep
from embedq.storage.base import Database
from embedq.storage.compacting import compact_counters
from embedq.storage.servers import Lease
from embedq.wakeup import WakeUp

logger = logging.getLogger("embedq")

LEASE_NAME = "leader"
# The longest sleep: a schedule that another process added is seen after this at the latest.
LOOK_SECONDS = 1.0
PRUNE_SECONDS = 10.0
PRUNE_BATCH = 500
COMPACT_SECONDS = 60.0
# Between two batches, so that others get to write.
PRUNE_PAUSE = 0.01
# After its start, when those that start with it have started too, a process looks around once.
SETTLED_SECONDS = 5.0
# A clock that loses more than this against the monotonic one was set back.
STEP_BACK = SECOND


class Leader:
    """One process's bid for leadership, and what it does with it.

    Args:
        server_id: gives this process's number.
        fired: called when a recurring job was enqueued, or others went back to the queue.
        look_around: called once, soon after the start, and once more if this process leads only later.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        database: Database,
        server_id: Callable[[], int],
        fired: Callable[[], None],
        look_around: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._server_id = server_id
        self._fired = fired
        self._look_around = look_around
        self._settled_at = 0.0
        self._looked = False
        self._wake = WakeUp()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._lease: Lease | None = None
        self._bid_at = 0.0
        self._prune_at = self._compact_at = 0.0
        # What the clock shows when the monotonic one shows zero, in microseconds; None before the first step as leader.
        self._zero: int | None = None

    @property
    def leading(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._lease is not None

    def start(self) -> None:
        """Start the thread."""
        self._settled_at = time.monotonic() + SETTLED_SECONDS
        self._thread = threading.Thread(target=self._loop, name="embedq-leader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and let another lead: jobs may take long to drain, and schedules must not wait for them."""
        self._stopping = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join()
        if self._lease is not None:
            self._lease = None
            try:
                self._database.write(servers.release_leases, self._server_id())
            except StorageError as error:
                logger.warning("could not give up leadership; it runs out by itself: %s", error)

    def look_again(self) -> None:
        """A schedule changed, or the leader may be gone."""
        self._bid_at = 0.0
        self._wake.call()

    def _loop(self) -> None:
        while not self._stopping:
            try:
                pause = self.step()
            except Exception as error:
                log = logger.warning if isinstance(error, StorageError) else logger.exception
                log("leadership: %s", error)
                pause = LOOK_SECONDS
            self._look()
            self._wake.sleep(pause)

    def _look(self) -> None:
        look = self._look_around
        if look is None or self._stopping or time.monotonic() < self._settled_at or (self._looked and not self.leading):
            return
        self._looked = True
        if self.leading:
            self._look_around = None
        try:
            look()
        except Exception as error:
            # It is there to help, and nothing depends on it.
            logger.debug("could not look around: %s", error, exc_info=True)

    def step(self) -> float:
        """One round: bid or renew, fire what is due, prune; return how many seconds there is nothing to do."""
        self._bid()
        if self._lease is None:
            self._zero = None
            return LOOK_SECONDS
        if self._clock_went_back():
            recurring.wake_sleepers(self._database, self._clock)
        if recurring.fire_due(self._database, self._clock):
            self._fired()
        if self._prune():
            return PRUNE_PAUSE
        next_fire = self._database.read(schedules.next_fire)
        if next_fire is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, (next_fire - self._clock.now()) / SECOND))

    def _clock_went_back(self) -> bool:
        """Whether the clock was set back since the last step, or may have been before this process led."""
        before, self._zero = self._zero, self._clock.now() - round(self._clock.monotonic() * SECOND)
        return before is None or self._zero < before - STEP_BACK

    def _bid(self) -> None:
        now, had = time.monotonic(), self._lease
        length = int(self._settings.lease * SECOND)
        if had is None:
            # Looked at each time: who stops in good order frees it, and schedules wait for whoever comes next.
            if not self._database.read(servers.lease_is_free, LEASE_NAME, now=self._clock.now(), length=length):
                return
        # The wall clock may have moved under a lease that the monotonic one still thinks fresh.
        elif now < self._bid_at and had.expires_at > self._clock.now():
            return
        self._bid_at = now + self._settings.lease / 3
        self._lease = self._database.write(
            servers.take_lease, LEASE_NAME, self._server_id(), now=self._clock.now(), length=length
        )
        if (had is None) is not (self._lease is None):
            logger.info("this process %s", "leads now" if self._lease else "no longer leads")

    def _prune(self) -> bool:
        """Delete one batch of what has been kept long enough, when it is time; True when there is more."""
        if time.monotonic() < self._prune_at:
            return False
        now = self._clock.now()
        if self._database.write(upkeep.prune_jobs, now=now, limit=PRUNE_BATCH) == PRUNE_BATCH:
            return True
        if time.monotonic() >= self._compact_at:
            if self._database.write(compact_counters, now=now).more:
                return True
            self._compact_at = time.monotonic() + COMPACT_SECONDS
        self._database.write(upkeep.prune_history, now=now, audit=self._settings.audit_retention)
        if self._database.write(servers.rescue_orphans, now=now, retention=self._settings.retention):
            self._fired()
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        return False

"""Lease-based leadership. At most one process, most of the time, fires schedules and prunes.

Correctness does not depend on it: an occurrence is unique by (schedule, fire_at), and pruning twice has the effect of
pruning once. When a leader on this host dies, its rescue frees the lease, so another process takes over within a
second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from embedq.clock import SECOND, Clock, elapsed
from embedq.config import Settings
from embedq.errors import StorageError
from embedq.maintenance import scheduler
from embedq.maintenance.observation import HeartbeatObserver
from embedq.observability.log import get_logger
from embedq.observability.outage import Outage
from embedq.process import supervision
from embedq.process.registration import Registration
from embedq.process.supervision import Supervised
from embedq.process.wakeup import WakeUp
from embedq.storage import continuations, schedules, servers, upkeep
from embedq.storage.base import Database, Transaction
from embedq.storage.compacting import compact_counters
from embedq.storage.servers import Lease

logger = get_logger()

LEASE_NAME = "leader"
PART = "leader"
# The longest sleep: a schedule that another process added is read after this at the latest.
ROUND_SECONDS = 1.0
PRUNE_SECONDS = 10.0
PRUNE_BATCH = 500
COMPACT_SECONDS = 60.0
WALK_SECONDS = 300.0
# Between two batches, so that other writes get their turn.
PRUNE_PAUSE = 0.01
# Soon after its start, when the processes that start with it have started too, a process examines the queue once.
SETTLED_SECONDS = 5.0
# When due schedules are locked, or change while they are read, they are read again after this.
LOCKED_SECONDS = 0.05
# Jobs of a process that is not registered are taken back after this, if the leader has read them in between.
ORPHANED_SECONDS = 0.9 * PRUNE_SECONDS
GAP_SECONDS = 6 * PRUNE_SECONDS
# A clock that has lost more than this against the monotonic clock was set back.
STEP_BACK = SECOND


class Leader:
    """Bids for leadership, and does the leader's work.

    Args:
        registration: holds this process's number.
        fired: called when a recurring job was enqueued, or other jobs went back to the queue.
        look_around: called once, soon after the start, and again if this process becomes the leader only later.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        database: Database,
        registration: Registration,
        fired: Callable[[], None],
        outage: Outage,
        look_around: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._registration = registration
        self._fired = fired
        self._orphans = HeartbeatObserver(lease=ORPHANED_SECONDS, gap=GAP_SECONDS)
        self._outage = outage
        self._look_around = look_around
        self._settled_at = 0.0
        self._looked = False
        self._wake = WakeUp()
        self._stopping = False
        self._thread: Supervised | None = None
        self._lease: Lease | None = None
        self._bid_at = 0.0
        self._prune_at = self._compact_at = 0.0
        self._walk_at = time.monotonic() + WALK_SECONDS
        self._pruned = upkeep.FROM_START
        # The clock's time at the zero of the monotonic clock, in microseconds; None before the first step as leader.
        self._zero: int | None = None
        self._rules_followed = False

    @property
    def leading(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._lease is not None

    def start(self) -> None:
        """Start the thread."""
        self._settled_at = time.monotonic() + SETTLED_SECONDS
        self._thread = supervision.start("embedq-leader", self._loop)

    def stop(self) -> None:
        """End the thread and free the lease: jobs may take long to drain, and schedules must not wait for them."""
        self._stopping = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join()
        if self._lease is not None:
            self._lease = None
            try:
                self._database.write(servers.release_leases, self._registration.server_id)
            except StorageError as error:
                logger.warning("could not release leadership; its lease expires by itself: %s", error)

    def look_again(self) -> None:
        """Bid and read the schedules at once: a schedule changed, or the leader may be gone."""
        self._bid_at = 0.0
        self._wake.call()

    def _loop(self) -> None:
        while not self._stopping:
            try:
                pause = self.step()
                self._outage.worked(PART)
            except StorageError as error:
                self._orphans.restart()
                self._outage.failed(PART, error)
                pause = ROUND_SECONDS
            except Exception as error:
                logger.exception("leadership: %s", error)
                pause = ROUND_SECONDS
            self._examine()
            supervision.restart_ended()
            self._wake.sleep(pause)
        self._outage.left(PART)

    def _examine(self) -> None:
        look = self._look_around
        if look is None or self._stopping or time.monotonic() < self._settled_at or (self._looked and not self.leading):
            return
        self._looked = True
        if self.leading:
            self._look_around = None
        try:
            look()
        except Exception as error:
            # Its findings are hints, and nothing depends on them.
            logger.debug("could not examine the queue: %s", error, exc_info=True)

    def step(self) -> float:
        """Do one round: bid or renew, fire what is due, prune; return for how many seconds there is nothing to do."""
        self._bid()
        if self._lease is None:
            self._zero = None
            return ROUND_SECONDS
        if not self._rules_followed:
            # They change with an update of tzdata, which a process reads once.
            scheduler.follow_zone_rules(self._database, self._clock)
            self._rules_followed = True
        if self._clock_went_back():
            scheduler.wake_sleepers(self._database, self._clock)
        scan = scheduler.fire_set(self._database, self._clock, self._settings.retention)
        if scan.made:
            self._fired()
        if scan.due and not scan.turns:
            # Other transactions have locked them.
            return LOCKED_SECONDS
        if self._prune():
            return PRUNE_PAUSE
        next_fire, unsettled = self._database.read(_ahead)
        if unsettled:
            self._settle()
            return PRUNE_PAUSE
        if next_fire is None:
            return ROUND_SECONDS
        return min(ROUND_SECONDS, max(0.0, (next_fire - self._clock.now()) / SECOND))

    def _rescue_orphans(self, now: int) -> None:
        """Take back jobs whose process has not been registered for a while.

        The database must have responded during that time: a process that is alive has registered again by then, and
        taken over what it claimed under its old number.
        """
        found = dict.fromkeys(self._database.read(servers.orphaned, now=now), 0)
        self._orphans.observe(elapsed(), found)
        lasting = [number for number in found if self._orphans.unchanged_for_lease(number, 0)]
        if not lasting:
            return
        if self._database.write(servers.rescue_orphans, now=now, retention=self._settings.retention, only=lasting):
            self._fired()

    def _clock_went_back(self) -> bool:
        """Return whether the clock was set back since the last step, or may have been before this process led."""
        before, self._zero = self._zero, self._clock.now() - round(self._clock.monotonic() * SECOND)
        return before is None or self._zero < before - STEP_BACK

    def _bid(self) -> None:
        now, had = time.monotonic(), self._lease
        length = int(self._settings.lease * SECOND)
        if had is None:
            # Read each time: a process that stops in good order frees the lease, and schedules wait for a new leader.
            if not self._database.read(servers.lease_is_free, LEASE_NAME, now=self._clock.now(), length=length):
                return
        # The wall clock may have moved, so that a lease has expired that is fresh by the monotonic clock.
        elif now < self._bid_at and had.expires_at > self._clock.now():
            return
        self._bid_at = now + self._settings.lease / 3
        self._lease = self._database.write(
            servers.take_lease, LEASE_NAME, self._registration.server_id, now=self._clock.now(), length=length
        )
        if (had is None) is not (self._lease is None):
            logger.info("this process %s", "leads now" if self._lease else "no longer leads")

    def _settle(self) -> None:
        """Decide some of the continuations that the process in which their parent ended has not decided."""
        advanced = self._database.write(continuations.settle, now=self._clock.now(), retention=self._settings.retention)
        if advanced.woken:
            self._fired()

    def _prune(self) -> bool:
        """Delete one batch of what has been kept long enough, when it is due; return whether there is more."""
        if time.monotonic() < self._prune_at:
            return False
        now = self._clock.now()
        pruned = self._database.write(upkeep.prune_jobs, now=now, limit=PRUNE_BATCH, cursor=self._pruned)
        self._pruned = pruned.then
        if pruned.more:
            return True
        self._pruned = upkeep.settled(pruned.then, now=now)
        if time.monotonic() >= self._walk_at:
            # From the beginning, at intervals: parents that were kept for their children may be deletable now.
            self._pruned = upkeep.FROM_START
            self._walk_at = time.monotonic() + WALK_SECONDS
        if time.monotonic() >= self._compact_at:
            if self._database.write(compact_counters, now=now).more:
                return True
            self._compact_at = time.monotonic() + COMPACT_SECONDS
        self._database.write(upkeep.prune_history, now=now, audit=self._settings.audit_retention)
        self._rescue_orphans(now)
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        return False


def _ahead(tx: Transaction) -> tuple[int | None, bool]:
    """Return when the next occurrence is due, and whether there are continuations to settle."""
    return schedules.next_fire(tx), continuations.unsettled(tx)

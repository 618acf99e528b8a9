"""The thread that writes this process's heartbeat, and with the same writes reads those of others.

It does nothing else, and has its own connection (`Database.heartbeat_connection`): neither a long write of the
application nor a lock on the jobs delays a heartbeat. It updates `contact` (whether this process may still run its
jobs) and `observation` (which heartbeats have stopped).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from embedq.clock import Clock, elapsed
from embedq.errors import StorageError
from embedq.maintenance.contact import Contact
from embedq.maintenance.observation import HeartbeatObserver
from embedq.observability.log import get_logger
from embedq.observability.outage import Outage
from embedq.process import supervision
from embedq.process.registration import Registration
from embedq.storage import servers
from embedq.storage.base import Database, Transaction
from embedq.storage.servers import Identity

logger = get_logger()

PART = "heartbeat"
# The pause between tries while the database does not respond, and the least number of tries in a heartbeat's interval.
LONGEST_RETRY_SECONDS = 1.0
STOP_SECONDS = 1.0
RETRIES = 4
# A server gets this part of the lease for each response, so that there is time for another try.
RESPONSES = 3


class Heartbeat:
    """Sends the heartbeats of one registered process.

    Args:
        registration: is updated when other processes have declared this one dead and it has registered again.
        registered_again: called after that.
    Attributes:
        observer: the heartbeats of the other processes.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        identity: Identity,
        registration: Registration,
        contact: Contact,
        outage: Outage,
        registered_again: Callable[[], None],
    ) -> None:
        self._registration = registration
        self.observer = HeartbeatObserver(lease=contact.timing.lease, gap=contact.timing.gap)
        self._clock = clock
        self._identity = identity
        self._contact = contact
        self._outage = outage
        self._registered_again = registered_again
        self._connection = database.heartbeat_connection(limit=contact.timing.lease / RESPONSES)
        self._last_value = 0
        # The error with which the server refused the last connection, if it did.
        self._refused: StorageError | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread: supervision.Supervised | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = supervision.start("embedq-heartbeat", self._loop)

    def stop(self) -> None:
        """End the thread. While it waits for a server that does not respond, this does not wait for it."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def beat_now(self) -> None:
        """Send a heartbeat now: this process was found not to be registered."""
        self._wake.set()

    def _loop(self) -> None:
        while not self._stopping:
            pause = self.step()
            self._wake.wait(pause)
            self._wake.clear()
        self._outage.left(PART)
        self._connection.close()

    def step(self) -> float:
        """Send one heartbeat; return how many seconds there are until the next."""
        timing, sent = self._contact.timing, elapsed()
        if self._refused and self._connection.refused():
            # Cheaper than an attempt to connect.
            self._contact.refused(sent)
            self._outage.failed(PART, self._refused)
            return min(LONGEST_RETRY_SECONDS, timing.beat / RETRIES)
        try:
            others = self._connection.write(_beat, self._registration.server_id, now=self._next_value())
            if others is None and not self._stopping:
                self._register_again()
        except Exception as error:
            self._failed(error)
            return min(LONGEST_RETRY_SECONDS, timing.beat / RETRIES)
        self._refused = None
        self._outage.worked(PART)
        if others is None:
            # The next heartbeat, under the new number, follows at once.
            return 0.0
        self._contact.confirmed(sent)
        self.observer.observe(elapsed(), others)
        return timing.beat

    def _next_value(self) -> int:
        # Others compare for change, and the clock may stand still or have been set back.
        self._last_value = now if (now := self._clock.now()) != self._last_value else now + 1
        return self._last_value

    def _failed(self, error: Exception) -> None:
        self.observer.restart()
        self._refused = None
        if not isinstance(error, StorageError):
            logger.exception("heartbeat: %s", error)
            self._contact.unanswered()
            return
        self._outage.failed(PART, error)
        asked = elapsed()
        if self._connection.refused():
            self._refused = error
            self._contact.refused(asked)
        else:
            self._contact.unanswered()

    def _register_again(self) -> None:
        # Claims that others have taken stay theirs: their outcomes are refused, and their runs here are interrupted.
        # This process continues under a new number.
        logger.error(
            "other processes had declared this one dead, and it registers again; the jobs that it was running run there"
        )
        self.observer.restart()
        self._registration.server_id = self._connection.write(
            servers.register_anew, self._identity, instead_of=self._registration.server_id, now=self._clock.now()
        )
        self._registered_again()


def _beat(tx: Transaction, server_id: int, *, now: int) -> dict[int, int] | None:
    """Write the heartbeat; return the others' latest, by their numbers. None if this process was declared dead."""
    if not servers.beat(tx, server_id, now=now):
        return None
    return {row.id: row.heartbeat_at for row in servers.others(tx, server_id)}

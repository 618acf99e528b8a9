"""Notifications by NOTIFY when another process has created work, instead of polling.

The writing process notifies after its commit; a thread here waits on a connection of its own. When that connection is
lost the thread connects again, with growing pauses, and reports a change: something may have been missed.
"""

from __future__ import annotations

import os
import random
import select
import threading
from collections.abc import Callable

import psycopg

from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.storage.postgresql.session import PostgresSession

logger = get_logger()

# Between two calls, so that a busy queue is not looked at for each job of it.
REST_SECONDS = 0.004
LONGEST_PAUSE = 5.0


class PostgresListener:
    """Calls `changed` soon after another process has sent a notification.

    Args:
        connect: opens a connection that listens to nothing yet.
        is_own: whether the backend of that number is this process's own.
    Attributes:
        works: it listens now, so that polling is not needed.
    """

    def __init__(
        self,
        connect: Callable[[], PostgresSession],
        channel: str,
        changed: Callable[[], None],
        is_own: Callable[[int], bool],
    ) -> None:
        self.works = False
        self._connect = connect
        self._channel = channel
        self._changed = changed
        self._is_own = is_own
        self._stopping = threading.Event()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = supervision.start("embedq-listener", self._loop)

    def _loop(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                session = self._connect()
                if session.pooled:
                    # A pooler delivers no notifications.
                    session.close()
                    break
                try:
                    session.execute(f"LISTEN {self._channel}")
                    failures, self.works = 0, True
                    self._changed()
                    self._listen(session.connection)
                finally:
                    session.close()
            except psycopg.Error as error:
                failures += 1
                logger.info("no notifications of changes for now; they are polled: %s", error)
            self.works = False
            if not self._stopping.is_set():
                self._stopping.wait(random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10)))

    def _listen(self, connection: psycopg.Connection) -> None:
        libpq = connection.pgconn
        poll = select.poll()
        poll.register(libpq.socket, select.POLLIN)
        poll.register(self._stop_reader, select.POLLIN)
        while not self._stopping.is_set():
            poll.poll()
            libpq.consume_input()
            news = False
            while (notice := libpq.notifies()) is not None:
                # A process is aware of its own new jobs; its own requests to cancel arrive here as those of others do.
                news = news or notice.extra != b"jobs" or not self._is_own(notice.be_pid)
            if news:
                self._changed()
                self._stopping.wait(REST_SECONDS)

    def end(self) -> None:
        """Stop listening. May be called from any thread, its own as well."""
        self.works = False
        self._stopping.set()
        os.write(self._stop_writer, b"x")

    def close(self) -> None:
        """End the thread."""
        self.end()
        self._thread.join()
        for descriptor in (self._stop_reader, self._stop_writer):
            os.close(descriptor)

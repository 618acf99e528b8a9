"""The heartbeat's way to the database, which waits for no write of the application or its jobs.

On a server it is a separate connection. SQLite has one lock for all writers, so a separate connection would gain
nothing there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from embedq.storage.base import Database, Transaction
from embedq.storage.driver import Driver, ErrorKind, ServerSession
from embedq.storage.server_clock import ServerClock

P = ParamSpec("P")
T = TypeVar("T")


class SharedHeartbeatConnection:
    """The writing path of a database that has only one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.write(function, *args, **kwargs)

    def refused(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: it has no connection of its own."""


class ServerHeartbeatConnection:
    """A separate connection, for one thread.

    Args:
        limit: how many seconds a connection may take to open, and the server for one answer.
        explaining: returns embedq's error for one of the driver's.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        clock: Callable[[], ServerClock | None],
        limit: float,
        explaining: Callable[[Exception], Exception],
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._limit = limit
        self._explaining = explaining
        self._session: ServerSession | None = None
        self._error: Exception | None = None

    def write(self, function: Callable[Concatenate[Transaction, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            try:
                return self._try(lambda tx: function(tx, *args, **kwargs))
            except _StaleError:
                # The connection broke while it was idle; the server may work now.
                return self._try(lambda tx: function(tx, *args, **kwargs))
        except Exception as error:
            self._error = error
            explained = self._explaining(error)
            if explained is error:
                raise
            raise explained from error

    def _try(self, function: Callable[[Transaction], T]) -> T:
        session, fresh = self._session, self._session is None
        if session is None:
            session = self._driver.connect(limit=self._limit)
        # Not kept while in use: however this method ends, only a sound connection is used again.
        self._session = None
        begun, began = False, time.monotonic()
        try:
            session.begin(self._clock(), read_only=False)
            begun = True
            result = function(session.transaction)
            session.commit()
        except BaseException as error:
            session.close()
            if not fresh and not begun and self._is_stale(error) and time.monotonic() - began < self._limit / 2:
                raise _StaleError from error
            raise
        self._session = session
        return result

    def _is_stale(self, error: BaseException) -> bool:
        return isinstance(error, Exception) and self._driver.classify(error, reading=False) is ErrorKind.UNAVAILABLE

    def refused(self) -> bool:
        error, self._error = self._error, None
        return self._driver.refuses(error, seconds=self._limit)

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


class _StaleError(Exception):
    """An idle connection turned out to be broken."""

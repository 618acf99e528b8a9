"""Timeouts on the wire: requests over one connection to PostgreSQL, each with a time limit for its answer.

A server that hangs, or a proxy before one, may keep a connection alive without ever answering. libpq has no timeout for
that, and timeouts on the server do not help then.
"""

from __future__ import annotations

import math
import selectors
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGresult

T = TypeVar("T")

# Not epoll, which has a descriptor of its own that a fork would share.
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_WAITS = {Wait.R: READ, Wait.W: WRITE, Wait.RW: READ | WRITE}


class Wire:
    """One connection.

    Args:
        answer_seconds: how long the server may take for one answer; may be infinite.
    """

    def __init__(self, connection: psycopg.Connection, answer_seconds: float) -> None:
        self.libpq = connection.pgconn
        self._seconds = None if math.isinf(answer_seconds) else answer_seconds
        self._selector = Selector()
        self._socket = self.libpq.socket
        self._selector.register(self._socket, READ)
        self._events = READ
        # Cursors wait by it.
        connection.wait = self._wait  # type: ignore[method-assign, assignment]

    def execute(self, sql: bytes) -> PGresult:
        """Run statements without parameters in one round trip, and return the last one's result.

        Raises:
            psycopg.Error: one of them failed, or there was no answer.
        """
        self.libpq.send_query(sql)
        return self._result()

    def prepare(self, name: bytes, sql: str) -> None:
        """Prepare a statement."""
        self.libpq.send_prepare(name, sql.encode())
        self._result()

    def run_prepared(self, name: bytes, values: Sequence[bytes | None]) -> PGresult:
        """Run a prepared statement."""
        self.libpq.send_query_prepared(name, values)
        return self._result()

    def check_alive(self) -> None:
        """Raise psycopg.OperationalError if the connection is known to be lost already. Does not wait."""
        self._watch(READ)
        while self._selector.select(0):
            self.libpq.consume_input()

    def flush(self) -> None:
        """Send everything that is buffered."""
        while self.libpq.flush():
            self._wait_for(READ | WRITE)
            self.libpq.consume_input()

    def receive(self) -> None:
        """Wait until the server sends data, and read it."""
        # Not libpq's own wait: in a pipeline it would keep the interpreter's lock.
        self._wait_for(READ)
        self.libpq.consume_input()

    def _result(self) -> PGresult:
        self.flush()
        last: PGresult | None = None
        while True:
            while self.libpq.is_busy():
                self.receive()
            result = self.libpq.get_result()
            if result is None:
                break
            last = result
        if last is None:
            raise psycopg.OperationalError("the connection is lost")
        return checked(self, last)

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._selector.modify(self._socket, events)
            self._events = events

    def _wait_for(self, events: int) -> int:
        self._watch(events)
        found = self._selector.select(self._seconds)
        if not found:
            raise psycopg.OperationalError(f"no answer within {self._seconds:g} s")
        return found[0][1]

    def _wait(self, steps: PQGen[T], interval: float = 0.0) -> T:
        """Replace `psycopg.Connection.wait`."""
        try:
            events = next(steps)
            while True:
                found = self._wait_for(_WAITS[events])
                events = steps.send(Ready((Ready.R if found & READ else 0) | (Ready.W if found & WRITE else 0)))
        except StopIteration as end:
            result: T = end.value
            return result


def checked(wire: Wire, result: PGresult) -> PGresult:
    """Return the result of a statement; raise psycopg's exception if it is an error."""
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if wire.libpq.status == ConnStatus.BAD:
            said = result.error_message.decode(errors="replace")
            raise psycopg.OperationalError(said or "the connection is lost")
        raise psycopg.errors.error_from_result(result)
    return result

"""What goes over one connection to PostgreSQL, and waits for the answer for so long and no longer.

A server that hangs, or a proxy before one, may keep a connection alive and say nothing for ever. libpq knows no limit
to that, and a limit of the server's own is no help then.
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


class Line:
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

    def ask(self, sql: bytes) -> PGresult:
        """Run statements without parameters in one round trip; the last one's result.

        Raises:
            psycopg.Error: one of them failed, or there was no answer.
        """
        self.libpq.send_query(sql)
        return self._answer()

    def prepare(self, name: bytes, sql: str) -> None:
        """Prepare a statement."""
        self.libpq.send_prepare(name, sql.encode())
        self._answer()

    def run_prepared(self, name: bytes, values: Sequence[bytes | None]) -> PGresult:
        """Run a prepared statement."""
        self.libpq.send_query_prepared(name, values)
        return self._answer()

    def notice_the_end(self) -> None:
        """Raise psycopg.OperationalError if the connection is known to be gone already. Does not wait."""
        self._watch(READ)
        while self._selector.select(0):
            self.libpq.consume_input()

    def flush(self) -> None:
        """See that what was sent is on its way."""
        while self.libpq.flush():
            self._wait_for(READ | WRITE)
            self.libpq.consume_input()

    def hear(self) -> None:
        """Wait until the server says something, and take it in."""
        # Not libpq's own wait: in a pipeline it would keep the interpreter's lock.
        self._wait_for(READ)
        self.libpq.consume_input()

    def _answer(self) -> PGresult:
        self.flush()
        last: PGresult | None = None
        while True:
            while self.libpq.is_busy():
                self.hear()
            result = self.libpq.get_result()
            if result is None:
                break
            last = result
        if last is None:
            raise psycopg.OperationalError("the connection is lost")
        return answered(self, last)

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
        """As `psycopg.Connection.wait`."""
        try:
            wanted = next(steps)
            while True:
                found = self._wait_for(_WAITS[wanted])
                wanted = steps.send(Ready((Ready.R if found & READ else 0) | (Ready.W if found & WRITE else 0)))
        except StopIteration as end:
            result: T = end.value
            return result


def answered(line: Line, result: PGresult) -> PGresult:
    """The result of a statement; psycopg's exception for one that is an error."""
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if line.libpq.status == ConnStatus.BAD:
            said = result.error_message.decode(errors="replace")
            raise psycopg.OperationalError(said or "the connection is lost")
        raise psycopg.errors.error_from_result(result)
    return result

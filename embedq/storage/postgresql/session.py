"""One connection to PostgreSQL, and the statements on it.

Round trips are what a statement costs, so that what surrounds a transaction rides along: BEGIN brings the transaction's
number and the server's time, COMMIT takes the wake-up call with it. A job that is inserted by itself needs neither; see
`lone`.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import RawCursor
from psycopg.pq import ConnStatus, TransactionStatus

from embedq.errors import ConfigurationError
from embedq.storage.base import Params, Row
from embedq.storage.patience import Patience
from embedq.storage.postgresql.address import Address
from embedq.storage.postgresql.adopted import adopted
from embedq.storage.postgresql.line import Line
from embedq.storage.postgresql.lone import LoneInserts
from embedq.storage.postgresql.transaction import IDENTITY, PostgresTransaction, texts
from embedq.storage.server_clock import ServerClock

# The tables change by the thousand in a second, so that statistics are always old, and there are none on a new table.
# Every statement has its index: nested loops over index scans are right at any size, and one plan for all parameters.
PLANNING = {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
# A peer that vanished without a word is noticed within half a minute; what the URL says wins.
NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "embedq",
}
_TIME = b"(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; %sSELECT pg_current_xact_id()::text, " + _TIME
_LOOK = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; %sSELECT '', " + _TIME


class PostgresSession:
    """One connection.

    Args:
        pooled: somebody in between gives each transaction another connection.
        connect: opens it, instead of the address.
    Attributes:
        obeys: it has the settings that were given to it. A pooler may have kept them to itself.
    """

    def __init__(
        self,
        address: Address,
        *,
        durability: str,
        pooled: bool,
        patience: Patience,
        sql: tuple[Mapping[str, str], ...],
        connect: Callable[[], Any] | None = None,
    ) -> None:
        self.pooled = pooled
        self._channel = address.channel
        self._schema = address.quoted_schema
        settings = {
            **PLANNING,
            "lock_timeout": str(int(patience.lock_seconds * 1000)),
            # For a statement without a transaction around it; a transaction says so itself.
            "default_transaction_read_only": "off",
            "synchronous_commit": "on" if durability == "full" else "off",
        }
        if connect is None:
            self.connection = _connected(address, {} if pooled else settings)
        else:
            self.connection = adopted(connect, {} if pooled else settings)
        self.connection.prepared_max = 300
        if pooled:
            self.connection.prepare_threshold = None
        self._line = line = Line(self.connection, patience.answer_seconds)
        self._libpq = line.libpq
        # A pooler may give each transaction another connection, so that each must be told.
        local = "".join(f"SET LOCAL {name} = {value}; " for name, value in settings.items()) if pooled else ""
        self._begin, self._look = _BEGIN % local.encode(), _LOOK % local.encode()
        writing, reading = sql
        self._write = PostgresTransaction(self.connection, line, address, writing, not pooled)
        self._read = PostgresTransaction(self.connection, line, address, reading, not pooled)
        self._lone = None if pooled else LoneInserts(self.connection, line, address, writing)
        self.transaction = self._read
        self.mark: str | None = None
        self.obeys = pooled or self.execute("SELECT current_setting('enable_seqscan')") == [("off",)]
        self._timeline = self._ask_timeline()

    def lone(self, count: int, unanswered: Sequence[int]) -> LoneInserts | None:
        if self._lone is not None:
            self._lone.gather(count, unanswered)
        return self._lone

    def begin(self, clock: ServerClock | None, *, read_only: bool) -> None:
        sent = 0 if clock is None else clock.host_now()
        mark, server = self._ask(self._look if read_only else self._begin)
        if clock is not None:
            clock.measured(int(server), sent, clock.host_now())
        self.mark = f"{self._timeline} {mark.decode()}"
        self.transaction = self._read if read_only else self._write
        self.transaction.news, self.transaction.inserted = None, False

    def commit(self) -> None:
        if self._libpq.transaction_status != TransactionStatus.INTRANS:
            raise psycopg.OperationalError("the transaction is not open any more")
        if self._lone is not None and self._write.inserted:
            self._lone.others_inserted()
        news = self._write.news
        if news is None:
            self._ask(b"COMMIT")
        else:
            # In a transaction of its own, though not a round trip: a NOTIFY inside would make every other commit with
            # one wait for this one's flush to disk.
            self._ask(b"COMMIT; SELECT pg_notify('%s', '%s')" % (self._channel.encode(), news.encode()))

    def rollback(self) -> bool:
        with suppress(psycopg.Error):
            self._settle()
            if self._libpq.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                self._ask(b"ROLLBACK")
            return self._libpq.transaction_status == TransactionStatus.IDLE
        return False

    def let_go(self) -> None:
        """In the child of a fork: leave the connection to the parent.

        As long as this copy of the socket was open the server would not see the parent die, and keep its locks. To
        close the connection would say goodbye in the parent's name. So the socket's number is given to nothing.
        """
        nothing = os.open(os.devnull, os.O_RDWR)
        with suppress(OSError, psycopg.Error):
            os.dup2(nothing, self._libpq.socket, inheritable=False)
        os.close(nothing)
        # Never collected, not even by the interpreter's exit.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))

    def close(self) -> None:
        with suppress(psycopg.Error):
            self.connection.close()

    def _ask_timeline(self) -> str:
        """Which of the histories the server is in that a promotion begins: in another one, numbers mean others."""
        try:
            [(timeline,)] = self.execute(
                "SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
            )
        except psycopg.DatabaseError:
            if self._libpq.status == ConnStatus.BAD:
                raise
            # Not every service that speaks like PostgreSQL has a log.
            return ""
        return timeline or ""

    def committed(self, mark: str) -> bool | None:
        timeline, _, number = mark.partition(" ")
        while True:
            # A number that this server never gave is one of a primary that is gone, with what it did not pass on.
            [(status,)] = self.execute(
                "SELECT CASE WHEN $1::xid8 < pg_current_xact_id() THEN pg_xact_status($1::xid8) END", (number,)
            )
            if timeline != self._timeline:
                return None
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(0.05)

    def identity(self) -> str:
        [(identity,)] = self.execute(IDENTITY.format(schema=self._schema))
        return str(identity)

    @property
    def backend(self) -> int | None:
        """The server's number of this connection; None once it is closed."""
        return None if self.connection.closed else self._libpq.backend_pid

    def execute(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement outside the named ones; its rows."""
        self._settle()
        cursor = RawCursor(self.connection).execute(sql.encode(), texts(params), prepare=False)
        return cursor.fetchall() if cursor.description else []

    def run_script(self, sql: str) -> None:
        """Run statements without parameters, all of them."""
        self._ask(sql.encode())

    def _settle(self) -> None:
        if self._lone is not None:
            self._lone.settle()

    def _ask(self, sql: bytes) -> list[bytes]:
        """Run statements without parameters in one round trip; the last one's first row."""
        self._settle()
        result = self._line.ask(sql)
        return [result.get_value(0, column) or b"" for column in range(result.nfields)] if result.ntuples else []


def _connected(address: Address, settings: Mapping[str, str]) -> psycopg.Connection:
    try:
        given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
    except psycopg.ProgrammingError as error:
        # What it says of a bad escape shows the password.
        said = "a % must be written %25" if "percent" in str(error) else " ".join(str(error).split())
        raise ConfigurationError(f"libpq does not understand the URL of {address.label}: {said}") from None
    extra = {name: value for name, value in NETWORK.items() if name not in given}
    if settings:
        own = " ".join(f"-c {name}={value}" for name, value in settings.items())
        extra["options"] = f"{own} {given.get('options', '')}".strip()
    return psycopg.connect(address.conninfo, autocommit=True, **extra)  # type: ignore[arg-type]

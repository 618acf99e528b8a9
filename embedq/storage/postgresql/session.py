"""One connection to PostgreSQL, and the statements on it.

Round trips are what a statement costs, so the statements around a transaction share one: BEGIN returns the
transaction's number and the server's time, COMMIT includes the notification. A job that is inserted by itself needs
neither; see `pipelined`.
"""

from __future__ import annotations

import ctypes
import math
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
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.adopted import adopted
from embedq.storage.postgresql.pipelined_inserts import PostgresPipelinedInserts
from embedq.storage.postgresql.transaction import IDENTITY, PostgresTransaction, texts
from embedq.storage.postgresql.wire import Wire
from embedq.storage.retries import Timeouts
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
# A peer that vanished is noticed within half a minute; parameters of the URL take precedence.
NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "embedq",
}
# libpq, and psycopg as it, takes a shorter one for this.
SHORTEST_CONNECT_SECONDS = 2
_TIME = b"(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; %sSELECT pg_current_xact_id()::text, " + _TIME
_LOOK = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; %sSELECT '', " + _TIME


class PostgresSession:
    """One connection.

    Args:
        pooled: a pooler may assign each transaction another connection.
        connect: opens it, instead of the address.
        connect_seconds: how long the address has to answer, whatever timeout it contains.
    Attributes:
        has_settings: the settings took effect. A pooler may not have passed them on.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        durability: str,
        pooled: bool,
        timeouts: Timeouts,
        sql: tuple[Mapping[str, str], ...],
        connect: Callable[[], Any] | None = None,
        connect_seconds: float | None = None,
    ) -> None:
        self.pooled = pooled
        self._channel = address.channel
        self._schema = address.quoted_schema
        settings = {
            **PLANNING,
            "lock_timeout": str(int(timeouts.lock_seconds * 1000)),
            # For a statement without a transaction around it; a transaction sets it itself.
            "default_transaction_read_only": "off",
            "synchronous_commit": "on" if durability == "full" else "off",
        }
        if connect is None:
            self.connection = _connected(address, {} if pooled else settings, connect_seconds)
        else:
            self.connection = adopted(connect, {} if pooled else settings)
        try:
            self._set_up(address, settings, timeouts.answer_seconds, sql)
        except BaseException:
            self.close()
            raise

    def _set_up(
        self,
        address: PostgresAddress,
        settings: Mapping[str, str],
        answer_seconds: float,
        sql: tuple[Mapping[str, str], ...],
    ) -> None:
        _refuse_other_encodings(self.connection, address)
        self.connection.prepared_max = 300
        if self.pooled:
            self.connection.prepare_threshold = None
        self._wire = wire = Wire(self.connection, answer_seconds)
        self._libpq = wire.libpq
        # A pooler may give each transaction another connection, so each transaction sets them again.
        local = "".join(f"SET LOCAL {name} = {value}; " for name, value in settings.items()) if self.pooled else ""
        self._begin, self._look = _BEGIN % local.encode(), _LOOK % local.encode()
        writing, reading = sql
        self._write = PostgresTransaction(self.connection, wire, address, writing, not self.pooled)
        self._read = PostgresTransaction(self.connection, wire, address, reading, not self.pooled)
        self._pipelined = None if self.pooled else PostgresPipelinedInserts(self.connection, wire, address, writing)
        self.transaction = self._read
        self.mark: str | None = None
        self.has_settings = self.pooled or self.execute("SELECT current_setting('enable_seqscan')") == [("off",)]
        self._timeline = self._ask_timeline()

    def pipelined_inserts(self, count: int, unanswered: Sequence[int]) -> PostgresPipelinedInserts | None:
        if self._pipelined is not None:
            self._pipelined.prepare(count, unanswered)
        return self._pipelined

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
        if self._pipelined is not None and self._write.inserted:
            self._pipelined.others_inserted()
        news = self._write.news
        if news is None:
            self._ask(b"COMMIT")
        else:
            # In a transaction of its own, though not a round trip: a NOTIFY inside would make every other commit with
            # one wait for this one's flush to disk.
            self._ask(b"COMMIT; SELECT pg_notify('%s', '%s')" % (self._channel.encode(), news.encode()))

    def rollback(self) -> bool:
        with suppress(psycopg.Error):
            self._drain()
            if self._libpq.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                self._ask(b"ROLLBACK")
            return self._libpq.transaction_status == TransactionStatus.IDLE
        return False

    def let_go(self) -> None:
        """In the child of a fork: leave the connection to the parent.

        As long as this copy of the socket was open the server would not see the parent die, and keep its locks. To
        close the connection would end the parent's session. So the socket's descriptor is redirected to /dev/null.
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
            # Not every service with PostgreSQL's protocol has a log.
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
        """Run a statement outside the named ones, and return its rows."""
        self._drain()
        cursor = RawCursor(self.connection).execute(sql.encode(), texts(params), prepare=False)
        return cursor.fetchall() if cursor.description else []

    def run_script(self, sql: str) -> None:
        """Run statements without parameters, all of them."""
        self._ask(sql.encode())

    def _drain(self) -> None:
        if self._pipelined is not None:
            self._pipelined.drain()

    def _ask(self, sql: bytes) -> list[bytes]:
        """Run statements without parameters in one round trip; the last one's first row."""
        self._drain()
        result = self._wire.execute(sql)
        return [result.get_value(0, column) or b"" for column in range(result.nfields)] if result.ntuples else []


def _refuse_other_encodings(connection: psycopg.Connection, address: PostgresAddress) -> None:
    # Reported at the start of the connection.
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise ConfigurationError(
            f"{address.label} is stored as {encoding}, which cannot hold every text of a job. Give embedq a database "
            "in UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0. To change one, restore a dump of it "
            "into such a database"
        )


def _connected(
    address: PostgresAddress, settings: Mapping[str, str], connect_seconds: float | None
) -> psycopg.Connection:
    try:
        given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
    except psycopg.ProgrammingError as error:
        # Its message about a bad escape contains the password.
        detail = "a % must be written %25" if "percent" in str(error) else " ".join(str(error).split())
        raise ConfigurationError(f"libpq does not understand the URL of {address.label}: {detail}") from None
    extra = {name: value for name, value in NETWORK.items() if name not in given}
    # Whatever the URL or $PGCLIENTENCODING contains: embedq sends UTF-8.
    extra["client_encoding"] = "UTF8"
    if connect_seconds is not None:
        extra["connect_timeout"] = max(SHORTEST_CONNECT_SECONDS, math.ceil(connect_seconds))
    if settings:
        own = " ".join(f"-c {name}={value}" for name, value in settings.items())
        extra["options"] = f"{own} {given.get('options', '')}".strip()
    return psycopg.connect(address.conninfo, autocommit=True, **extra)  # type: ignore[arg-type]

"""One connection to MySQL or MariaDB, and its transactions.

Several statements go in one round trip, so the statements around a transaction cost no round trip of their own.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pymysql

from embedq.errors import ConfigurationError
from embedq.storage.base import Params, Row
from embedq.storage.mysql.address import MysqlAddress
from embedq.storage.mysql.connection import keep_alive, socket_of
from embedq.storage.mysql.transaction import MysqlTransaction, SizedCursor, Statement, qualified
from embedq.storage.retries import Timeouts
from embedq.storage.server_clock import ServerClock

# Applied to every connection. Rows are locked one by one, without the gaps between them, and what does not fit is an
# error, whatever the server's own settings.
SETTINGS = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    # The server's clock is read, and in a zone with daylight saving time an hour repeats.
    "SET SESSION time_zone = '+00:00'",
)
_TIME = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"
_BEGIN = f"START TRANSACTION; {_TIME}"
_LOOK = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY; {_TIME}"


class MysqlSession:
    """One connection of embedq's own.

    Args:
        timeouts: how long it waits for locks and answers.
        writer: names this process's transactions in `embedq_commits`, of which it has one at a time; None for a
            connection whose commits are never queried.
    """

    def __init__(
        self,
        connection: pymysql.Connection[Any],
        address: MysqlAddress,
        *,
        timeouts: Timeouts,
        writer: str | None,
        statements: tuple[Mapping[str, tuple[Statement, ...]], ...],
        parts: Mapping[str, str],
    ) -> None:
        self.connection = connection
        self._qualifier = address.qualifier
        self._cursor = connection.cursor(SizedCursor)
        self._writer = writer
        writing, reading = statements

        def qualify(sql: str) -> str:
            return qualified(sql, address.qualifier)

        self._write = MysqlTransaction(self._cursor, writing, parts, qualify)
        self._read = MysqlTransaction(self._cursor, reading, parts, qualify)
        self.transaction = self._read
        self.mark: str | None = None
        keep_alive(connection)
        # The driver has no other way to change the limits that it was connected with.
        limit = None if math.isinf(timeouts.answer_seconds) else timeouts.answer_seconds
        connection._read_timeout = connection._write_timeout = limit  # type: ignore[attr-defined]
        # For a row, and for a table that another session alters.
        seconds = math.ceil(timeouts.lock_seconds)
        locks = f"SET SESSION innodb_lock_wait_timeout = {seconds}, SESSION lock_wait_timeout = {seconds}"
        for setting in (*SETTINGS, locks):
            self._cursor.execute(setting)
        self._log_rows(address)
        [(version, self._cursor.limit)] = self.execute("SELECT VERSION(), @@max_allowed_packet")
        self.product = "MariaDB" if "MariaDB" in version else "MySQL"

    def _log_rows(self, address: MysqlAddress) -> None:
        """Make the binary log hold rows: at this isolation level the server refuses to log statements."""
        found: dict[str, str] = dict(
            self.execute("SHOW SESSION VARIABLES WHERE Variable_name IN ('log_bin', 'binlog_format')")
        )
        if found.get("log_bin") != "ON" or found.get("binlog_format") != "STATEMENT":
            return
        try:
            self._cursor.execute("SET SESSION binlog_format = 'ROW'")
        except pymysql.Error as error:
            raise ConfigurationError(
                f"the server of {address.label} logs statements (binlog_format = STATEMENT), and refuses some that "
                "embedq needs. Set binlog_format = MIXED or ROW in its configuration, and until it restarts SET GLOBAL "
                "binlog_format = 'MIXED'; or let this user's sessions log rows: GRANT BINLOG ADMIN ON *.* (MariaDB) or "
                f"SYSTEM_VARIABLES_ADMIN (MySQL). The server reports: {error.args[-1]}"
            ) from error

    def pipelined_inserts(self, count: int, unanswered: Sequence[int]) -> None:
        """Return None: no id can be reserved beforehand, so an insert could not be sent again."""
        return

    def begin(self, clock: ServerClock | None, *, read_only: bool) -> None:
        sent = 0 if clock is None else clock.host_now()
        [(server,)] = self._ask(_LOOK if read_only else _BEGIN)
        if clock is not None:
            clock.measured(server, sent, clock.host_now())
        self.transaction = self._read if read_only else self._write
        self._write.wrote = False
        self.mark = None if read_only else str(time.time_ns())

    def commit(self) -> None:
        if not self._write.wrote or self._writer is None:
            self._ask("COMMIT")
            return
        table = f"{self._qualifier}embedq_commits"
        self._ask(
            f"INSERT INTO {table} (writer, mark, since) VALUES ('{self._writer}', {self.mark}, UNIX_TIMESTAMP()) "
            f"ON DUPLICATE KEY UPDATE mark = {self.mark}, since = UNIX_TIMESTAMP(); COMMIT"
        )

    def rollback(self) -> bool:
        with suppress(pymysql.Error):
            self.connection.rollback()
            return True
        return False

    def committed(self, mark: str) -> bool:
        # Locked: it waits until the old connection's transaction is over, one way or the other.
        found = self.execute(
            f"SELECT mark FROM {self._qualifier}embedq_commits WHERE writer = %s FOR UPDATE", (self._writer,)
        )
        return found == [(int(mark),)]

    def delete_old_marks(self) -> None:
        """Delete the marks of processes that have not written for a day, which no process needs any more."""
        with suppress(pymysql.Error):
            self.execute(f"DELETE FROM {self._qualifier}embedq_commits WHERE since < UNIX_TIMESTAMP() - 86400")

    def identity(self) -> str:
        [(identity,)] = self.execute(f"SELECT id FROM {self._qualifier}embedq_identity")
        return str(identity)

    def execute(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement outside the named ones, and return its rows."""
        self._cursor.execute(sql, tuple(params) if params else None)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def _ask(self, sql: str) -> list[Row]:
        """Run statements without parameters in one round trip, and return the last one's rows."""
        self._cursor.execute(sql)
        while self._cursor.nextset():
            pass
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def let_go(self) -> None:
        """In the child of a fork: leave the connection to the parent; see `PostgresSession.let_go`."""
        sock = socket_of(self.connection)
        if sock is not None:
            nothing = os.open(os.devnull, os.O_RDWR)
            with suppress(OSError):
                os.dup2(nothing, sock.fileno(), inheritable=False)
            os.close(nothing)

    def close(self) -> None:
        with suppress(pymysql.Error, OSError):
            self.connection.close()

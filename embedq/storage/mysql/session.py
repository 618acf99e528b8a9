"""One connection to MySQL or MariaDB, and the statements on it.

PyMySQL writes parameters into the text of a statement, so that one may hold lists of any length, and several statements
go in one round trip: what surrounds a transaction rides along.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import pymysql
import pymysql.cursors
from pymysql.constants import CLIENT, ER

from embedq.errors import ConfigurationError, EnqueueError
from embedq.storage.base import Params, Row
from embedq.storage.mysql.address import Address
from embedq.storage.mysql.queues import ready_queues
from embedq.storage.patience import Patience
from embedq.storage.server_clock import ServerClock

T = TypeVar("T")

# Applied to every connection. Rows are locked one by one, without the gaps between them, and what does not fit is an
# error, whatever the server's own settings.
SETTINGS = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
)
# How many queues one look may find: the look takes a step for each.
MOST_QUEUES = {"MariaDB": "SET SESSION max_recursive_iterations = 100000",
               "MySQL": "SET SESSION cte_max_recursion_depth = 100000"}  # fmt: skip
# A peer that vanished without a word is noticed within half a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
_TIME = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)"
_BEGIN = f"START TRANSACTION; {_TIME}"
_LOOK = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY; {_TIME}"
# The most that one statement of a batch may say; servers refuse texts above max_allowed_packet, 16 MB or more.
BATCH_BYTES = 1_000_000
_BATCHES = ("ready_jobs", "suspect_jobs", "parked_jobs")


class Cursor(Protocol):
    """What is used of a DB-API cursor whose placeholder is %s."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    @property
    def description(self) -> Any: ...
    def execute(self, sql: str, params: Any) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


class Statement(NamedTuple):
    """SQL with %s, and which parameter goes where: a number, and whether it is a list."""

    sql: str
    order: tuple[tuple[int, bool], ...]

    def arrange(self, params: Params) -> list[object]:
        """The parameters for the placeholders, from those of the statement."""
        return [_listed(params[number]) if is_list else params[number] for number, is_list in self.order]


def compiled(sql: str) -> tuple[Statement, ...]:
    """The statements that a name stands for."""
    return tuple(_statement(part) for part in re.split(r";\s*\n", sql))


def _statement(sql: str) -> Statement:
    order = tuple((int(number) - 1, bool(listed)) for number, listed in re.findall(r"\$(\d+)(\[\])?", sql))
    return Statement(re.sub(r"\$\d+(\[\])?", "%s", sql.replace("%", "%%")), order)


def _listed(text: object) -> tuple[object, ...]:
    # (NULL) is the list that nothing is in.
    return tuple(json.loads(text)) or (None,) if isinstance(text, str) else (None,)


class MysqlTransaction:
    """Named statements on one cursor, inside a transaction that somebody else opened.

    Args:
        statements: see `compiled`.
        parts: pieces of SQL that the read model composes queries of.
        qualify: completes the names of tables in such a query.
    Attributes:
        wrote: something has been changed.
    """

    __slots__ = ("_cursor", "_parts", "_qualify", "_statements", "wrote")

    def __init__(
        self,
        cursor: Cursor,
        statements: Mapping[str, tuple[Statement, ...]],
        parts: Mapping[str, str],
        qualify: Callable[[str], str],
    ) -> None:
        self._cursor = cursor
        self._statements = statements
        self._parts = parts
        self._qualify = qualify
        self.wrote = False

    def run(self, statement: str, params: Params = ()) -> int:
        if statement == "succeed_jobs":
            return sum(self._last(statement, (batch,)) for batch in _json_batches(str(params[0])))
        return self._last(statement, params)

    def _last(self, statement: str, params: Params) -> int:
        try:
            for part in self._statements[statement]:
                self._cursor.execute(part.sql, part.arrange(params))
        except pymysql.err.DataError as error:
            raise _too_long(error) from error
        changed = self._cursor.rowcount
        self.wrote = self.wrote or changed > 0
        return changed

    def one(self, statement: str, params: Params = ()) -> Row | None:
        rows = self.all(statement, params)
        return rows[0] if rows else None

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        if statement == "ready_queues":
            return [(queue,) for _, queue in ready_queues(self._rows, [params[0]])]
        rows = self._rows(statement, params)
        if statement == "survey":
            found = ready_queues(self._rows, json.loads(params[0]))
            rows += [("ready", executor, queue, None) for executor, queue in found]
        return rows

    def _rows(self, statement: str, params: Params) -> list[Row]:
        rows: list[Row] = []
        for part in self._statements[statement]:
            self._cursor.execute(part.sql, part.arrange(params))
            if self._cursor.description is not None:
                rows = list(self._cursor.fetchall())
            else:
                self.wrote = True
        return rows

    def batch(self, statement: str, params: Params) -> list[Row]:
        return self.all(statement, params)

    def insert(self, statement: str, params: Params) -> int | None:
        self.wrote = True
        [part] = self._statements[statement]
        try:
            self._cursor.execute(part.sql, part.arrange(params))
        except Exception as error:
            # By its number: an application's connection may be another driver's.
            if error.args and error.args[0] == ER.DUP_ENTRY:
                return None
            if error.args and error.args[0] == ER.DATA_TOO_LONG:
                raise _too_long(error) from error
            raise
        return self._cursor.lastrowid

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        self.wrote = True
        [part] = self._statements[statement]
        head, _, row = part.sql.partition("VALUES ")
        ids: list[int] = []
        filled, fill = self._alike(part._replace(sql=row), shared)
        for batch in _batches(values):
            params = [value for payload in batch for value in fill(payload)]
            self._cursor.execute(f"{head}VALUES {', '.join([filled] * len(batch))}", params)
            [(first, step)] = self.all("inserted_ids")
            ids += range(first, first + step * len(batch), step)
        return ids

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        self.wrote = True
        [part] = self._statements[statement]
        head, _, marks = part.sql.partition("VALUES ")
        for batch in _batches(rows, size=lambda row: sum(len(value) for value in row if isinstance(value, str))):
            params = [value for row in batch for value in part.arrange(row)]
            self._cursor.execute(f"{head}VALUES {', '.join([marks] * len(batch))}", params)

    def _alike(self, row: Statement, shared: Params) -> tuple[str, Callable[[str], Sequence[object]]]:
        """A row of values in which what all have in common is written out, and the parameters of one of them."""
        mogrify = getattr(self._cursor, "mogrify", None)
        if mogrify is None:
            return row.sql, lambda payload: row.arrange((*shared, payload))
        marker = uuid.uuid4().hex
        return mogrify(row.sql, row.arrange((*shared, marker))).replace("%", "%%").replace(f"'{marker}'", "%s"), _only

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        text = self._qualify(sql.format_map(self._parts))
        self._cursor.execute(text.replace("%", "%%").replace("?", "%s"), tuple(params))
        return list(self._cursor.fetchall())


class SizedCursor(pymysql.cursors.Cursor):
    """A cursor that sends no text that the server would not read.

    The server breaks the connection in the middle of one, and that looks as if it had gone away.
    Attributes:
        limit: the server's max_allowed_packet, in bytes.
    """

    limit = 1 << 20

    def execute(self, query: str, args: Any = None) -> int:
        text = query if args is None else self.mogrify(query, args)
        # A character has four bytes at most; one byte is the command's.
        if 4 * len(text) >= self.limit and len(text.encode("utf-8", "replace")) >= self.limit:
            raise pymysql.err.OperationalError(ER.NET_PACKET_TOO_LARGE, f"{len(text):,} characters are too many")
        return super().execute(text)


class MysqlSession:
    """One connection of embedq's own.

    Args:
        patience: how long it waits for locks and answers.
        writer: names this process's transactions in `embedq_commits`.
    """

    def __init__(
        self,
        connection: pymysql.Connection[Any],
        address: Address,
        *,
        patience: Patience,
        writer: str,
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
        _keep_alive(connection)
        # The driver has no other way to change the limits that it was connected with.
        limit = None if math.isinf(patience.answer_seconds) else patience.answer_seconds
        connection._read_timeout = connection._write_timeout = limit  # type: ignore[attr-defined]
        # For a row, and for a table that somebody alters.
        seconds = math.ceil(patience.lock_seconds)
        locks = f"SET SESSION innodb_lock_wait_timeout = {seconds}, SESSION lock_wait_timeout = {seconds}"
        for setting in (*SETTINGS, locks):
            self._cursor.execute(setting)
        [(version, self._cursor.limit)] = self.execute("SELECT VERSION(), @@max_allowed_packet")
        self.product = "MariaDB" if "MariaDB" in version else "MySQL"
        self._cursor.execute(MOST_QUEUES[self.product])

    def lone(self, count: int, unanswered: Sequence[int]) -> None:
        """No number of a row can be had beforehand, so that an insert could be sent again."""
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
        if not self._write.wrote:
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

    def forget_the_dead(self) -> None:
        """Delete the numbers of processes that have not written for a day: nobody asks for them any more."""
        with suppress(pymysql.Error):
            self.execute(f"DELETE FROM {self._qualifier}embedq_commits WHERE since < UNIX_TIMESTAMP() - 86400")

    def identity(self) -> str:
        [(identity,)] = self.execute(f"SELECT id FROM {self._qualifier}embedq_identity")
        return str(identity)

    def execute(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement outside the named ones; its rows."""
        self._cursor.execute(sql, tuple(params) if params else None)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def _ask(self, sql: str) -> list[Row]:
        """Run statements without parameters in one round trip; the last one's rows."""
        self._cursor.execute(sql)
        while self._cursor.nextset():
            pass
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def let_go(self) -> None:
        """In the child of a fork: leave the connection to the parent; see `PostgresSession.let_go`."""
        sock = _socket(self.connection)
        if sock is not None:
            nothing = os.open(os.devnull, os.O_RDWR)
            with suppress(OSError):
                os.dup2(nothing, sock.fileno(), inheritable=False)
            os.close(nothing)

    def close(self) -> None:
        with suppress(pymysql.Error, OSError):
            self.connection.close()


def connect(address: Address, program: str) -> pymysql.Connection[Any]:
    """A connection with the driver's own settings.

    Raises:
        ConfigurationError: a file that the URL names is not there.
    """
    try:
        return _connect(address, program)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"a file that the URL of {address.label} names is not here: {_files(address)}"
        ) from error


def _files(address: Address) -> str:
    given = {**address.arguments, **address.arguments.get("ssl", {})}
    return ", ".join(
        str(given[name]) for name in ("ssl_ca", "ssl_cert", "ssl_key", "ca", "cert", "key") if name in given
    )


def _connect(address: Address, program: str) -> pymysql.Connection[Any]:
    return pymysql.connect(
        **address.arguments,
        database=address.database,
        charset="utf8mb4",
        autocommit=True,
        # For the greeting; see MysqlSession.
        read_timeout=address.arguments["connect_timeout"],
        program_name=program,
        # Counts are of the rows that a statement found, as everywhere, not of those that it made different.
        client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS,
    )


def qualified(sql: str, qualifier: str) -> str:
    """A statement with its tables' full names, so that no connection's current database decides."""
    tables = "jobs|attempts|logs|schedules|occurrences|servers|leases|counters|identity|copies|actions|questions"
    return re.sub(rf"(?<![\w.`])embedq_(?=(?:{tables})\b)", lambda _: f"{qualifier}embedq_", sql)


def unlocked(sql: str) -> str:
    """A statement as it reads without writing."""
    return re.sub(r"\s+(?:FOR UPDATE(?: SKIP LOCKED)?|LOCK IN SHARE MODE)", "", sql)


def _socket(connection: pymysql.Connection[Any]) -> socket.socket | None:
    found: socket.socket | None = getattr(connection, "_sock", None)
    return found


def _keep_alive(connection: pymysql.Connection[Any]) -> None:
    sock = _socket(connection)
    if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _batches(values: Sequence[T], size: Callable[[T], int] = len) -> Iterator[list[T]]:  # type: ignore[assignment]
    """Runs of values that one statement can say; `size` gives the length of one as text."""
    batch: list[T] = []
    total = 0
    for value in values:
        if batch and total + size(value) > BATCH_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(value)
        total += size(value)
    if batch:
        yield batch


def _json_batches(text: str) -> Iterator[str]:
    """A JSON list as lists that one statement can say, in a form that the server reads."""
    if len(text) <= BATCH_BYTES and "\\ud" not in text:
        yield text
        return
    for batch in _batches([json.dumps(_clean(row), separators=(",", ":")) for row in json.loads(text)]):
        yield f"[{','.join(batch)}]"


def _clean(row: list[object]) -> list[object]:
    # Half of a surrogate pair is no JSON text for the servers.
    return [
        value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
        for value in row
    ]


def _only(payload: str) -> tuple[str]:
    return (payload,)


def _too_long(error: Exception) -> EnqueueError:
    return EnqueueError(
        f"MySQL and MariaDB keep names of jobs up to 400 characters, and names of schedules up to 255: {error.args[-1]}"
    )

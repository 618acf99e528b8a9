"""One connection to PostgreSQL, and the statements on it.

Round trips are what a statement costs, so that what surrounds a transaction rides along: BEGIN brings the transaction's
number and the server's time, COMMIT takes the wake-up call with it. (psycopg's pipelines would save some more; on one
machine they cost more than they save.)
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import RawCursor
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from embedq.errors import EnqueueError
from embedq.storage.base import Params, Row
from embedq.storage.postgresql.address import Address
from embedq.storage.postgresql.adopted import adopted
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
# How long a statement waits for a row that somebody else has locked: the application may hold one for as long as its
# transaction is open, and may itself be waiting for us.
LOCK_MILLIS = 20_000
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

# Statements after which others have something to do, and what to call it. Who only sees jobs that he made himself
# need not look.
_NEWS = {
    "insert_alike": "jobs", "promote_due": "jobs", "wake_child": "jobs", "retry_job": "jobs", "end_job": "jobs",
    "run_jobs_now": "jobs", "move_jobs": "jobs", "request_cancel": "cancel",
}  # fmt: skip
_EXACT = {"insert_plain", "insert_job", "insert_alike", "insert_schedule"}
_INSERTS = ("insert_plain", "insert_job")
_FOR_OTHERS = ("ready", "scheduled")
_PLAIN = b"embedq_insert_plain"


class PostgresTransaction:
    """Named statements on one connection, inside a transaction that the session opened.

    Attributes:
        news: what to tell others after the commit.
    """

    __slots__ = ("_cursor", "_libpq", "_plain_is_prepared", "_prepare", "_qualify", "_sql", "news")

    def __init__(self, connection: psycopg.Connection, address: Address, sql: Mapping[str, str], prepare: bool) -> None:
        self._cursor = RawCursor(connection)
        self._libpq = connection.pgconn
        self._plain_is_prepared = False
        self._qualify = address.quoted_schema
        self._sql = sql
        self._prepare = prepare
        self.news: str | None = None

    def _execute(self, statement: str, params: Params) -> RawCursor[Row]:
        values = _texts(params)
        if statement in _EXACT and any(value is not None and "\ufffd" in value for value in values):
            refuse_nul(params)
        if statement == "succeed_jobs" and ("\\u0000" in params[0] or "\\ud" in params[0]):
            # The only JSON with anybody's text in it that the server reads.
            values[0] = _clean_json(params[0])
        return self._cursor.execute(self._sql[statement], values, prepare=self._prepare)

    def run(self, statement: str, params: Params = ()) -> int:
        changed = self._execute(statement, params).rowcount
        if changed and statement in _NEWS:
            self._note(_NEWS[statement])
        return changed

    def one(self, statement: str, params: Params = ()) -> Row | None:
        return self._execute(statement, params).fetchone()

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        return self._execute(statement, params).fetchall()

    def batch(self, statement: str, params: Params) -> list[list[Any]]:
        [(text,)] = self._execute(statement, params).fetchall()
        rows: list[list[Any]] = json.loads(text)
        return rows

    def insert(self, statement: str, params: Params) -> int | None:
        if statement == "insert_plain" and self._prepare:
            return self._insert_plain(params)
        row = self._execute(statement, params).fetchone()
        if statement in _INSERTS and params[0] in _FOR_OTHERS:
            self._note("jobs")
        return None if row is None else row[0]

    def _insert_plain(self, params: Params) -> int:
        """What most enqueues are, without the driver's cursor: that costs a fifth of an enqueue."""
        # None of its columns may be NULL.
        values = [_clean(str(value)) for value in params]
        if any("\ufffd" in value for value in values):
            refuse_nul(params)
        if not self._plain_is_prepared:
            answered(self._libpq, self._libpq.prepare(_PLAIN, self._sql["insert_plain"].encode()))
            self._plain_is_prepared = True
        result = answered(self._libpq, self._libpq.exec_prepared(_PLAIN, [value.encode() for value in values]))
        if params[0] in _FOR_OTHERS:
            self._note("jobs")
        return int(result.get_value(0, 0) or 0)

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        rows = self._execute(statement, (*shared, json.dumps(values))).fetchall()
        self._note("jobs")
        return [job_id for (job_id,) in rows]

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        self._execute(statement, (json.dumps(rows),))

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        numbers = iter(range(1, len(params) + 1))
        text = re.sub(r"\?", lambda _: f"${next(numbers)}", sql.format_map(self._sql))
        cursor = self._cursor.execute(qualified(text, self._qualify), _texts(params), prepare=False)
        return cursor.fetchall()

    def _note(self, news: str) -> None:
        if self.news != "cancel":
            self.news = news


class PostgresSession:
    """One connection.

    Args:
        connect: opens it, instead of the address.
    """

    def __init__(
        self,
        address: Address,
        *,
        durability: str,
        pooled: bool,
        sql: tuple[Mapping[str, str], ...],
        connect: Callable[[], Any] | None = None,
    ) -> None:
        self._channel = address.channel
        self._schema = address.quoted_schema
        settings = {
            **PLANNING,
            "lock_timeout": str(LOCK_MILLIS),
            "synchronous_commit": "on" if durability == "full" else "off",
        }
        if connect is None:
            self.connection = _connected(address, {} if pooled else settings)
        else:
            self.connection = adopted(connect, {} if pooled else settings)
        self.connection.prepared_max = 300
        if pooled:
            self.connection.prepare_threshold = None
        self._libpq = self.connection.pgconn
        # A pooler may give each transaction another connection, so that each must be told.
        local = "".join(f"SET LOCAL {name} = {value}; " for name, value in settings.items()) if pooled else ""
        self._begin, self._look = _BEGIN % local.encode(), _LOOK % local.encode()
        writing, reading = sql
        self._write = PostgresTransaction(self.connection, address, writing, not pooled)
        self._read = PostgresTransaction(self.connection, address, reading, not pooled)
        self.transaction = self._read
        self.mark: str | None = None

    def begin(self, clock: ServerClock | None, *, read_only: bool) -> None:
        sent = 0 if clock is None else clock.host_now()
        mark, server = self._ask(self._look if read_only else self._begin)
        if clock is not None:
            clock.measured(int(server), sent, clock.host_now())
        self.mark = mark.decode()
        self.transaction = self._read if read_only else self._write
        self.transaction.news = None

    def commit(self) -> None:
        if self._libpq.transaction_status != TransactionStatus.INTRANS:
            raise psycopg.OperationalError("the transaction is not open any more")
        news = self._write.news
        if news is None:
            self._ask(b"COMMIT")
        else:
            # In a transaction of its own, though not a round trip: a NOTIFY inside would make every other commit with
            # one wait for this one's flush to disk.
            self._ask(b"COMMIT; SELECT pg_notify('%s', '%s')" % (self._channel.encode(), news.encode()))

    def rollback(self) -> bool:
        with suppress(psycopg.Error):
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

    def committed(self, mark: str) -> bool:
        while True:
            # A number that this server never gave is one of a primary that is gone, with what it did not pass on.
            [(status,)] = self.execute(
                "SELECT CASE WHEN $1::xid8 < pg_current_xact_id() THEN pg_xact_status($1::xid8) END", (mark,)
            )
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(0.05)

    def identity(self) -> str:
        [(identity,)] = self.execute(f"SELECT id FROM {self._schema}.embedq_identity")
        return str(identity)

    @property
    def backend(self) -> int | None:
        """The server's number of this connection; None once it is closed."""
        return None if self.connection.closed else self._libpq.backend_pid

    def execute(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement outside the named ones; its rows."""
        cursor = RawCursor(self.connection).execute(sql.encode(), _texts(params), prepare=False)
        return cursor.fetchall() if cursor.description else []

    def run_script(self, sql: str) -> None:
        """Run statements without parameters, all of them."""
        self._ask(sql.encode())

    def _ask(self, sql: bytes) -> list[bytes]:
        """Run statements without parameters in one round trip; the last one's first row."""
        result = answered(self._libpq, self._libpq.exec_(sql))
        return [result.get_value(0, column) or b"" for column in range(result.nfields)] if result.ntuples else []


def _connected(address: Address, settings: Mapping[str, str]) -> psycopg.Connection:
    given = psycopg.conninfo.conninfo_to_dict(address.conninfo)
    extra = {name: value for name, value in NETWORK.items() if name not in given}
    if settings:
        own = " ".join(f"-c {name}={value}" for name, value in settings.items())
        extra["options"] = f"{own} {given.get('options', '')}".strip()
    return psycopg.connect(address.conninfo, autocommit=True, **extra)  # type: ignore[arg-type]


def answered(libpq: PGconn, result: PGresult) -> PGresult:
    """The result of a call of libpq's own; psycopg's exception for one that is an error."""
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if libpq.status == ConnStatus.BAD:
            said = result.error_message.decode(errors="replace")
            raise psycopg.OperationalError(said or "the connection is lost")
        raise psycopg.errors.error_from_result(result)
    return result


def qualified(sql: str, schema: str) -> str:
    """A statement with its tables' schema, so that no search_path decides."""
    tables = "jobs|attempts|logs|schedules|occurrences|servers|leases|counters|identity|copies|actions|questions"
    return re.sub(rf"(?<![\w.])embedq_(?=(?:{tables})\b)", f"{schema}.embedq_", sql)


def unlocked(sql: str) -> str:
    """A statement as it reads without writing."""
    return re.sub(r"\s+FOR (?:UPDATE|KEY SHARE)(?: OF \w+)?(?: SKIP LOCKED)?", "", sql)


def _texts(params: Params) -> list[str | None]:
    """Parameters as texts: their types are the statement's to know, and it is prepared once for all."""
    return [None if value is None else _clean(value if type(value) is str else str(value)) for value in params]


def _clean(text: str) -> str:
    # PostgreSQL's texts hold no NUL. It comes in messages of errors; what a job was given is ASCII by then.
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def refuse_nul(params: Params) -> None:
    """A name, queue or key must not become another one."""
    for value in params:
        if isinstance(value, str) and "\x00" in value:
            raise EnqueueError(f"{value[:100]!r} has a NUL character, which PostgreSQL cannot store; leave it out")


def _clean_json(text: str) -> str:
    """A JSON text that PostgreSQL reads: its strings have neither NUL nor half a surrogate pair."""

    def clean(value: object) -> object:
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, str):
            return _clean(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        return value

    return json.dumps(clean(json.loads(text)), separators=(",", ":"))

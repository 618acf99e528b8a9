"""Named statements on a connection to PostgreSQL, inside an open transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import RawCursor

from embedq.errors import EnqueueError
from embedq.storage import named_sql
from embedq.storage.base import Params, Row
from embedq.storage.batching import batched, length_of_texts
from embedq.storage.columns import TABLES
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.wire import Wire
from embedq.storage.rows import KEY, NOT_STARTED, PAYLOAD

# A database that was copied by a template or from a dump has the same id; its own numbers are others.
IDENTITY = """SELECT concat_ws(' ', id, tableoid, (SELECT oid FROM pg_database WHERE datname = current_database()))
    FROM {schema}.embedq_identity"""

# Properties from the headers of statements; see `named_sql`. A process need not look for jobs that it alone has seen.
_NOTIFY = named_sql.marked("notify")
_EXACT = named_sql.marked("exact")
_BULK = named_sql.marked("bulk")
# The states of a new job that concern others.
FOR_OTHERS = ("ready", "scheduled")


class PostgresTransaction:
    """Named statements on one connection, inside a transaction that the session opened.

    Attributes:
        news: what to tell others after the commit.
        inserted: it has new jobs.
    """

    __slots__ = ("_cursor", "_prepare", "_prepared", "_qualify", "_sql", "_wire", "inserted", "news")

    def __init__(
        self,
        connection: psycopg.Connection,
        wire: Wire,
        address: PostgresAddress,
        sql: Mapping[str, str],
        prepare: bool,
    ) -> None:
        self._cursor = RawCursor(connection)
        self._wire = wire
        self._prepared: set[str] = set()
        self._qualify = address.quoted_schema
        self._sql = sql
        self._prepare = prepare
        self.news: str | None = None
        self.inserted = False

    def _execute(self, statement: str, params: Params) -> RawCursor[Row]:
        values = exact_texts(params) if statement in _EXACT else texts(params)
        if statement in _BULK and ("\\u0000" in params[0] or "\\ud" in params[0]):
            # The only JSON with arbitrary text in it that the server parses.
            values[0] = _clean_json(params[0])
        return self._cursor.execute(self._sql[statement], values, prepare=self._prepare)

    def run(self, statement: str, params: Params = ()) -> int:
        changed = self._execute(statement, params).rowcount
        if changed and statement in _NOTIFY:
            self._note(_NOTIFY[statement])
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
        self.inserted = True
        if statement == "insert_plain" and self._prepare:
            return self._insert_plain(params)
        row = self._execute(statement, params).fetchone()
        if _NOTIFY.get(statement) == "new" and params[0] in FOR_OTHERS:
            self._note("jobs")
        return None if row is None else row[0]

    def _insert_plain(self, params: Params) -> int:
        """What most enqueues are, without the driver's cursor: that costs a fifth of an enqueue."""
        # None of its columns may be NULL.
        values = [value.encode() for value in exact_texts(params) if value is not None]
        result = self._wire.run_prepared(self._ready("insert_plain"), values)
        if params[0] in FOR_OTHERS:
            self._note("jobs")
        return int(result.get_value(0, 0) or 0)

    def _ready(self, statement: str) -> bytes:
        """Prepare a named statement, once on each connection; its name there."""
        name = f"embedq_{statement}".encode()
        if statement not in self._prepared:
            self._wire.prepare(name, self._sql[statement])
            self._prepared.add(statement)
        return name

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        self.inserted = True
        ids: list[int] = []
        for batch in batched(values, len):
            if len(batch) == 1:
                # No string of JSON may have more than 268 MB here; a text may.
                [payload] = batch
                inserted = self._execute("insert_job", (*shared[:PAYLOAD], payload, *shared[PAYLOAD:], *NOT_STARTED))
            else:
                inserted = self._execute(statement, (*shared, json.dumps(batch)))
            ids += [job_id for (job_id,) in inserted.fetchall()]
        self._note("jobs")
        return ids

    def insert_each(self, statement: str, rows: Sequence[Row]) -> list[int]:
        self.inserted = True
        ids: list[int] = []
        for batch in batched(rows, length_of_texts):
            ids += [job_id for (job_id,) in self._execute(statement, (json.dumps(batch),)).fetchall()]
        self._note("jobs")
        return ids

    def insert_keyed(self, rows: Sequence[Row]) -> list[int | None]:
        self.inserted = True
        for row in rows:
            refuse_nul(row)
        ids = [job_id for (job_id,) in self._execute("next_job_ids", (len(rows),)).fetchall()]
        keyed = sorted(zip(ids, rows, strict=True), key=lambda pair: pair[1][KEY] or "")
        inserted: set[int] = set()
        for batch in batched([(*row, job_id) for job_id, row in keyed], length_of_texts):
            inserted.update(job_id for (job_id,) in self._execute("insert_keyed", (json.dumps(batch),)).fetchall())
        self._note("jobs")
        return [job_id if job_id in inserted else None for job_id in ids]

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        for batch in batched(rows, length_of_texts):
            self._execute(statement, (json.dumps(batch),))

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        numbers = iter(range(1, len(params) + 1))
        text = re.sub(r"\?", lambda _: f"${next(numbers)}", sql.format_map(self._sql))
        cursor = self._cursor.execute(qualified(text, self._qualify), texts(params), prepare=False)
        return cursor.fetchall()

    def _note(self, news: str) -> None:
        if self.news != "cancel":
            self.news = news


_TABLE = re.compile(r"(?<![\w.])embedq_(?=(?:" + "|".join(TABLES) + r")\b)")


def qualified(sql: str, schema: str) -> str:
    """A statement with its tables' schema, so that no search_path decides."""
    return _TABLE.sub(lambda _: f"{schema}.embedq_", sql)


def unlocked(sql: str) -> str:
    """A statement as it reads without writing."""
    return re.sub(r"\s+FOR (?:UPDATE|KEY SHARE)(?: OF \w+)?(?: SKIP LOCKED)?", "", sql)


def texts(params: Params) -> list[str | None]:
    """Parameters as texts: their types are the statement's to know, and it is prepared once for all."""
    return [None if value is None else _clean(value if type(value) is str else str(value)) for value in params]


def exact_texts(params: Params) -> list[str | None]:
    """`texts` of what must be stored as it is, or not at all."""
    values = texts(params)
    if any(value is not None and "\ufffd" in value for value in values):
        refuse_nul(params)
    return values


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

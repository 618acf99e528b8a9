"""SQLite's statements, on a connection that is inside a transaction.

In the SQL files parameters have numbers, `$2`, and may be used twice. What SQLite is given has only `?`: Python
3.12.0 to 3.12.3 warn of any other placeholder that is bound from a tuple, which is an error under `-W error`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from embedq.storage import named_sql
from embedq.storage.base import Params, Row
from embedq.storage.batching import batched, length_of_texts
from embedq.storage.rows import NOT_STARTED
from embedq.storage.sqlite.dialect import dialect
from embedq.storage.sqlite.large import PAYLOAD, split, split_alike

_NUMBERED = re.compile(r"\$(\d+)")

# From the parameters by number to those in the order of the placeholders.
Order = Callable[[Params], Params]


@cache
def _numbered() -> dict[str, str]:
    return named_sql.read(Path(__file__).parent, dialect)


@cache
def statements() -> dict[str, str]:
    """Every named statement, as SQLite is given it."""
    return {name: _NUMBERED.sub("?", text) for name, text in _numbered().items()}


@cache
def orders() -> dict[str, Order]:
    """The statements whose parameters have to be put in order, and how."""
    found: dict[str, Order] = {}
    for name, text in _numbered().items():
        order = [int(number) - 1 for number in _NUMBERED.findall(text)]
        if order != list(range(len(order))):
            found[name] = itemgetter(*order)
    return found


class SQLiteTransaction:
    """Named statements on one connection, inside a transaction that the database opened."""

    __slots__ = ("_execute", "_order_of", "_sql")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._take(connection.execute)

    def _take(self, execute: Callable[..., Any]) -> None:
        self._execute = execute
        self._sql = statements()
        self._order_of = orders().get

    def _do(self, statement: str, params: Params) -> Any:
        order = self._order_of(statement)
        return self._execute(self._sql[statement], params if order is None else order(params))

    def run(self, statement: str, params: Params = ()) -> int:
        count: int = self._do(statement, params).rowcount
        return count

    def one(self, statement: str, params: Params = ()) -> Row | None:
        row: Row | None = self._do(statement, params).fetchone()
        return row

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        rows: list[Row] = self._do(statement, params).fetchall()
        return rows

    def batch(self, statement: str, params: Params) -> list[list[Any]]:
        [(text,)] = self._do(statement, params).fetchall()
        rows: list[list[Any]] = json.loads(text)
        return rows

    def insert(self, statement: str, params: Params) -> int | None:
        at = PAYLOAD.get(statement)
        if at is None:
            return self._insert(statement, params)
        row, apart = split(params, at)
        job_id = self._insert(statement, row)
        if apart is not None and job_id is not None:
            self.run("insert_large", (job_id, *apart))
        return job_id

    def _insert(self, statement: str, params: Params) -> int | None:
        cursor = self._do(statement, params)
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        ids: list[int] = []
        for batch in batched(values, len):
            columns, payloads, apart = split_alike(shared, PAYLOAD["insert_job"], batch)
            self._do(statement, (*columns, json.dumps(payloads)))
            new = self._last_ids(len(batch))
            for number, texts in apart.items():
                self.run("insert_large", (new[number], *texts))
            ids += new
        return ids

    def insert_each(self, statement: str, rows: Sequence[Row]) -> list[int]:
        ids: list[int] = []
        for batch in batched(rows, length_of_texts):
            pairs = [split(row, PAYLOAD[statement]) for row in batch]
            self._do(statement, (json.dumps([row for row, _ in pairs]),))
            new = self._last_ids(len(batch))
            for job_id, (_, apart) in zip(new, pairs, strict=True):
                if apart is not None:
                    self.run("insert_large", (job_id, *apart))
            ids += new
        return ids

    def insert_keyed(self, rows: Sequence[Row]) -> list[int | None]:
        # No other connection writes meanwhile.
        return [self.insert("insert_job", (*row, *NOT_STARTED)) for row in rows]

    def _last_ids(self, count: int) -> list[int]:
        # One statement and one writer: the ids are consecutive and end at the last one.
        (last,) = self._execute("SELECT last_insert_rowid()").fetchone()
        return list(range(last - count + 1, last + 1))

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        # Not as one JSON text: SQLite ends the strings of JSON at a NUL character.
        at = PAYLOAD.get(statement)
        for row in rows:
            columns, apart = (row, None) if at is None else split(row, at)
            self._do(statement, columns)
            if apart is not None:
                self.run("insert_large", (row[0], *apart))

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        rows: list[Row] = self._execute(sql.format_map(self._sql), params).fetchall()
        return rows

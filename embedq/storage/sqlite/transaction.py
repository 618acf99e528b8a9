"""SQLite's statements, on a connection that is inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from embedq.storage import named_sql
from embedq.storage.base import Params, Row


@cache
def statements() -> dict[str, str]:
    """Every named statement of the SQL files in this folder."""
    return named_sql.read(Path(__file__).parent)


class SQLiteTransaction:
    """Named statements on one connection, inside a transaction that the database opened."""

    __slots__ = ("_execute", "_sql")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._sql = statements()

    def run(self, statement: str, params: Params = ()) -> int:
        return self._execute(self._sql[statement], params).rowcount

    def one(self, statement: str, params: Params = ()) -> Row | None:
        row: Row | None = self._execute(self._sql[statement], params).fetchone()
        return row

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        return self._execute(self._sql[statement], params).fetchall()

    def batch(self, statement: str, params: Params) -> list[list[Any]]:
        [(text,)] = self._execute(self._sql[statement], params).fetchall()
        rows: list[list[Any]] = json.loads(text)
        return rows

    def insert(self, statement: str, params: Params) -> int | None:
        cursor = self._execute(self._sql[statement], params)
        return cursor.lastrowid if cursor.rowcount == 1 else None

    def insert_alike(self, statement: str, shared: Params, values: Sequence[str]) -> list[int]:
        self._execute(self._sql[statement], (*shared, json.dumps(values)))
        # One statement and one writer: the ids are consecutive and end at the last one.
        (last,) = self._execute("SELECT last_insert_rowid()").fetchone()
        return list(range(last - len(values) + 1, last + 1))

    def insert_rows(self, statement: str, rows: Sequence[Row]) -> None:
        # Not as one JSON text: SQLite ends the strings of JSON at a NUL character.
        for row in rows:
            self._execute(self._sql[statement], row)

    def select(self, sql: str, params: Params = ()) -> list[Row]:
        return self._execute(sql.format_map(self._sql), params).fetchall()

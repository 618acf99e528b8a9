"""Jobs in a transaction of the application's own, on a SQLite connection of its own.

Other processes, and the dispatcher of this one, see the commit in the write-ahead log; nobody need be told.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedq.storage import foreign
from embedq.storage.base import Lent, Params, Row
from embedq.storage.sqlite.transaction import SQLiteTransaction, statements

# sqlite3.LEGACY_TRANSACTION_CONTROL, from Python 3.12 on: the module begins a transaction before a statement writes.
LEGACY = -1
Execute = Callable[..., Any]


class ForeignSQLiteTransaction(SQLiteTransaction):
    """Named statements inside a transaction that the application opened."""

    __slots__ = ()

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._sql = statements()

    def one(self, statement: str, params: Params = ()) -> Row | None:
        row = super().one(statement, params)
        return None if row is None else _text(row)

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        return [_text(row) for row in super().all(statement, params)]

    def insert(self, statement: str, params: Params) -> int | None:
        if self.run(statement, params) != 1:
            return None
        job_id: int = self._execute("SELECT last_insert_rowid()").fetchone()[0]
        return job_id

    def announce(self) -> None:
        """The commit is seen in the file."""


def borrow(lent: Lent, path: Path) -> ForeignSQLiteTransaction:
    """The transaction that is open, or about to begin, on a connection to the file `path`.

    Raises:
        TransactionError: see `Database.foreign`.
    """
    if not foreign.comes_from(lent.connection, "sqlite3", "aiosqlite"):
        raise foreign.not_of(str(path), lent)
    execute: Execute = lent.execute or _executing(lent.connection)
    try:
        # The first is the one that the connection was opened on.
        main = _text(execute("PRAGMA database_list").fetchone())[2]
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise foreign.closed() from error
        raise
    if not main or not _same(main, path):
        raise foreign.elsewhere(main or "a database in memory", str(path))
    if not _will_be_open(lent.connection):
        raise foreign.autocommitting('execute("BEGIN IMMEDIATE") first, and commit() afterwards')
    try:
        # The lock first: what is read for a continuation must stay so, and sqlite3 begins before it writes, not before
        # it reads.
        execute("DELETE FROM embedq_jobs WHERE 0")
    except Exception as error:
        if getattr(foreign.driver_error(error), "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            raise foreign.read_only(error) from error
        raise
    return ForeignSQLiteTransaction(execute)


def _executing(connection: sqlite3.Connection) -> Execute:
    def execute(sql: str, params: Params = ()) -> sqlite3.Cursor:
        # Whatever the application has its rows made into.
        cursor = sqlite3.Connection.cursor(connection)
        cursor.row_factory = None
        return cursor.execute(sql, params)

    return execute


def _same(file: str, path: Path) -> bool:
    try:
        return os.path.samefile(file, path)
    except OSError:
        return False


def _will_be_open(connection: Any) -> bool:
    """Whether a statement that writes is part of a transaction."""
    if connection.in_transaction:
        return True
    mode = getattr(connection, "autocommit", LEGACY)
    return not mode if mode != LEGACY else connection.isolation_level is not None


def _text(row: Row) -> Row:
    # The application may have its texts as bytes.
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row)

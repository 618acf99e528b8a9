"""Jobs in a transaction of the application's own, on a SQLite connection of its own.

Other processes, and the dispatcher of this one, notice the commit in the write-ahead log; it needs no notification.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedq.storage import external
from embedq.storage.base import ExternalConnection, Params, Row
from embedq.storage.sqlite.transaction import SQLiteTransaction

# sqlite3.LEGACY_TRANSACTION_CONTROL, from Python 3.12 on: the module begins a transaction before a statement writes.
LEGACY = -1
Execute = Callable[..., Any]


class ExternalSQLiteTransaction(SQLiteTransaction):
    """Named statements inside a transaction that the application opened."""

    __slots__ = ()

    def __init__(self, execute: Execute) -> None:
        self._take(execute)

    def one(self, statement: str, params: Params = ()) -> Row | None:
        row = super().one(statement, params)
        return None if row is None else _text(row)

    def all(self, statement: str, params: Params = ()) -> list[Row]:
        return [_text(row) for row in super().all(statement, params)]

    def _insert(self, statement: str, params: Params) -> int | None:
        if self.run(statement, params) != 1:
            return None
        job_id: int = self._execute("SELECT last_insert_rowid()").fetchone()[0]
        return job_id

    def announce(self) -> None:
        """The commit is seen in the file."""


def join_transaction(application: ExternalConnection, path: Path) -> ExternalSQLiteTransaction:
    """The transaction that is open, or about to begin, on a connection to the file `path`.

    Raises:
        TransactionError: see `Database.join_transaction`.
    """
    if not external.comes_from(application.connection, "sqlite3", "aiosqlite"):
        raise external.not_of(str(path), application)
    execute: Execute = application.execute or _executing(application.connection)
    try:
        # The first is the one that the connection was opened on.
        main = _text(execute("PRAGMA database_list").fetchone())[2]
    except sqlite3.ProgrammingError as error:
        if "closed" in str(error):
            raise external.closed() from error
        raise
    if not main or not _same(main, path):
        raise external.elsewhere(main or "a database in memory", str(path))
    if not _will_be_open(application.connection):
        raise external.autocommitting('execute("BEGIN IMMEDIATE") first, and commit() afterwards')
    try:
        # The lock first: what is read for a continuation must stay so, and sqlite3 begins before it writes, not before
        # it reads.
        execute("DELETE FROM embedq_jobs WHERE 0")
    except Exception as error:
        if getattr(external.driver_error(error), "sqlite_errorname", "").startswith("SQLITE_READONLY"):
            raise external.read_only(error) from error
        raise
    return ExternalSQLiteTransaction(execute)


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
    """Return whether a statement that writes is part of a transaction."""
    if connection.in_transaction:
        return True
    mode = getattr(connection, "autocommit", LEGACY)
    return not mode if mode != LEGACY else connection.isolation_level is not None


def _text(row: Row) -> Row:
    # The application may have its texts as bytes.
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row)

"""Jobs in a transaction of the application's own, on a PostgreSQL connection of its own and through its own driver."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableSet, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from embedq.errors import TransactionError
from embedq.storage import external
from embedq.storage.base import ExternalConnection, Params
from embedq.storage.postgresql.address import PostgresAddress
from embedq.storage.postgresql.transaction import IDENTITY, PostgresTransaction, refuse_nul

# Runs SQL with $1 for its parameters, and returns something like a cursor.
Execute = Callable[[str, Sequence[Any]], Any]
DRIVERS = ("psycopg", "psycopg2", "asyncpg", "pg8000")
# libpq's number for a connection that is in no transaction.
IDLE = 0


class ExternalPostgresTransaction(PostgresTransaction):
    """Named statements inside a transaction that the application opened."""

    __slots__ = ("_channel",)

    def __init__(self, execute: Execute, address: PostgresAddress, sql: Mapping[str, str]) -> None:
        self._cursor: Any = _PostgresCursor(execute)
        self._channel = address.channel
        self._qualify = address.quoted_schema
        self._sql = sql
        self._prepare = False
        self.news = None
        self.inserted = False

    def _execute(self, statement: str, params: Params) -> Any:
        refuse_nul(params)
        # Not all as texts, as on embedq's own connections: some drivers want a number where the server has one. And a
        # str where it is an enum, of which drivers have ideas of their own.
        values = [str(value) if isinstance(value, str) else value for value in params]
        return self._cursor.execute(self._sql[statement], values)

    def announce(self) -> None:
        if self.news is not None:
            # The server delivers it when, and if, the application commits.
            self._cursor.execute("SELECT pg_notify($1, $2)", (self._channel, self.news))
            self.news = None


class _PostgresCursor:
    def __init__(self, execute: Execute) -> None:
        self._run = execute

    def execute(self, sql: str, values: Sequence[Any], *, prepare: bool = False) -> Any:
        try:
            return self._run(sql, values)
        except UnicodeEncodeError as error:
            raise external.unencodable(error) from error
        except Exception as error:
            code = _sqlstate(error)
            if code == "25006":
                raise external.read_only(error) from error
            if code == "42501":
                raise TransactionError(
                    "the user of this connection may not write embedq's tables; as their owner: GRANT USAGE on their "
                    f"schema and SELECT, INSERT, UPDATE, DELETE on them. {external.driver_error(error)}"
                ) from error
            raise


def join_transaction(
    application: ExternalConnection,
    address: PostgresAddress,
    sql: Mapping[str, str],
    identity: str,
    known: MutableSet[Any],
) -> ExternalPostgresTransaction:
    """The transaction that is open, or about to begin, on a connection to the database of that identity.

    Args:
        known: connections that have been found to be to this database.
    Raises:
        TransactionError: see `Database.join_transaction`.
    """
    connection, autocommit = application.connection, application.autocommit
    if not external.comes_from(connection, *DRIVERS):
        raise external.not_of(address.label, application)
    if getattr(connection, "closed", False) is True or getattr(connection, "closed", 0) in (1, 2):
        raise external.closed()
    if _encoding(connection) == "SQLASCII":
        raise TransactionError(
            "this connection gives texts as bytes, as its client_encoding is SQL_ASCII: SET client_encoding TO 'UTF8'"
        )
    transaction = ExternalPostgresTransaction(_executing(application), address, sql)
    if connection not in known:
        _compare(transaction, address, identity)
        with suppress(TypeError):  # not every driver's connections take weak references
            known.add(connection)
    if autocommit is None:
        autocommit = getattr(connection, "autocommit", False)
    if autocommit and not _in_transaction(connection):
        raise external.autocommitting("`with connection.transaction(): …` in psycopg, or autocommit = False")
    return transaction


def _compare(transaction: ExternalPostgresTransaction, address: PostgresAddress, identity: str) -> None:
    execute = transaction._cursor.execute
    table = f"{address.quoted_schema}.embedq_identity"
    # A query for a table that is not there would break the application's transaction.
    there, database = execute("SELECT to_regclass($1::text) IS NOT NULL, current_database()", (table,)).fetchone()
    if not there or execute(IDENTITY.format(schema=address.quoted_schema), ()).fetchone()[0] != identity:
        raise external.elsewhere(f"the database {database!r}, which is another", address.label)


def _executing(application: ExternalConnection) -> Execute:
    connection, execute = application.connection, application.execute
    if execute is None:
        if isinstance(connection, psycopg.Connection):
            # Whatever the application has its rows made into.
            return lambda sql, values: psycopg.RawCursor(connection, row_factory=tuple_row).execute(
                sql, values, prepare=False
            )
        plain = sys.modules["psycopg2.extensions"].cursor

        def execute(sql: str, values: tuple[Any, ...]) -> Any:
            cursor = connection.cursor(cursor_factory=plain)
            cursor.execute(sql, values)
            return cursor

    elif application.paramstyle == "numeric_dollar":
        return lambda sql, values: execute(sql, tuple(values))
    return lambda sql, values: _with_percent(execute, sql, values)


def _with_percent(execute: Callable[[str, tuple[Any, ...]], Any], sql: str, values: Sequence[Any]) -> Any:
    text, order = external.with_percent(sql)
    return execute(text, tuple(values[number] for number in order))


def _encoding(connection: Any) -> str:
    info = getattr(connection, "info", None)
    if info is None or not hasattr(info, "parameter_status"):
        return ""
    return (info.parameter_status("client_encoding") or "").replace("_", "")


def _in_transaction(connection: Any) -> bool:
    if hasattr(connection, "get_transaction_status"):  # psycopg2
        return bool(connection.get_transaction_status() != IDLE)
    info = getattr(connection, "info", None)
    return info is not None and bool(info.transaction_status != IDLE)


def _sqlstate(error: Exception) -> str | None:
    own = external.driver_error(error)
    return getattr(own, "sqlstate", None) or getattr(own, "pgcode", None)

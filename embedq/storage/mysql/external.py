"""Jobs in a transaction of the application's own, on a MySQL or MariaDB connection and through a driver of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableSet
from contextlib import suppress
from typing import Any

from embedq.storage import external
from embedq.storage.base import ExternalConnection
from embedq.storage.mysql.address import MysqlAddress
from embedq.storage.mysql.transaction import DriverCursor, MysqlTransaction, Statement, qualified

# These write a list among the parameters as SQL does, (1, 2), as the statements need.
DRIVERS = ("pymysql", "MySQLdb", "aiomysql", "asyncmy")
# The servers' numbers: a read-only transaction; no such table or database, or none that this user may see; and what
# `MysqlTransaction` knows what to do with: a key that is there already, a text that is too long.
READ_ONLY = 1792
NOT_THERE = (1044, 1049, 1142, 1146)
EXPECTED = (1062, 1406)
# In the status that comes with each answer.
IN_TRANSACTION = 1


class ExternalMysqlTransaction(MysqlTransaction):
    """Named statements inside a transaction that the application opened."""

    __slots__ = ()

    def announce(self) -> None:
        """Do nothing: the servers send no notifications; workers poll."""


def join_transaction(
    application: ExternalConnection,
    address: MysqlAddress,
    statements: Mapping[str, tuple[Statement, ...]],
    parts: Mapping[str, str],
    identity: str,
    known: MutableSet[Any],
) -> ExternalMysqlTransaction:
    """Return the transaction that is open, or about to begin, on a connection to the database of that identity.

    Args:
        known: connections that have been found to be to this database.
    Raises:
        TransactionError: see `Database.join_transaction`.
    """
    connection = application.connection
    if not external.comes_from(connection, *DRIVERS):
        raise external.not_of(address.label, application)
    # mysqlclient has 1 and 0 here.
    if not getattr(connection, "open", True):
        raise external.closed()
    cursor = _MysqlCursor(
        _plain_cursor(connection) if application.execute is None else _SQLAlchemyCursor(application.execute)
    )
    if connection not in known:
        _compare(cursor, address, identity)
        with suppress(TypeError):  # not every driver's connections take weak references
            known.add(connection)
    autocommit = connection.get_autocommit() if application.autocommit is None else application.autocommit
    if autocommit and not getattr(connection, "server_status", 0) & IN_TRANSACTION:
        raise external.autocommitting("call connection.begin() first, and commit() afterwards, or autocommit(False)")

    def qualify(sql: str) -> str:
        return qualified(sql, address.qualifier)

    return ExternalMysqlTransaction(cursor, statements, parts, qualify)


def _compare(cursor: DriverCursor, address: MysqlAddress, identity: str) -> None:
    found = None
    try:
        cursor.execute(f"SELECT id FROM {address.qualifier}embedq_identity", ())
        found = cursor.fetchone()
    except Exception as error:
        if _number(error) not in NOT_THERE:
            raise
    if found is None or found[0] != identity:
        raise external.elsewhere("a server where these tables are not, or are another's", address.label)


class _MysqlCursor:
    """A cursor of the application's driver."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, params: Any) -> Any:
        try:
            return self._cursor.execute(sql, tuple(params))
        except UnicodeEncodeError as error:
            raise external.unencodable(error) from error
        except Exception as error:
            if _number(error) == READ_ONLY:
                raise external.read_only(error) from error
            if _number(error) in EXPECTED:
                raise external.driver_error(error) from error
            raise


class _SQLAlchemyCursor:
    """A cursor over the results of SQLAlchemy."""

    def __init__(self, execute: Callable[[str, tuple[Any, ...]], Any]) -> None:
        self._run = execute
        self._result: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)

    @property
    def description(self) -> Any:
        return self._result.returns_rows or None

    def execute(self, sql: str, params: tuple[Any, ...]) -> None:
        self._result = self._run(sql, params)


def _plain_cursor(connection: Any) -> Any:
    # A plain cursor, whatever row type the application has configured.
    package = next(
        cls.__module__.split(".")[0] for cls in type(connection).__mro__ if external.defined_in(cls, *DRIVERS)
    )
    return connection.cursor(sys.modules[f"{package}.cursors"].Cursor)


def _number(error: Exception) -> int | None:
    args = external.driver_error(error).args
    return args[0] if args and isinstance(args[0], int) else None

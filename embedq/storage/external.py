"""The application's connection, adapted so that embedq can run statements on it.

    adapt(session)      a SQLAlchemy Connection, Session or scoped_session; Django's connection; or a driver's own

Nothing here begins, commits or rolls back. No library is imported for it: an application that has such an object has
imported its library.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

from embedq.errors import ReentryError, TransactionError
from embedq.storage.base import ExternalConnection

# The packages whose connections are accepted, and those whose connections work on an event loop only.
DRIVERS = ("sqlite3", "psycopg", "psycopg2", "pymysql", "MySQLdb")
ASYNCHRONOUS = ("aiosqlite", "asyncpg", "aiomysql", "asyncmy")
TAKEN = "a connection of sqlite3, psycopg, psycopg2, PyMySQL or mysqlclient, of SQLAlchemy (or a Session), or of Django"


def adapt(target: object) -> ExternalConnection:
    """Return the connection in the form that embedq uses. With SQLAlchemy this begins a transaction, as a query would.

    Raises:
        TransactionError: it is not a connection, or closed, or commits each statement by itself.
    """
    connection = sqlalchemy_connection(target)
    if connection is not None:
        return _adapt_sqlalchemy(connection)
    wrapper = django_wrapper(target)
    if wrapper is not None:
        return _adapt_django(wrapper)
    check_supported(target)
    return ExternalConnection(connection=target)


def check_supported(target: object) -> None:
    """Raise TransactionError for an object that `adapt` never accepts, whatever its state."""
    if sqlalchemy_session(target) is not None or django_wrapper(target) is not None:
        return
    module, name = type(target).__module__.split(".")[0], type(target).__qualname__
    if comes_from(target, *ASYNCHRONOUS) or (module == "psycopg" and name.startswith("Async")):
        raise TransactionError(
            f"a {module} {name} works on an event loop only: give a SQLAlchemy AsyncSession or AsyncConnection, or "
            "enqueue after the commit, with embedq.hold()"
        )
    if module == "sqlalchemy":
        if is_instance(target, "sqlalchemy.engine:Connection", "sqlalchemy.ext.asyncio:AsyncConnection"):
            return
        raise TransactionError(f"give the connection or session that has the transaction open, not a SQLAlchemy {name}")
    if comes_from(target, *DRIVERS) and hasattr(target, "commit") and hasattr(target, "cursor"):
        return
    raise TransactionError(f"jobs can be written through {TAKEN}; a {module}.{name} is none")


def comes_from(target: object, *packages: str) -> bool:
    """Return whether its class, or a base of it, is defined in one of these packages."""
    return any(defined_in(cls, *packages) for cls in type(target).__mro__)


def defined_in(cls: type, *packages: str) -> bool:
    """Return whether a class is defined in one of these packages."""
    return cls.__module__.split(".")[0] in packages


def refuse_reentry(connection: Any) -> None:
    """Raise ReentryError if this thread is in the middle of a statement of the application's on this connection.

    A finalizer, a signal handler or a callback runs then. psycopg would wait for the connection's lock, which this
    thread holds; PyMySQL would take the other statement's answer for its own. Drivers in C run no Python in between.
    """
    lock = getattr(connection, "lock", None)
    if not comes_from(connection, "psycopg", "pymysql", "MySQLdb") or (lock is not None and not lock.locked()):
        return
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").split(".")[0] in ("psycopg", "pymysql", "MySQLdb"):
            user = frame.f_locals.get("self")
            if any(
                held is connection for held in (user, getattr(user, "_conn", None), getattr(user, "connection", None))
            ):
                raise ReentryError(
                    "this thread is in the middle of a statement on this connection, and was interrupted by code that "
                    "enqueues here: a finalizer (__del__), a signal handler or a callback of the driver. Nothing was "
                    "written. Put what is to be enqueued into a queue.SimpleQueue, and enqueue it after the statement"
                )
        frame = frame.f_back  # type: ignore[assignment]


def is_instance(target: object, *names: str) -> bool:
    """Return whether it is of one of these classes ("module:class"); classes that are not imported do not count."""
    parts = (name.partition(":") for name in names)
    classes = (getattr(sys.modules.get(module), name, None) for module, _, name in parts)
    return isinstance(target, tuple(cls for cls in classes if cls is not None))


_AWAITED = ("AsyncSession", "async_scoped_session", "AsyncConnection")

# -- SQLAlchemy --------------------------------------------------------------------------------------------------------


def is_asynchronous(target: object) -> bool:
    """Return whether it is one of SQLAlchemy's objects that must be awaited."""
    return is_instance(target, *(f"sqlalchemy.ext.asyncio:{name}" for name in _AWAITED))


def sqlalchemy_session(target: Any) -> Any:
    """Return the SQLAlchemy Session that this is or stands for; None if there is none."""
    if is_instance(target, "sqlalchemy.orm:scoped_session", "sqlalchemy.ext.asyncio:async_scoped_session"):
        target = target()
    if is_instance(target, "sqlalchemy.ext.asyncio:AsyncSession"):
        target = target.sync_session
    return target if is_instance(target, "sqlalchemy.orm:Session") else None


def sqlalchemy_connection(target: Any) -> Any:
    """Return the SQLAlchemy Connection that this is or works on; None if there is none."""
    session = sqlalchemy_session(target)
    if session is not None:
        return session.connection()
    if is_instance(target, "sqlalchemy.ext.asyncio:AsyncConnection"):
        if target.sync_connection is None:
            raise TransactionError("this AsyncConnection is not open: `async with engine.connect() as connection: …`")
        return target.sync_connection
    return target if is_instance(target, "sqlalchemy.engine:Connection") else None


def _adapt_sqlalchemy(connection: Any) -> ExternalConnection:
    if connection.closed:
        raise closed()
    # A Connection begins its transaction at its first statement, and would not notice the driver's.
    if not connection.in_transaction():
        connection.begin()
    driver, dialect = connection.connection, connection.dialect
    autocommit = None
    if hasattr(dialect, "detect_autocommit_setting"):
        autocommit = bool(dialect.detect_autocommit_setting(driver.dbapi_connection))
    return ExternalConnection(
        connection=driver.driver_connection,
        execute=connection.exec_driver_sql,
        paramstyle=dialect.paramstyle,
        autocommit=autocommit,
    )


# -- Django ------------------------------------------------------------------------------------------------------------


def django_wrapper(target: Any) -> Any:
    """Return the DatabaseWrapper that this is, or that `django.db.connection` stands for; None if there is none."""
    if is_instance(target, "django.utils.connection:ConnectionProxy"):
        target = target._connections[target._alias]
    return target if is_instance(target, "django.db.backends.base.base:BaseDatabaseWrapper") else None


def _adapt_django(wrapper: Any) -> ExternalConnection:
    wrapper.validate_thread_sharing()
    wrapper.validate_no_broken_transaction()
    if wrapper.get_autocommit() and not wrapper.in_atomic_block:
        raise TransactionError(
            "there is no transaction that the job could be part of: enqueue inside `with transaction.atomic(): …`"
        )
    return ExternalConnection(connection=wrapper.connection)


# -- shared by the databases
# --------------------------------------------------------------------------------------------


def closed() -> TransactionError:
    """Return the error for a connection that is closed."""
    return TransactionError("this connection is closed: enqueue before it is, while its transaction is open")


def autocommitting(how_to_begin: str) -> TransactionError:
    """Return the error for a connection without a transaction."""
    return TransactionError(
        "this connection is in autocommit mode and has no transaction open, so that the job would be committed by "
        f"itself: {how_to_begin}"
    )


def elsewhere(theirs: str, ours: str) -> TransactionError:
    """Return the error for a connection to another database."""
    return TransactionError(
        f"this connection is to {theirs}, and the app's jobs are in {ours}: one transaction cannot reach both. "
        "Configure embedq with the application's database, or enqueue after the commit: embedq.on_commit(…), "
        "embedq.hold()"
    )


def not_of(database: str, application: ExternalConnection) -> TransactionError:
    """Return the error for a driver of another kind of database."""
    return elsewhere(f"another kind of database ({type(application.connection).__module__.split('.')[0]})", database)


def read_only(error: Exception) -> TransactionError:
    """Return the error for a read-only transaction."""
    return TransactionError(f"this transaction is read-only, and to enqueue is to write: {driver_error(error)}")


def unencodable(error: UnicodeEncodeError) -> TransactionError:
    """Return the error for a text that the connection's encoding cannot represent."""
    return TransactionError(
        f"the encoding of this connection, {error.encoding}, has no {error.object[error.start]!r}. Nothing was "
        "written. "
        "Open the application's connections with UTF-8: charset=utf8mb4 for MySQL or MariaDB, client_encoding=utf8 for "
        "PostgreSQL"
    )


def driver_error(error: Any) -> Exception:
    """Return the driver's own error; SQLAlchemy may have wrapped it."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, Exception) else error


@cache
def with_percent(sql: str) -> tuple[str, tuple[int, ...]]:
    """Return a statement with `%s` in place of `$1`, and the order of its parameters."""
    order = tuple(int(number) - 1 for number in re.findall(r"\$(\d+)", sql))
    return re.sub(r"\$\d+", "%s", sql.replace("%", "%%")), order

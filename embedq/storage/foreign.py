"""What an application holds as "my connection", seen through to something that a statement can be run on.

    lend(session)      a SQLAlchemy Connection, Session or scoped_session; Django's connection; or a driver's own

Nothing here begins, commits or rolls back. No library is imported for it: who holds an object has imported its library.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

from embedq.errors import TransactionError
from embedq.storage.base import Lent

# The packages whose connections are taken, and those whose connections speak to an event loop only.
DRIVERS = ("sqlite3", "psycopg", "psycopg2", "pymysql", "MySQLdb")
ASYNCHRONOUS = ("aiosqlite", "asyncpg", "aiomysql", "asyncmy")
TAKEN = "a connection of sqlite3, psycopg, psycopg2, PyMySQL or mysqlclient, of SQLAlchemy (or a Session), or of Django"


def lend(target: object) -> Lent:
    """What can be run on, of the application's connection. For SQLAlchemy this begins a transaction, as a query would.

    Raises:
        TransactionError: it is not a connection, or closed, or commits each statement by itself.
    """
    connection = sqlalchemy_connection(target)
    if connection is not None:
        return _lend_sqlalchemy(connection)
    wrapper = django_wrapper(target)
    if wrapper is not None:
        return _lend_django(wrapper)
    refuse_strangers(target)
    return Lent(connection=target)


def refuse_strangers(target: object) -> None:
    """Raise TransactionError for what `lend` could never take, whatever state it is in."""
    if sqlalchemy_session(target) is not None or django_wrapper(target) is not None:
        return
    module, name = type(target).__module__.split(".")[0], type(target).__qualname__
    if comes_from(target, *ASYNCHRONOUS) or (module == "psycopg" and name.startswith("Async")):
        raise TransactionError(
            f"a {module} {name} speaks to an event loop only: give a SQLAlchemy AsyncSession or AsyncConnection, or "
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
    """Whether its class, or one that this is made of, is defined in one of these packages."""
    return any(defined_in(cls, *packages) for cls in type(target).__mro__)


def defined_in(cls: type, *packages: str) -> bool:
    """Whether a class is defined in one of these packages."""
    return cls.__module__.split(".")[0] in packages


def is_instance(target: object, *names: str) -> bool:
    """Whether it is of one of these classes ("module:class"), as far as those are imported."""
    parts = (name.partition(":") for name in names)
    classes = (getattr(sys.modules.get(module), name, None) for module, _, name in parts)
    return isinstance(target, tuple(cls for cls in classes if cls is not None))


_AWAITED = ("AsyncSession", "async_scoped_session", "AsyncConnection")

# -- SQLAlchemy --------------------------------------------------------------------------------------------------------


def is_asynchronous(target: object) -> bool:
    """Whether it is one of SQLAlchemy's, and must be awaited."""
    return is_instance(target, *(f"sqlalchemy.ext.asyncio:{name}" for name in _AWAITED))


def sqlalchemy_session(target: Any) -> Any:
    """The SQLAlchemy Session that this is or stands for; None if there is none."""
    if is_instance(target, "sqlalchemy.orm:scoped_session", "sqlalchemy.ext.asyncio:async_scoped_session"):
        target = target()
    if is_instance(target, "sqlalchemy.ext.asyncio:AsyncSession"):
        target = target.sync_session
    return target if is_instance(target, "sqlalchemy.orm:Session") else None


def sqlalchemy_connection(target: Any) -> Any:
    """The SQLAlchemy Connection that this is or works on; None if there is none."""
    session = sqlalchemy_session(target)
    if session is not None:
        return session.connection()
    if is_instance(target, "sqlalchemy.ext.asyncio:AsyncConnection"):
        if target.sync_connection is None:
            raise TransactionError("this AsyncConnection is not open: `async with engine.connect() as connection: …`")
        return target.sync_connection
    return target if is_instance(target, "sqlalchemy.engine:Connection") else None


def _lend_sqlalchemy(connection: Any) -> Lent:
    if connection.closed:
        raise closed()
    # A Connection begins its transaction at its first statement, of which it would not hear.
    if not connection.in_transaction():
        connection.begin()
    driver, dialect = connection.connection, connection.dialect
    autocommit = None
    if hasattr(dialect, "detect_autocommit_setting"):
        autocommit = bool(dialect.detect_autocommit_setting(driver.dbapi_connection))
    return Lent(
        connection=driver.driver_connection,
        execute=connection.exec_driver_sql,
        paramstyle=dialect.paramstyle,
        autocommit=autocommit,
    )


# -- Django ------------------------------------------------------------------------------------------------------------


def django_wrapper(target: Any) -> Any:
    """The DatabaseWrapper that this is, or that `django.db.connection` stands for; None if there is none."""
    if is_instance(target, "django.utils.connection:ConnectionProxy"):
        target = target._connections[target._alias]
    return target if is_instance(target, "django.db.backends.base.base:BaseDatabaseWrapper") else None


def _lend_django(wrapper: Any) -> Lent:
    wrapper.validate_thread_sharing()
    wrapper.validate_no_broken_transaction()
    if wrapper.get_autocommit() and not wrapper.in_atomic_block:
        raise TransactionError(
            "there is no transaction that the job could be part of: enqueue inside `with transaction.atomic(): …`"
        )
    return Lent(connection=wrapper.connection)


# -- what the databases' own parts share -------------------------------------------------------------------------------


def closed() -> TransactionError:
    """The error for a connection that is."""
    return TransactionError("this connection is closed: enqueue before it is, while its transaction is open")


def autocommitting(how_to_begin: str) -> TransactionError:
    """The error for a connection without a transaction."""
    return TransactionError(
        "this connection is in autocommit mode and has no transaction open, so that the job would be committed by "
        f"itself: {how_to_begin}"
    )


def elsewhere(theirs: str, ours: str) -> TransactionError:
    """The error for a connection to another database."""
    return TransactionError(
        f"this connection is to {theirs}, and the app's jobs are in {ours}: one transaction cannot reach both. "
        "Configure embedq with the application's database, or enqueue after the commit: embedq.on_commit(…), "
        "embedq.hold()"
    )


def not_of(database: str, lent: Lent) -> TransactionError:
    """The error for a driver of another kind of database."""
    return elsewhere(f"another kind of database ({type(lent.connection).__module__.split('.')[0]})", database)


def read_only(error: Exception) -> TransactionError:
    """The error for a transaction that takes no writes."""
    return TransactionError(f"this transaction is read-only, and to enqueue is to write: {driver_error(error)}")


def driver_error(error: Any) -> Exception:
    """The driver's own error, of one that SQLAlchemy may have wrapped."""
    original = getattr(error, "orig", None)
    return original if isinstance(original, Exception) else error


@cache
def with_percent(sql: str) -> tuple[str, tuple[int, ...]]:
    """A statement with `$1` for its parameters as one with `%s`, and which parameter goes where."""
    order = tuple(int(number) - 1 for number in re.findall(r"\$(\d+)", sql))
    return re.sub(r"\$\d+", "%s", sql.replace("%", "%%")), order

"""The connections that an application may have, each opened on the database of an embedq URL.

A way is a library and a driver. Tests say what must hold, and never ask which way they have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.databases import KINDS


@dataclass
class Held:
    """A connection that the application holds.

    Attributes:
        target: what the application hands to embedq.
        execute: runs a statement.
    """

    target: Any
    execute: Callable[[str], Any]
    close: Callable[[], None]

    def commit(self) -> None:
        self.target.commit()

    def rollback(self) -> None:
        self.target.rollback()


@dataclass(frozen=True)
class Way:
    """How to open one; with `autocommit`, each statement is to be a transaction of its own."""

    kind: str
    name: str
    connect: Callable[[str, bool], Held]

    def open(self, url: str, *, autocommit: bool = False) -> Held:
        return self.connect(url, autocommit)


def file_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def libpq(url: str) -> str:
    """The URL for libpq: without what is embedq's own."""
    return url.partition("?")[0]


def mysql_arguments(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.lstrip("/"),
    }


def for_sqlalchemy(url: str, kind: str, driver: str) -> Any:
    """The URL as SQLAlchemy has it."""
    from sqlalchemy.engine import make_url

    return make_url(url.partition("?")[0]).set(drivername=f"{kind}+{driver}")


def _plain(connection: Any) -> Held:
    def execute(sql: str) -> None:
        connection.cursor().execute(sql)

    return Held(connection, execute, connection.close)


def _sqlite3(url: str, autocommit: bool) -> Held:
    return _plain(sqlite3.connect(file_of(url), isolation_level=None if autocommit else "DEFERRED", timeout=0.2))


def _psycopg(url: str, autocommit: bool) -> Held:
    import psycopg
    from psycopg.rows import dict_row

    return _plain(psycopg.connect(libpq(url), autocommit=autocommit, row_factory=dict_row))


def _psycopg2(url: str, autocommit: bool) -> Held:
    import psycopg2
    import psycopg2.extras

    connection = psycopg2.connect(libpq(url), cursor_factory=psycopg2.extras.RealDictCursor)
    connection.autocommit = autocommit
    return _plain(connection)


def _pymysql(url: str, autocommit: bool) -> Held:
    import pymysql

    return _plain(
        pymysql.connect(**mysql_arguments(url), autocommit=autocommit, cursorclass=pymysql.cursors.DictCursor)
    )


def _sqlalchemy(kind: str, driver: str, session: bool) -> Callable[[str, bool], Held]:
    def connect(url: str, autocommit: bool) -> Held:
        from sqlalchemy import create_engine, text
        from sqlalchemy.orm import Session
        from sqlalchemy.pool import NullPool

        options = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
        engine = create_engine(for_sqlalchemy(url, kind, driver), poolclass=NullPool, **options)
        target: Any = Session(engine) if session else engine.connect()
        return Held(target, lambda sql: target.execute(text(sql)), target.close)

    return connect


WAYS = [
    way
    for way in (
        Way("sqlite", "sqlite3", _sqlite3),
        Way("sqlite", "sqlalchemy-connection", _sqlalchemy("sqlite", "pysqlite", False)),
        Way("sqlite", "sqlalchemy-session", _sqlalchemy("sqlite", "pysqlite", True)),
        Way("postgresql", "psycopg", _psycopg),
        Way("postgresql", "psycopg2", _psycopg2),
        Way("postgresql", "sqlalchemy-connection", _sqlalchemy("postgresql", "psycopg", False)),
        Way("postgresql", "sqlalchemy-session", _sqlalchemy("postgresql", "psycopg", True)),
        Way("mysql", "pymysql", _pymysql),
        Way("mysql", "sqlalchemy-connection", _sqlalchemy("mysql", "pymysql", False)),
        Way("mysql", "sqlalchemy-session", _sqlalchemy("mysql", "pymysql", True)),
    )
    if way.kind in KINDS
]

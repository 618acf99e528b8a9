"""Connections that the application makes: by a function of its own, or as its SQLAlchemy Engine does.

    embedq.start(engine)                                # where the engine's database is, and how to connect to it
    embedq.start("postgresql://db/app", connect=new)    # `new()` returns a new connection of embedq's own driver

For passwords that change (IAM tokens, vaults), tunnels, and whatever else an application has set up already. An engine
provides the way of connecting; its pool remains the application's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeGuard
from urllib.parse import quote

from embedq.errors import ConfigurationError
from embedq.storage.external import is_instance

# The drivers that embedq uses itself, by the database's name in SQLAlchemy, and what embedq calls that.
OWN = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}


class ApplicationEngine(Protocol):
    """A SQLAlchemy Engine or AsyncEngine."""

    @property
    def url(self) -> Any: ...
    @property
    def dialect(self) -> Any: ...


def is_engine(value: object) -> TypeGuard[ApplicationEngine]:
    """Return whether it is a SQLAlchemy Engine or AsyncEngine."""
    return is_instance(value, "sqlalchemy.engine:Engine", "sqlalchemy.ext.asyncio:AsyncEngine")


def settings_of(engine: Any) -> dict[str, Any]:
    """Return the settings with which embedq uses an engine's database: `url` and `connect`.

    Through the engine itself if its driver is embedq's own; else by its URL and embedq's driver.
    Raises:
        ConfigurationError: a database that embedq does not know, or a parameter of the URL has no counterpart in
        embedq's driver.
    """
    engine = getattr(engine, "sync_engine", engine)
    name, url = engine.dialect.name, engine.url
    if name == "sqlite":
        return {"url": _sqlite(engine)}
    if name not in OWN:
        raise ConfigurationError(f"jobs are stored in SQLite, PostgreSQL, MySQL or MariaDB, and this engine is {name}")
    through = _has_own_driver(engine)
    query = dict(url.query)
    if not through:
        query = _common_query(name, engine.dialect.driver, query)
    elif name != "postgresql":
        # The engine applies them.
        query = {}
    plain = url.set(drivername=name, query=query).render_as_string(hide_password=False)
    return {"url": plain, "connect": engine if through else None}


def connector(connect: Any, driver: str) -> Callable[[], Any] | None:
    """Return the function that opens a connection, for the setting `connect`; None for None.

    Args:
        driver: the package whose connections it must return.
    Raises:
        ConfigurationError: it is neither a function nor an engine with that driver.
    """
    if is_engine(connect):
        engine = getattr(connect, "sync_engine", connect)
        if not _has_own_driver(engine) or engine.dialect.driver != driver:
            raise ConfigurationError(
                f"connect=: this engine's driver is {engine.dialect.driver}, and embedq's is {driver}: give an engine "
                "with that, or a function that returns a connection"
            )
        return lambda: _detached(engine)
    if connect is None or callable(connect):
        return connect  # type: ignore[no-any-return]
    raise ConfigurationError(f"connect={connect!r} must be a function that returns a new connection, or an Engine")


def _detached(engine: Any) -> Any:
    # A pool of its own for this one connection: the application's own keeps all of its places, and in the child of a
    # fork may hold connections that are the parent's.
    pooled = engine.pool.recreate().connect()
    connection = pooled.driver_connection
    pooled.detach()
    return connection


def _has_own_driver(engine: Any) -> bool:
    return bool(OWN.get(engine.dialect.name) == engine.dialect.driver and not engine.dialect.is_async)


def _sqlite(engine: Any) -> str:
    file = engine.url.database
    if engine.dialect.driver not in ("pysqlite", "aiosqlite") or (file or "").startswith("file:"):
        raise ConfigurationError(
            "embedq opens this engine's file by itself, and needs its plain path: sqlite:///app.db"
        )
    if not file or file == ":memory:":
        raise ConfigurationError("this engine's database is in memory; jobs must outlive the process: sqlite:///app.db")
    return f"sqlite:///{quote(file, safe='/:')}"


def _common_query(name: str, driver: str, query: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters for another driver that embedq's driver understands."""
    if driver == "psycopg2" or driver.startswith("psycopg"):
        return query
    if name == "postgresql" and isinstance(query.get("ssl"), str):
        query["sslmode"] = query.pop("ssl")
    query.pop("charset", None)
    unknown = sorted(set(query) - {"sslmode", "unix_socket"})
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)} in this engine's URL: parameters of {driver} that {OWN[name]} does not have. Give "
            "embedq its own URL, and connect= if that is not enough"
        )
    return query

"""Opening the database that a URL names. A server's driver is imported only when it is needed."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from embedq.config import Settings, scheme_of, sqlite_path
from embedq.errors import ConfigurationError
from embedq.storage.base import Database
from embedq.storage.engines import connector


def open_database(settings: Settings) -> Database:
    """Return the database that the settings name; nothing is connected yet.

    Raises:
        ConfigurationError: its driver is not installed, or the URL has a value that cannot work.
    """
    if scheme_of(settings.url) == "postgresql":
        return _postgresql(settings)
    if scheme_of(settings.url) == "mysql":
        return _mysql(settings)
    from embedq.storage.sqlite import SQLiteDatabase

    return SQLiteDatabase(
        sqlite_path(settings.url),
        durability=settings.durability,
        busy_timeout=settings.busy_timeout,
        allow_network_filesystem=settings.allow_network_filesystem,
    )


def _postgresql(settings: Settings) -> Database:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f'PostgreSQL needs the driver psycopg 3: pip install "embedq[postgres]" ({error})'
        ) from error
    from embedq.storage.postgresql.address import parse
    from embedq.storage.postgresql.driver import PostgresDriver
    from embedq.storage.retries import Timeouts
    from embedq.storage.server_database import ServerDatabase

    driver = PostgresDriver(
        parse(settings.url),
        durability=settings.durability,
        timeouts=Timeouts.of(settings.busy_timeout),
        connect=connector(settings.connect, "psycopg"),
    )
    return ServerDatabase(driver, busy_timeout=settings.busy_timeout, locks=lock_folder)


def _mysql(settings: Settings) -> Database:
    try:
        import pymysql  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f'MySQL and MariaDB need the driver PyMySQL: pip install "embedq[mysql]" ({error})'
        ) from error
    from embedq.storage.mysql.address import parse
    from embedq.storage.mysql.driver import MysqlDriver
    from embedq.storage.retries import Timeouts
    from embedq.storage.server_database import ServerDatabase

    driver = MysqlDriver(
        parse(settings.url),
        timeouts=Timeouts.of(settings.busy_timeout),
        connect=connector(settings.connect, "pymysql"),
    )
    return ServerDatabase(driver, busy_timeout=settings.busy_timeout, locks=lock_folder)


def key_file(settings: Settings) -> Path:
    """Return the path of the key that signs functions which are not registered: beside the SQLite file.

    Raises:
        ConfigurationError: the database is on a server, and other hosts could not read a file of this one.
    """
    if scheme_of(settings.url) != "sqlite":
        raise ConfigurationError(
            "a lambda, or a function that is not registered, is signed with a key that all processes share, and a "
            "database on a server has no place for one: register the function with @embedq.job, or set secret_key= or "
            "$EMBEDQ_SECRET_KEY to the same secret everywhere"
        )
    path = sqlite_path(settings.url).absolute()
    return path.with_name(path.name + ".embedq") / "key"


def lock_folder(identity: str) -> Path:
    """Return the folder for the lock files of this user's processes on this host, for a database on a server.

    Raises:
        ConfigurationError: another user owns the folder.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    base = Path(tempfile.gettempdir()) / f"embedq-{user}"
    base.mkdir(mode=0o700, exist_ok=True)
    status = base.lstat()
    if os.name == "posix" and (
        not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ):
        raise ConfigurationError(
            f"{base} should be a folder that only this user may open, and is not; another user may have created it. "
            "Remove it, or set TMPDIR to a folder of your own."
        )
    folder = base / hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder

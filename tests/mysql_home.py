"""Databases on MySQL or MariaDB for tests; see `tests.databases`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from embedq import TRANSITIONS
from embedq.config import Settings
from embedq.storage import backends
from embedq.storage.columns import TABLES

MYSQL = os.environ.get("EMBEDQ_TEST_MYSQL", "mysql://root@127.0.0.1:3306/mysql")
_ALLOWED = " OR ".join(
    f"(OLD.state = '{old}' AND NEW.state IN ({', '.join(repr(str(new)) for new in sorted(news))}))"
    for old, news in TRANSITIONS.items()
    if news
)
_TABLES = [table for table in TABLES if table != "identity"]


def _connect(**arguments: Any) -> Any:
    import pymysql

    parts = urlsplit(MYSQL)
    given = {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or ""),
        "autocommit": True,
    }
    return pymysql.connect(**(given | arguments))


def answers() -> bool:
    try:
        _connect(connect_timeout=2).close()
    except Exception:
        return False
    return True


class MySQLHome:
    """Databases of this test run, with a user of its own. One is made once and emptied for each test."""

    def __init__(self) -> None:
        self._user = f"embedq_test_{os.getpid()}"
        self._connection = _connect()
        self._made: set[str] = set()
        # Of these, those that a test has not had as one that is not there.
        self._migrated: set[str] = set()
        self._users: set[str] = set()
        self._held: list[Any] = []
        # MySQL remembers what information_schema says of a table, by default for a day. MariaDB does not.
        with suppress(Exception):
            self._run("SET SESSION information_schema_stats_expiry = 0")
        self._make_user(self._user, "secret-word")

    def _make_user(self, user: str, password: str, limit: int = 0) -> None:
        self._users.add(user)
        for host in ("%", "localhost"):
            self._run(f"CREATE USER IF NOT EXISTS '{user}'@'{host}' IDENTIFIED BY '{password}' "
                      f"WITH MAX_USER_CONNECTIONS {limit}")  # fmt: skip

    def _grant(self, user: str, database: str, what: str) -> None:
        for host in ("%", "localhost"):
            self._run(f"GRANT {what} ON `{database}`.* TO '{user}'@'{host}'")

    def fresh(self, folder: Path, name: str = "jobs") -> str:
        url = self._url(name)
        if name in self._migrated:
            self._empty(self._database(name))
        else:
            self._create(self.missing(folder, name), self._database(name))
            self._migrated.add(name)
        return url

    def missing(self, folder: Path, name: str) -> str:
        database = self._database(name)
        self._run(f"DROP DATABASE IF EXISTS {database}")
        self._run(f"CREATE DATABASE {database}")
        # GRANT takes _ for a wildcard.
        self._grant(self._user, database.replace("_", r"\_"), "ALL")
        self._made.add(name)
        self._migrated.discard(name)
        return self._url(name)

    def execute(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        self._run(f"USE {urlsplit(url).path.strip('/')}")
        return self._run(sql)

    def applied(self, url: str) -> list[str]:
        return [name for (name,) in self.execute(url, "SELECT name FROM embedq_migrations")]

    def files(self, url: str) -> dict[str, int]:
        return {}

    def check(self, url: str) -> None:
        """The server looks after that."""

    def close(self) -> None:
        for connection in self._held:
            connection.close()
        for name in self._made:
            self._run(f"DROP DATABASE IF EXISTS {self._database(name)}")
        for user in self._users:
            self._run(f"DROP USER IF EXISTS '{user}'@'%', '{user}'@'localhost'")
        self._connection.close()

    def connections(self) -> int:
        return len(self._threads())

    def kill_connections(self) -> int:
        threads = self._threads()
        for thread in threads:
            # It may have gone by itself.
            with suppress(Exception):
                self._run(f"KILL {thread}")
        return len(threads)

    def _threads(self) -> list[int]:
        return [
            thread
            for (thread,) in self._run(f"SELECT id FROM information_schema.processlist WHERE user = '{self._user}'")
        ]

    def unreachable(self) -> str:
        return "mysql://root@127.0.0.1:1/mysql"

    def unknown(self) -> str:
        return urlsplit(MYSQL)._replace(path=f"/{self._user}_nowhere").geturl()

    def uninvited(self, name: str) -> str:
        url = self.missing(Path(), name)
        user = f"{self._user}_un"
        self._make_user(user, "secret-word")
        self._grant(user, self._database(name).replace("_", r"\_"), "SELECT")
        return self._with_user(url, user)

    def crowded(self, name: str) -> str:
        url = self.fresh(Path(), name)
        user = f"{self._user}_one"
        if user not in self._users:
            self._make_user(user, "secret-word", limit=1)
            self._grant(user, self._database(name).replace("_", r"\_"), "ALL")
            self._held.append(_connect(user=user, password="secret-word"))
        return self._with_user(url, user)

    def _with_user(self, url: str, user: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=f"{user}:secret-word@{parts.netloc.rpartition('@')[2]}").geturl()

    def _database(self, name: str) -> str:
        return f"{self._user}_{name}"

    def _url(self, name: str) -> str:
        parts = urlsplit(MYSQL)._replace(path=f"/{self._database(name)}")
        return self._with_user(parts.geturl(), self._user)

    def _create(self, url: str, database: str) -> None:
        backends.open_database(Settings(url=url)).migrate()
        self._guard(database)

    @contextmanager
    def unguarded(self, url: str) -> Iterator[None]:
        """Without the trigger: a connection that MariaDB kills while it reads one leaves it broken for all others."""
        database = urlsplit(url).path.strip("/")
        self._run(f"DROP TRIGGER {database}.guard")
        try:
            yield
        finally:
            self._guard(database)

    def _guard(self, database: str) -> None:
        self._run(f"USE {database}")
        self._run(
            f"""CREATE TRIGGER guard BEFORE UPDATE ON embedq_jobs FOR EACH ROW BEGIN
                    IF NEW.state <> OLD.state AND NOT ({_ALLOWED}) THEN
                        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a move that TRANSITIONS does not have';
                    END IF;
                END"""
        )

    def _empty(self, database: str) -> None:
        # TRUNCATE takes 30 ms, DELETE less than one. Only TRUNCATE lets the ids begin at 1 again.
        counted = {
            name.removeprefix("embedq_")
            for (name,) in self._run(
                "SELECT table_name FROM information_schema.tables "
                f"WHERE table_schema = '{database}' AND auto_increment > 1"
            )
        }
        for table in _TABLES:
            self._run(f"{'TRUNCATE' if table in counted else 'DELETE FROM'} {database}.embedq_{table}")

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

"""The databases that the tests run on. A test never asks which one it has.

EMBEDQ_TEST_DATABASES=sqlite,postgresql   which; unless it is set, SQLite and the servers that answer
CI=true                                   all of them: there a server that is missing is a failure
EMBEDQ_TEST_POSTGRESQL=postgresql://…     where PostgreSQL is; schemas named embedq_test_… are made there and dropped
EMBEDQ_TEST_MYSQL=mysql://…               where MySQL or MariaDB is; databases and users named embedq_test_… likewise
"""

from __future__ import annotations

import functools
import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from embedq import TRANSITIONS
from embedq.config import Settings
from embedq.process.own_folder import make_own_folder
from embedq.storage import backends
from embedq.storage.base import Database
from embedq.storage.columns import TABLES
from tests import mysql_home

POSTGRESQL = os.environ.get("EMBEDQ_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")


def _kinds() -> list[str]:
    wanted = os.environ.get("EMBEDQ_TEST_DATABASES")
    if wanted:
        return wanted.split(",")
    ci = bool(os.environ.get("CI"))
    found = {"sqlite": True, "postgresql": ci or _answers(POSTGRESQL), "mysql": ci or mysql_home.answers()}
    return [kind for kind, there in found.items() if there]


def _answers(url: str) -> bool:
    try:
        import psycopg

        psycopg.connect(url, connect_timeout=2).close()
    except Exception:
        return False
    return True


KINDS = _kinds()
_ALLOWED = " OR ".join(
    f"(OLD.state = '{old}' AND NEW.state IN ({', '.join(repr(str(new)) for new in sorted(news))}))"
    for old, news in TRANSITIONS.items()
    if news
)


class Home(Protocol):
    """Where the databases of tests live."""

    def fresh(self, folder: Path, name: str = "jobs") -> str:
        """The URL of an empty, migrated database, which refuses a move that `embedq.TRANSITIONS` does not have."""

    def missing(self, folder: Path, name: str) -> str:
        """The URL of a database that is not there yet."""

    def execute(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that every database understands, past embedq."""

    def applied(self, url: str) -> list[str]:
        """The migrations as they are on record."""

    def files(self, url: str) -> dict[str, int]:
        """Kilobytes of the database's own "file" and its "log"; empty where a server has them."""

    def check(self, url: str) -> None:
        """Fail if the database is damaged."""

    def close(self) -> None:
        """Remove what is left."""


class ServerHome(Home, Protocol):
    """A home on a server, whose bad days can be had for the asking."""

    def connections(self) -> int:
        """How many connections of embedq's this test run has open."""

    def kill_connections(self) -> int:
        """Let the server break them all; how many."""

    def unguarded(self, url: str) -> AbstractContextManager[None]:
        """Without the trigger that checks the moves of jobs, where killed connections would break it."""

    def unreachable(self) -> str:
        """A URL where no server is."""

    def unknown(self) -> str:
        """The URL of a database that the server does not have."""

    def uninvited(self, name: str) -> str:
        """The URL of an empty schema, with a user who may do nothing there."""

    def crowded(self, name: str) -> str:
        """The URL of a database, with a user who may have no connection."""


def open_database(url: str, **settings: Any) -> Database:
    return backends.open_database(Settings(url=url, **settings))


class SQLiteHome:
    """Files in the test's folder."""

    def fresh(self, folder: Path, name: str = "jobs") -> str:
        url = self.missing(folder, name)
        file = Path(url.removeprefix("sqlite:///"))
        file.write_bytes(_migrated_file())
        make_own_folder(Path(f"{file}.embedq"))
        self.execute(url, "UPDATE embedq_identity SET id = lower(hex(randomblob(16)))")
        return url

    def missing(self, folder: Path, name: str) -> str:
        return f"sqlite:///{folder}/{name}.db"

    def execute(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            # A test's database need not survive a power cut.
            connection.execute("PRAGMA synchronous = OFF")
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def applied(self, url: str) -> list[str]:
        return [name for (name,) in self.execute(url, "SELECT name FROM _sqlite_migrations")]

    def files(self, url: str) -> dict[str, int]:
        size = "SELECT page_count * page_size / 1024 FROM pragma_page_count, pragma_page_size"
        [(kilobytes,)] = self.execute(url, size)
        return {"file": kilobytes, "log": Path(f"{url.removeprefix('sqlite:///')}-wal").stat().st_size // 1024}

    def check(self, url: str) -> None:
        assert self.execute(url, "PRAGMA integrity_check") == [("ok",)]

    def close(self) -> None:
        """They go with the folder."""


@functools.cache
def _migrated_file() -> bytes:
    """A database after its migrations, with the trigger. It is made once, and copied for each test: 90 ms less."""
    with tempfile.TemporaryDirectory() as folder:
        home = SQLiteHome()
        url = home.missing(Path(folder), "template")
        database = open_database(url)
        database.migrate()
        database.close()
        home.execute(
            url,
            f"""CREATE TRIGGER guard_transitions BEFORE UPDATE OF state ON embedq_jobs
                WHEN NEW.state <> OLD.state AND NOT ({_ALLOWED})
                BEGIN SELECT RAISE(ABORT, 'a move that TRANSITIONS does not have'); END""",
        )
        return (Path(folder) / "template.db").read_bytes()


class PostgreSQLHome:
    """Schemas of this test run. One is made once and emptied for each test: to make one takes 50 ms."""

    def __init__(self) -> None:
        import psycopg

        self._prefix = f"embedq_test_{os.getpid()}"
        self._made: set[str] = set()
        # Of these, those that a test has not had as one that is not there.
        self._migrated: set[str] = set()
        self._roles: set[str] = set()
        # Not prepared: the URL may be a pooler's.
        self._connection = psycopg.connect(POSTGRESQL, autocommit=True, prepare_threshold=None)
        # What it makes and empties need not survive a power cut.
        self._connection.execute("SET synchronous_commit = off")

    def fresh(self, folder: Path, name: str = "jobs") -> str:
        url = self._url(name)
        if name in self._migrated:
            self._empty(self._schema(name))
        else:
            self._create(self.missing(folder, name))
            self._migrated.add(name)
        return url

    def missing(self, folder: Path, name: str) -> str:
        self._connection.execute(f"DROP SCHEMA IF EXISTS {self._schema(name)} CASCADE")
        self._made.add(name)
        self._migrated.discard(name)
        return self._url(name)

    def execute(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        schema = url.partition("schema=")[2].partition("&")[0]
        with self._connection.transaction():
            self._connection.execute(f"SET LOCAL search_path = {schema}")
            cursor = self._connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def applied(self, url: str) -> list[str]:
        return [name for (name,) in self.execute(url, "SELECT name FROM embedq_migrations")]

    def files(self, url: str) -> dict[str, int]:
        return {}

    def check(self, url: str) -> None:
        """The server looks after that."""

    def close(self) -> None:
        for name in self._made:
            self._connection.execute(f"DROP SCHEMA IF EXISTS {self._schema(name)} CASCADE")
        for role in self._roles:
            self._connection.execute(f"DROP ROLE {role}")
        self._connection.close()

    def connections(self) -> int:
        [(found,)] = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (self._prefix,)
        ).fetchall()
        return int(found)

    def unguarded(self, url: str) -> AbstractContextManager[None]:
        return nullcontext()

    def kill_connections(self) -> int:
        return self._connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (self._prefix,)
        ).rowcount

    def unreachable(self) -> str:
        return "postgresql://postgres@127.0.0.1:1/postgres"

    def unknown(self) -> str:
        return urlsplit(POSTGRESQL)._replace(path=f"/{self._prefix}_nowhere").geturl()

    def uninvited(self, name: str) -> str:
        return self._as_role("uninvited", "LOGIN PASSWORD 'secret-word'", self.missing(Path(), name))

    def crowded(self, name: str) -> str:
        return self._as_role("crowded", "LOGIN PASSWORD 'secret-word' CONNECTION LIMIT 0", self.fresh(Path(), name))

    def _as_role(self, role: str, options: str, url: str) -> str:
        role = f"{self._prefix}_{role}"
        if role not in self._roles:
            self._connection.execute(f"CREATE ROLE {role} {options}")
            self._roles.add(role)
        parts = urlsplit(url)
        return parts._replace(netloc=f"{role}:secret-word@{parts.netloc.rpartition('@')[2]}").geturl()

    def _schema(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _url(self, name: str) -> str:
        joint = "&" if "?" in POSTGRESQL else "?"
        return f"{POSTGRESQL}{joint}schema={self._schema(name)}&application_name={self._prefix}"

    def _create(self, url: str) -> None:
        open_database(url).migrate()
        self.execute(
            url,
            f"""CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.state <> OLD.state AND NOT ({_ALLOWED}) THEN
                        RAISE EXCEPTION 'a move that TRANSITIONS does not have: % to %', OLD.state, NEW.state;
                    END IF;
                    RETURN NEW;
                END $$""",
        )
        self.execute(
            url,
            "CREATE TRIGGER guard BEFORE UPDATE OF state ON embedq_jobs FOR EACH ROW EXECUTE FUNCTION guard()",
        )

    def _empty(self, schema: str) -> None:
        with self._connection.transaction():
            for table in TABLES:
                if table == "identity":
                    continue
                self._connection.execute(f"DELETE FROM {schema}.embedq_{table}")
            for table in ("jobs", "logs", "servers"):
                self._connection.execute(f"SELECT setval('{schema}.embedq_{table}_id_seq', 1, false)")


def make_home(kind: str) -> Home:
    """The home of one kind of database."""
    kinds: dict[str, Callable[[], Home]] = {
        "sqlite": SQLiteHome,
        "postgresql": PostgreSQLHome,
        "mysql": mysql_home.MySQLHome,
    }
    return kinds[kind]()

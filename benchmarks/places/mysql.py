"""MySQL and MariaDB: a database for each place, on PyMySQL.

MariaDB has no UPDATE … RETURNING and MySQL no partial indexes: a claim is a SELECT … FOR UPDATE SKIP LOCKED and an
UPDATE by ids, and the index holds the state. `executemany` of PyMySQL makes one INSERT of a batch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pymysql

from benchmarks.limits import NAME, PAYLOAD, ClaimedRow, PlainTable, now_us
from benchmarks.marks import MYSQL
from benchmarks.places.base import Place, Site
from embedq.storage.mysql.address import parse
from embedq.storage.mysql.connection import connect

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, state VARCHAR(16), queue VARCHAR(255),
    priority BIGINT, name VARCHAR(400), payload LONGTEXT, created_at BIGINT, run_at BIGINT, started_at BIGINT,
    finished_at BIGINT, INDEX jobs_ready (state, queue, priority, id)) ENGINE = InnoDB
"""
INSERT = """INSERT INTO jobs (state, queue, priority, name, payload, created_at, run_at)
    VALUES ('ready', 'default', 0, %s, %s, %s, %s)"""
FIND = """SELECT id, name, payload FROM jobs FORCE INDEX (jobs_ready) WHERE state = 'ready' AND queue = 'default'
    ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED"""
CLAIM = "UPDATE jobs SET state = 'running', started_at = %s WHERE id IN %s"
FINISH = "UPDATE jobs SET state = 'succeeded', finished_at = %s WHERE id IN %s"
OWN_NAME = "benchmarks"


class MysqlTable(PlainTable):
    """The plain table in the database."""

    def __init__(self, url: str) -> None:
        self._connection = connect(parse(url), OWN_NAME)
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        self._cursor.execute(SCHEMA)

    def begin(self) -> None:
        self._cursor.execute("START TRANSACTION")

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def insert_one(self) -> None:
        now = now_us()
        self._cursor.execute(INSERT, (NAME, PAYLOAD, now, now))

    def insert(self, count: int) -> None:
        now = now_us()
        self._cursor.executemany(INSERT, [(NAME, PAYLOAD, now, now)] * count)

    def claim(self, limit: int) -> list[ClaimedRow]:
        self._cursor.execute(FIND, (limit,))
        rows = list(self._cursor.fetchall())
        self._cursor.execute(CLAIM, (now_us(), [row[0] for row in rows]))
        return rows

    def claim_one(self) -> ClaimedRow:
        self.begin()
        [row] = self.claim(1)
        self.commit()
        return row

    def finish(self, job_ids: Sequence[int]) -> None:
        self._cursor.execute(FINISH, (now_us(), job_ids))

    def close(self) -> None:
        self._connection.close()


class MysqlPlace(Place):
    """A database of the server."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.database = parse(url).database
        self._connection: pymysql.Connection[Any] | None = None

    def plain(self, durability: str) -> MysqlTable:
        """How durable it is the server's settings say, for embedq as for this."""
        return MysqlTable(self.url)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = connect(parse(self.url), OWN_NAME)
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def connections(self) -> int:
        [(count,)] = self.ask(
            f"""SELECT count(*) FROM information_schema.processlist
                WHERE db = '{self.database}' AND id <> CONNECTION_ID()"""
        )
        return int(count)

    def withhold_statistics(self) -> None:
        self.ask("ALTER TABLE embedq_jobs STATS_AUTO_RECALC = 0")

    def gather_statistics(self) -> None:
        self.ask("ALTER TABLE embedq_jobs STATS_AUTO_RECALC = DEFAULT")
        self.ask("ANALYZE TABLE embedq_jobs")

    def columns(self) -> list[str]:
        rows = self.ask(
            f"""SELECT column_name FROM information_schema.columns WHERE table_schema = '{self.database}'
                AND table_name = 'embedq_jobs' AND extra NOT LIKE '%GENERATED%' ORDER BY ordinal_position"""
        )
        return [f"`{name}`" for (name,) in rows if name != "id"]

    def numbers(self, count: int) -> str:
        digits = "(SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL "
        digits += "SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
        return f"(SELECT 1 FROM {', '.join(f'{digits} AS d{place}' for place in range(5))} LIMIT {count}) AS numbers"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class MysqlSite(Site):
    """Databases of the server of a URL, named embedq_benchmarks_… and dropped."""

    kind = "mysql"
    marks = MYSQL

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._connection = connect(parse(url), OWN_NAME)
        [(version, flush)] = self._execute("SELECT VERSION(), @@innodb_flush_log_at_trx_commit")
        product = "MariaDB" if "MariaDB" in version else "MySQL"
        settings = f"innodb_flush_log_at_trx_commit {flush}, PyMySQL {pymysql.__version__}"
        self.about = f"{product} {version.split('-')[0]}, {settings}"

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def _make(self, number: int) -> MysqlPlace:
        database = f"embedq_benchmarks_{os.getpid()}_{number}"
        self._execute(f"CREATE DATABASE {database}")
        return MysqlPlace(urlunsplit(urlsplit(self._url)._replace(path=f"/{database}")))

    def _remove(self, place: Place) -> None:
        assert isinstance(place, MysqlPlace)
        self._execute(f"DROP DATABASE {place.database}")

    def close(self) -> None:
        super().close()
        self._connection.close()

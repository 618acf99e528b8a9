"""SQLite: a folder for each place, with embedq's file and a plain one.

The plain file is in WAL mode, with the same `synchronous` (FULL or NORMAL) and the same `wal_autocheckpoint` as embedq
sets.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.limits import NAME, PAYLOAD, ClaimedRow, PlainTable, now_us
from benchmarks.marks import SQLITE
from benchmarks.places.base import Place, Site
from embedq.config import sqlite_path

SCHEMA = """
CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT, queue TEXT, priority INTEGER, name TEXT, payload TEXT,
    created_at INTEGER, run_at INTEGER, started_at INTEGER, finished_at INTEGER);
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, id) WHERE state = 'ready';
"""
INSERT = """INSERT INTO jobs (state, queue, priority, name, payload, created_at, run_at)
    VALUES ('ready', 'default', 0, ?, ?, ?, ?)"""
CLAIM = """UPDATE jobs SET state = 'running', started_at = ? WHERE id IN (
    SELECT id FROM jobs WHERE state = 'ready' AND queue = 'default' ORDER BY priority DESC, id LIMIT ?)
    RETURNING id, name, payload"""
FINISH = "UPDATE jobs SET state = 'succeeded', finished_at = ? WHERE id = ?"
# Four processes wait for one another.
BUSY_SECONDS = 30


class SQLiteTable(PlainTable):
    """The plain table in a file."""

    def __init__(self, path: Path, durability: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
        self._execute = execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        execute("PRAGMA wal_autocheckpoint = 4000")
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            self._connection.executescript(SCHEMA)

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._execute("COMMIT")

    def insert_one(self) -> None:
        now = now_us()
        self._execute(INSERT, (NAME, PAYLOAD, now, now))

    def insert(self, count: int) -> None:
        now = now_us()
        self._connection.executemany(INSERT, [(NAME, PAYLOAD, now, now)] * count)

    def claim(self, limit: int) -> list[ClaimedRow]:
        return self._execute(CLAIM, (now_us(), limit)).fetchall()

    def finish(self, job_ids: Sequence[int]) -> None:
        now = now_us()
        self._connection.executemany(FINISH, [(now, job_id) for job_id in job_ids])

    def close(self) -> None:
        self._connection.close()


class SQLitePlace(Place):
    """`jobs.db` in a folder, and `plain.db` beside it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.file = sqlite_path(url)
        self._connection: sqlite3.Connection | None = None

    def plain(self, durability: str) -> PlainTable:
        return SQLiteTable(self.file.with_name("plain.db"), durability)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = sqlite3.connect(self.file, isolation_level=None, timeout=5)
        return self._connection.execute(sql).fetchall()

    def withhold_statistics(self) -> None:
        """Do nothing: SQLite has no statistics until they are gathered."""

    def gather_statistics(self) -> None:
        self.ask("ANALYZE")

    def columns(self) -> list[str]:
        return [name for _, name, *_ in self.ask("PRAGMA table_info(embedq_jobs)")]

    def numbers(self, count: int) -> str:
        return f"(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class SQLiteSite(Site):
    """Folders in a folder."""

    kind = "sqlite"
    marks = SQLITE

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.filesystem_of = self._folder = folder
        self.about = f"SQLite {sqlite3.sqlite_version}"

    def _make(self, number: int) -> SQLitePlace:
        own = self._folder / str(number)
        own.mkdir()
        return SQLitePlace(f"sqlite:///{own / 'jobs.db'}")

    def _remove(self, place: Place) -> None:
        assert isinstance(place, SQLitePlace)
        shutil.rmtree(place.file.parent)

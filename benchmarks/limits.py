"""The limits: what a plain `sqlite3` loop reaches, with nothing of a scheduler around it.

Each is one thread on a file of its own beside embedq's, in WAL mode, with the same `synchronous` (FULL or NORMAL) and
the same `wal_autocheckpoint` as embedq sets. The table is lean: what a queue cannot do without, no constraint but
the primary key, and one partial index on the ready rows in the order in which they are claimed. Nothing is computed,
serialised or checked in the loop, and every statement is the fastest of those that were tried.

- **one insert a transaction** (`insert_each`): an INSERT in autocommit, which is one transaction. As three statements,
  BEGIN IMMEDIATE, INSERT and COMMIT, it is a little slower; that is measured too (`insert_each` with `begin`).
- **batched insert** (`insert_batched`): `executemany`, 1,000 rows a transaction.
- **batched three writes** (`three_writes`): every job gets its three row writes. 1,000 rows are inserted in one
  transaction; then, until none is left, 1,000 are claimed in one transaction (UPDATE … RETURNING on the oldest ready
  rows) and finished in another (`executemany` of an UPDATE by id). No job is run.
- **the same with ten threads behind it** (`three_writes` with a `Crew`): each claimed row also goes through a
  `queue.SimpleQueue` to one of ten threads that call a function that does nothing, and back through another.
- **bare hand-off** (`HandOff`): INSERT in a transaction, claim in a transaction (UPDATE … RETURNING), both by the
  caller's own thread, then a lock is released on which a worker thread sleeps. Measured from before the INSERT to the
  worker's first line. The finishing write comes after the measured time.
- **bare timer** (`Timer`): a thread sleeps until a due time, claims one row in a transaction, and hands over as above.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

BATCH = 1000
NAME = "benchmarks.noop"
PAYLOAD = "[[],{}]"

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

ClaimedRow = tuple[int, str, str]


class PlainTable:
    """The lean table, and the loops over it. Owned by the thread that made it."""

    def __init__(self, path: Path, durability: str, *, busy_timeout: float = 5.0) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=busy_timeout)
        execute = self._connection.execute
        execute("PRAGMA journal_mode = WAL")
        execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        execute("PRAGMA wal_autocheckpoint = 4000")
        if not execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
            self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- one transaction each ------------------------------------------------------------------------------------------

    def insert_each(self, count: int, *, begin: bool = False) -> None:
        """Insert jobs, a transaction for each; with `begin`, an explicit one."""
        execute, now = self._connection.execute, _now()
        if not begin:
            for _ in range(count):
                execute(INSERT, (NAME, PAYLOAD, now, now))
            return
        for _ in range(count):
            execute("BEGIN IMMEDIATE")
            execute(INSERT, (NAME, PAYLOAD, now, now))
            execute("COMMIT")

    def insert_one(self) -> None:
        """Insert one job in a transaction of its own."""
        now = _now()
        self._connection.execute(INSERT, (NAME, PAYLOAD, now, now))

    def claim_one(self) -> ClaimedRow:
        """Claim the oldest ready job in a transaction of its own."""
        [row] = self._connection.execute(CLAIM, (_now(), 1)).fetchall()
        claimed: ClaimedRow = row
        return claimed

    def finish_one(self, job_id: int) -> None:
        """Finish one job in a transaction of its own."""
        self._connection.execute(FINISH, (_now(), job_id))

    # -- batched -------------------------------------------------------------------------------------------------------

    def insert_batched(self, count: int) -> None:
        """Insert jobs, `BATCH` rows a transaction."""
        for at in range(0, count, BATCH):
            now = _now()
            rows = [(NAME, PAYLOAD, now, now)] * min(BATCH, count - at)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(INSERT, rows)
            self._connection.execute("COMMIT")

    def three_writes(self, count: int, crew: Crew | None = None) -> Writes:
        """Insert, claim and finish jobs, `BATCH` rows a transaction; with a crew, its threads run them in between."""
        began = time.perf_counter()
        self.insert_batched(count)
        inserted = time.perf_counter()
        left = count
        while left:
            self._connection.execute("BEGIN IMMEDIATE")
            claimed: list[ClaimedRow] = self._connection.execute(CLAIM, (_now(), BATCH)).fetchall()
            self._connection.execute("COMMIT")
            ids = [row[0] for row in claimed] if crew is None else crew.run(claimed)
            now = _now()
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(FINISH, [(now, job_id) for job_id in ids])
            self._connection.execute("COMMIT")
            left -= len(claimed)
        return Writes(jobs=count, inserting=inserted - began, rest=time.perf_counter() - inserted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """How long the three writes took, in seconds.

    Attributes:
        inserting: the first of them.
        rest: claiming and finishing.
    """

    jobs: int
    inserting: float
    rest: float

    @property
    def three_per_second(self) -> float:
        """Jobs a second through all three."""
        return self.jobs / (self.inserting + self.rest)

    @property
    def two_per_second(self) -> float:
        """Jobs a second through claiming and finishing, which is what draining does."""
        return self.jobs / self.rest


class Crew:
    """Ten threads that call a function that does nothing for each row they are given."""

    def __init__(self, size: int = 10) -> None:
        self._in: queue.SimpleQueue[ClaimedRow | None] = queue.SimpleQueue()
        self._out: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def run(self, rows: Sequence[ClaimedRow]) -> list[int]:
        """Let the threads have the rows; return the ids as they come back."""
        for row in rows:
            self._in.put(row)
        return [self._out.get() for _ in rows]

    def _work(self) -> None:
        while (row := self._in.get()) is not None:
            _nothing()
            self._out.put(row[0])

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._in.put(None)
        for thread in self._threads:
            thread.join()


class _Sleeper:
    """A worker thread that sleeps on a lock and notes when it got to its first line."""

    def __init__(self) -> None:
        self.first_line = 0
        self._gate, self._done = threading.Lock(), threading.Lock()
        self._gate.acquire()
        self._done.acquire()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def wake(self) -> int:
        """Hand over, and return when the worker's first line ran, on the monotonic clock in nanoseconds."""
        self._gate.release()
        self._done.acquire()
        return self.first_line

    def _work(self) -> None:
        while True:
            self._gate.acquire()
            if self._stopping:
                return
            self.first_line = time.monotonic_ns()
            self._done.release()

    def close(self) -> None:
        self._stopping = True
        self._gate.release()
        self._thread.join()


class HandOff:
    """The bare way of one job from the caller to a worker thread."""

    def __init__(self, path: Path, durability: str) -> None:
        self._table = PlainTable(path, durability)
        self._worker = _Sleeper()

    def once(self) -> float:
        """Send one job along it; return the seconds from before its INSERT to the worker's first line."""
        began = time.monotonic_ns()
        self._table.insert_one()
        row = self._table.claim_one()
        first_line = self._worker.wake()
        self._table.finish_one(row[0])
        return (first_line - began) / 1e9

    def close(self) -> None:
        """End the thread."""
        self._worker.close()
        self._table.close()


class Timer:
    """Due times, each met by a bare claim and hand-off."""

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        self._durability = durability

    def run(self, due: Sequence[float], now: Callable[[], float] = time.time) -> list[float]:
        """Sleep from due time to due time (ascending, seconds since the epoch); return by how much each was late."""
        late = []
        worker = _Sleeper()
        with PlainTable(self._path, self._durability) as table:
            table.insert_batched(len(due))
            offset = now() - time.monotonic()
            for moment in due:
                time.sleep(max(0.0, moment - now()))
                row = table.claim_one()
                late.append(worker.wake() / 1e9 + offset - moment)
                table.finish_one(row[0])
        worker.close()
        return late


def _now() -> int:
    return time.time_ns() // 1000


def _nothing() -> None:
    pass

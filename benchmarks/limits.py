"""The limits: what a plain loop over the driver reaches, with nothing of a scheduler around it.

Each is one thread with one connection and a table of its own beside embedq's tables, as durable as they are. The table
is lean: what a queue cannot do without, no constraint but the primary key, and one index on the ready rows in the order
in which they are claimed. Nothing is computed, serialised or checked in the loop, and every statement is the fastest of
those that were tried; they are in `places`, one file a database.

- **one insert a transaction** (`insert_each`): an INSERT in autocommit, which is one transaction. As three statements,
  BEGIN, INSERT and COMMIT, it is slower; that is measured too (`insert_each` with `begin`).
- **batched insert** (`insert_batched`): 1,000 rows a transaction.
- **batched three writes** (`three_writes`): every job gets its three row writes. 1,000 rows are inserted in one
  transaction; then, until none is left, the oldest 1,000 are claimed in one transaction and finished in another. No job
  is run.
- **the same with ten threads behind it** (`three_writes` with a `Crew`): each claimed row also goes through a
  `queue.SimpleQueue` to one of ten threads that call a function that does nothing, and back through another.
- **bare hand-off** (`Way`): INSERT in a transaction, claim in a transaction, both by the caller's own thread, then a
  lock is released on which a worker thread sleeps (`HandOff`). On PostgreSQL: INSERT, NOTIFY, and the worker thread,
  which listens, claims. Measured from before the INSERT to the worker's first line. The finishing write comes after
  the measured time.
- **bare timer** (`Timer`): a thread sleeps until a due time, claims one row in a transaction, and hands over as above.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

BATCH = 1000
NAME = "benchmarks.noop"
PAYLOAD = "[[],{}]"

ClaimedRow = tuple[int, str, str]


class PlainTable(ABC):
    """The lean table, and the loops over it. Owned by the thread that made it."""

    @abstractmethod
    def begin(self) -> None:
        """Open a transaction. Without it each statement is one."""

    @abstractmethod
    def commit(self) -> None:
        """End it."""

    @abstractmethod
    def insert_one(self) -> None:
        """Insert one job."""

    @abstractmethod
    def insert(self, count: int) -> None:
        """Insert jobs in a batch, inside a transaction."""

    @abstractmethod
    def claim(self, limit: int) -> list[ClaimedRow]:
        """Claim the oldest ready jobs, inside a transaction."""

    @abstractmethod
    def finish(self, job_ids: Sequence[int]) -> None:
        """Finish jobs in a batch, inside a transaction."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def claim_one(self) -> ClaimedRow:
        """Claim the oldest ready job in a transaction of its own."""
        [row] = self.claim(1)
        return row

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def insert_each(self, count: int, *, begin: bool = False) -> None:
        """Insert jobs, a transaction for each; with `begin`, an explicit one."""
        if not begin:
            for _ in range(count):
                self.insert_one()
            return
        for _ in range(count):
            self.begin()
            self.insert_one()
            self.commit()

    def insert_batched(self, count: int) -> None:
        """Insert jobs, `BATCH` rows a transaction."""
        for at in range(0, count, BATCH):
            self.begin()
            self.insert(min(BATCH, count - at))
            self.commit()

    def three_writes(self, count: int, crew: Crew | None = None) -> Writes:
        """Insert, claim and finish jobs, `BATCH` rows a transaction; with a crew, its threads run them in between."""
        began = time.perf_counter()
        self.insert_batched(count)
        inserted = time.perf_counter()
        left = count
        while left:
            self.begin()
            claimed = self.claim(BATCH)
            self.commit()
            ids = [row[0] for row in claimed] if crew is None else crew.run(claimed)
            self.begin()
            self.finish(ids)
            self.commit()
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


class Way(Protocol):
    """The bare way of one job from the caller to a worker thread."""

    def once(self) -> float:
        """Send one job along it; return the seconds from before its INSERT to the worker's first line."""

    def close(self) -> None:
        """End the thread, and close what belongs to it."""


class HandOff:
    """The way by the caller's own claim and a lock. Closes the table with itself."""

    def __init__(self, table: PlainTable) -> None:
        self._table = table
        self._worker = _Sleeper()

    def once(self) -> float:
        began = time.monotonic_ns()
        self._table.insert_one()
        row = self._table.claim_one()
        first_line = self._worker.wake()
        self._table.finish([row[0]])
        return (first_line - began) / 1e9

    def close(self) -> None:
        self._worker.close()
        self._table.close()


class Timer:
    """Due times, each met by a bare claim and hand-off. Closes the table at the end of its run."""

    def __init__(self, table: PlainTable) -> None:
        self._table = table

    def run(self, due: Sequence[float], now: Callable[[], float] = time.time) -> list[float]:
        """Sleep from due time to due time (ascending, seconds since the epoch); return by how much each was late."""
        late = []
        worker = _Sleeper()
        with self._table as table:
            table.insert_batched(len(due))
            offset = now() - time.monotonic()
            for moment in due:
                time.sleep(max(0.0, moment - now()))
                row = table.claim_one()
                late.append(worker.wake() / 1e9 + offset - moment)
                table.finish([row[0]])
        worker.close()
        return late


def now_us() -> int:
    """As the times in the table are."""
    return time.time_ns() // 1000


def _nothing() -> None:
    pass

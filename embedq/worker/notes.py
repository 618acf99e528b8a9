"""What running jobs say of themselves, kept until the next turn writes it: log lines, progress, and being overdue."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from embedq.clock import Clock
from embedq.context import JobContext
from embedq.storage import claims, jobs
from embedq.storage.base import Transaction
from embedq.storage.rows import storable


class Batch(NamedTuple):
    """Notes on their way to the database, as the statements order their columns."""

    logs: Sequence[tuple[int, int, int, str]]
    progress: Sequence[tuple[float, str | None, int, int]]
    overdue: Sequence[tuple[int, int, int]]

    def write(self, tx: Transaction) -> None:
        """Store all of them."""
        jobs.add_logs(tx, self.logs)
        jobs.save_progress(tx, self.progress)
        claims.mark_overdue(tx, self.overdue)

    def pieces(self) -> list[Batch]:
        """The same, one note in each."""
        return [
            *(Batch([line], [], []) for line in self.logs),
            *(Batch([], [report], []) for report in self.progress),
            *(Batch([], [], [run]) for run in self.overdue),
        ]


class Notes:
    """Filled by the jobs' threads, emptied by the dispatcher's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: deque[tuple[int, int, int, str]] = deque()
        self._overdue: deque[tuple[int, int, int]] = deque()
        # Only the latest report of each run is of interest.
        self._progress: dict[tuple[int, int], tuple[float, str | None, int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._logs or self._progress or self._overdue)

    def log(self, context: JobContext, message: str) -> None:
        """A line that a job wrote."""
        self._logs.append((context.id, self._clock.now(), context.attempt, storable(message)))

    def progress(self, context: JobContext, fraction: float, note: str | None) -> None:
        """How far a job says it is."""
        note = None if note is None else storable(str(note))
        self._progress[context.id, context.claim] = (fraction, note, context.id, context.claim)

    def overdue(self, job_id: int, claim: int) -> None:
        """A run does not yield."""
        self._overdue.append((self._clock.now(), job_id, claim))

    def take(self) -> Batch:
        """Everything so far; it is forgotten here."""
        progress, self._progress = self._progress, {}
        return Batch(
            logs=[self._logs.popleft() for _ in range(len(self._logs))],
            progress=list(progress.values()),
            overdue=[self._overdue.popleft() for _ in range(len(self._overdue))],
        )

    def put_back(self, batch: Batch) -> None:
        """The write failed: keep them for the next turn, before what has come since."""
        self._logs.extendleft(reversed(batch.logs))
        self._overdue.extendleft(reversed(batch.overdue))
        for report in batch.progress:
            self._progress.setdefault((report[2], report[3]), report)

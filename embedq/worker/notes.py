"""What running jobs write, kept until a turn stores it: log lines, progress, meta, and that a run is overdue.

A turn writes a limited number of log lines, so that other writes hardly wait for it. A job that logs tens of thousands
of lines has some left to be written when it ends; its end waits for them (`is_logged`), and nothing else does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from embedq.clock import Clock
from embedq.storage import finishing, jobs
from embedq.storage.base import Transaction
from embedq.storage.rows import storable
from embedq.tasks.context import JobContext

# The most log lines that one turn writes, which takes milliseconds.
MOST_LINES = 250
MOST_CHARACTERS = 250_000


class NoteBatch(NamedTuple):
    """Notes on their way to the database, in the order of the statements' columns."""

    logs: Sequence[tuple[int, int, int, str]]
    progress: Sequence[tuple[float, str | None, int, int]]
    overdue: Sequence[tuple[int, int, int]]
    trials: Sequence[tuple[int, int]] = ()
    options: Sequence[tuple[str, int, int]] = ()

    def job_ids(self) -> set[int]:
        """Return the jobs whose rows these notes change; log lines are rows of their own."""
        changed = (self.progress, self.overdue, self.trials, self.options)
        return {note[-2] for notes in changed for note in notes}

    def write(self, tx: Transaction) -> None:
        """Store all of them."""
        jobs.add_logs(tx, self.logs)
        jobs.save_progress(tx, self.progress)
        finishing.mark_overdue(tx, self.overdue)
        jobs.save_options(tx, self.options)
        finishing.lived_through(tx, self.trials)

    def pieces(self) -> list[NoteBatch]:
        """Return the same notes, one in each batch."""
        return [
            *(NoteBatch([line], [], []) for line in self.logs),
            *(NoteBatch([], [report], []) for report in self.progress),
            *(NoteBatch([], [], [run]) for run in self.overdue),
            *(NoteBatch([], [], [], options=[one]) for one in self.options),
            *(NoteBatch([], [], [], [trial]) for trial in self.trials),
        ]


NO_NOTES = NoteBatch([], [], [])


class Notes:
    """Filled by the jobs' threads, emptied by the dispatcher's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: deque[tuple[int, int, int, str]] = deque()
        # How many lines were ever added, how many were taken, and for each job, the number of its last line.
        self._lines = self._lines_taken = 0
        self._last_line: dict[int, int] = {}
        # Re-entrant: a finalizer may log while its thread does.
        self._mutex = threading.RLock()
        self._overdue: deque[tuple[int, int, int]] = deque()
        self._trials: deque[tuple[int, int]] = deque()
        # Only the latest report of each run is kept.
        self._progress: dict[tuple[int, int], tuple[float, str | None, int, int]] = {}
        self._options: dict[tuple[int, int], tuple[str, int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._logs or self._progress or self._overdue or self._options or self._trials)

    def log(self, context: JobContext, message: str) -> None:
        """Add a log line of a job."""
        line = (context.id, self._clock.now(), context.attempt, storable(message))
        with self._mutex:
            self._logs.append(line)
            self._lines += 1
            self._last_line[context.id] = self._lines

    @property
    def behind(self) -> bool:
        """Whether log lines are left for another turn."""
        return bool(self._logs)

    def is_logged(self, job_id: int) -> bool:
        """Whether all log lines of a job are written, or are in the batch that was taken last."""
        return self._last_line.get(job_id, 0) <= self._lines_taken

    def progress(self, context: JobContext, fraction: float, note: str | None) -> None:
        """Set the progress of a job."""
        note = None if note is None else storable(str(note))
        self._progress[context.id, context.claim] = (fraction, note, context.id, context.claim)

    def options(self, context: JobContext, text: str) -> None:
        """Set a job's stored options, which hold its meta."""
        self._options[context.id, context.claim] = (text, context.id, context.claim)

    def overdue(self, job_id: int, claim: int) -> None:
        """Record that a run does not yield."""
        self._overdue.append((self._clock.now(), job_id, claim))

    def survived_trial(self, job_id: int, claim: int) -> None:
        """Record that a suspect still runs after its trial."""
        self._trials.append((job_id, claim))

    def take(self) -> NoteBatch:
        """Remove and return all notes, except log lines beyond what one turn writes."""
        progress, self._progress = self._progress, {}
        options, self._options = self._options, {}
        return NoteBatch(
            logs=self._take_lines(),
            progress=list(progress.values()),
            overdue=[self._overdue.popleft() for _ in range(len(self._overdue))],
            trials=[self._trials.popleft() for _ in range(len(self._trials))],
            options=list(options.values()),
        )

    def _take_lines(self) -> list[tuple[int, int, int, str]]:
        taken: list[tuple[int, int, int, str]] = []
        characters = 0
        with self._mutex:
            while self._logs and len(taken) < MOST_LINES and characters < MOST_CHARACTERS:
                taken.append(self._logs.popleft())
                characters += len(taken[-1][3])
            self._lines_taken += len(taken)
            if not self._logs:
                self._last_line.clear()
        return taken

    def put_back(self, batch: NoteBatch) -> None:
        """Put notes back whose write failed, before those that have been added since."""
        with self._mutex:
            self._logs.extendleft(reversed(batch.logs))
            self._lines_taken -= len(batch.logs)
            for number, line in enumerate(batch.logs, self._lines_taken + 1):
                self._last_line[line[0]] = max(number, self._last_line.get(line[0], 0))
        self._overdue.extendleft(reversed(batch.overdue))
        self._trials.extendleft(reversed(batch.trials))
        for report in batch.progress:
            self._progress.setdefault((report[2], report[3]), report)
        for one in batch.options:
            self._options.setdefault((one[1], one[2]), one)

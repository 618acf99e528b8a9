"""The processor time of runs on a thread, without a system call for each: that would slow short jobs down by a tenth.

The thread's clock is read when a millisecond has passed since the last reading. The difference is the sum over all runs
since then; each run that ended in between was assigned a share by its duration, in the proportion of the time before.
The error of these shares is corrected in the run that ends with the reading, so that the sums are right, and a long run
has its own time.
"""

from __future__ import annotations

import time

# Microseconds.
READ_EVERY = 1_000


class ThreadCpu:
    """Belongs to the thread that creates it."""

    __slots__ = ("_given", "_ran", "_read_at", "_read_ns", "_share")

    def __init__(self) -> None:
        self._read_ns = time.thread_time_ns()
        # On the wall clock; 0 so that the clock is read after the first run.
        self._read_at = 0
        self._ran = 0
        self._given = 0
        self._share = 1.0

    def of_run(self, started: int, finished: int) -> int:
        """Return the processor time of a run in microseconds; `started` and `finished` are times on the wall clock."""
        took = finished - started
        self._ran += took
        if 0 <= finished - self._read_at < READ_EVERY:
            given = int(took * self._share)
            self._given += given
            return given
        now = time.thread_time_ns()
        spent = (now - self._read_ns) // 1000
        own = min(max(0, spent - self._given), took)
        self._share = min(1.0, spent / self._ran) if self._ran > 0 else 1.0
        self._read_ns, self._read_at, self._ran, self._given = now, finished, 0, 0
        return own

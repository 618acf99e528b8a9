"""The processor time of runs on a thread, without asking the system at each: that would cost short jobs a tenth.

The clock is read when a millisecond has gone since the last reading. What was read is the sum over all runs since then;
of those that ended in between each got its share by how long it took, in the proportion of the time before. What those
shares were wrong by is put right in the run that ends with the reading, so that the sums hold, and a long run has its
own time.
"""

from __future__ import annotations

import time

# Microseconds.
READ_EVERY = 1_000


class ThreadCpu:
    """Belongs to one thread, which makes it."""

    __slots__ = ("_given", "_ran", "_read_at", "_read_ns", "_share")

    def __init__(self) -> None:
        self._read_ns = time.thread_time_ns()
        # By the wall clock, so that the first run is read.
        self._read_at = 0
        self._ran = 0
        self._given = 0
        self._share = 1.0

    def of_run(self, started: int, finished: int) -> int:
        """What a run took that is over, in microseconds; `started` and `finished` likewise, by the wall clock."""
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

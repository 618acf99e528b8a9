"""How fast the workers have finished jobs recently, and so how many claimed jobs the buffer may hold.

The buffer holds about as many jobs as the workers finish in `HORIZON_SECONDS`: short jobs are claimed in batches of a
thousand, and a long job never waits here while another process could run it.
"""

from __future__ import annotations

# How much work the buffer may hold, as time, and the most jobs that it may hold.
HORIZON_SECONDS = 0.04
BUFFER_LIMIT = 2000


class RateEstimate:
    """The rate at which the workers of one process finish jobs.

    Attributes:
        prefetch: how many jobs the buffer may hold beyond those for idle workers.
        low_water: the buffer is refilled when it holds no more than this.
    """

    __slots__ = ("_rate", "low_water", "prefetch")

    def __init__(self) -> None:
        self._rate = 0.0
        self.prefetch = self.low_water = 0

    def measure(self, count: int, elapsed: float) -> None:
        """Update the estimate: `count` jobs ended in `elapsed` seconds, idle time not included."""
        elapsed = min(max(elapsed, 1e-4), 1.0)
        weight = min(1.0, elapsed / HORIZON_SECONDS + 0.2)
        self._rate += (count / elapsed - self._rate) * weight
        self.prefetch = min(BUFFER_LIMIT, int(self._rate * HORIZON_SECONDS))
        self.low_water = self.prefetch // 2

"""How fast jobs have gone through the workers of late, and so how many may lie in the buffer.

As many as they got through in the last moments: short jobs come in batches of a thousand, and a long one never waits
here while another process has time for it.
"""

from __future__ import annotations

# How much work may lie in the buffer, as time, and the most jobs that may.
HORIZON_SECONDS = 0.04
BUFFER_LIMIT = 2000


class Pace:
    """Of one process's workers.

    Attributes:
        prefetch: how many jobs may lie in the buffer beyond those for idle workers.
        low_water: at how many it is filled up again.
    """

    __slots__ = ("_rate", "low_water", "prefetch")

    def __init__(self) -> None:
        self._rate = 0.0
        self.prefetch = self.low_water = 0

    def measure(self, count: int, elapsed: float) -> None:
        """Take in that `count` jobs ended in `elapsed` seconds.

        Idle time is left out: it says nothing about how fast the workers are.
        """
        elapsed = min(max(elapsed, 1e-4), 1.0)
        weight = min(1.0, elapsed / HORIZON_SECONDS + 0.2)
        self._rate += (count / elapsed - self._rate) * weight
        self.prefetch = min(BUFFER_LIMIT, int(self._rate * HORIZON_SECONDS))
        self.low_water = self.prefetch // 2

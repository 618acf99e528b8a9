"""The database server's time, so that hosts whose clocks differ by minutes agree on which jobs are due and
which processes are alive.

Every transaction also reads the server's time; the middle of the round trip stands for the
moment of the answer. Of the last seconds the answer with the shortest round trip counts.
"""

from __future__ import annotations

from embedq.clock import SECOND, Clock

# How long the best measurement stands before a worse one replaces it, and how far this host's clock may move against
# its monotonic one before the measurement is void (the clock was set).
KEPT_SECONDS = 10.0
STEP_MICROS = 20_000


class ServerClock:
    """This host's clock, corrected by the server's time.

    Attributes:
        offset: server minus host, in microseconds.
    """

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.offset = 0
        self._round_trip: int | None = None
        self._measured_at = 0.0
        self._drift = 0

    def now(self) -> int:
        return self._base.now() + self.offset

    def monotonic(self) -> float:
        return self._base.monotonic()

    def host_now(self) -> int:
        """This host's own time, to frame a measurement with."""
        return self._base.now()

    def measured(self, server: int, sent: int, received: int) -> None:
        """Record that the server's time was `server` between `sent` and `received` of this host's clock."""
        now, round_trip = self._base.monotonic(), received - sent
        drift = received - round(now * SECOND)
        stepped = abs(drift - self._drift) > STEP_MICROS
        old = now - self._measured_at > KEPT_SECONDS
        if round_trip < 0 or not (self._round_trip is None or stepped or old or round_trip <= self._round_trip):
            return
        self.offset = server - (sent + received) // 2
        self._round_trip, self._measured_at, self._drift = round_trip, now, drift

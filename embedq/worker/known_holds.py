"""What is paused, as far as this process has read: with each claim, and when another process has written."""

from __future__ import annotations

from embedq.clock import Clock
from embedq.flow.holds import NO_HOLDS, Holds
from embedq.process.registration import Registration


class KnownHolds:
    """The holds of one dispatcher. Any thread may read it, and `replace` it.

    A pause that this process makes is known here when the call returns. A read that had begun earlier does not undo
    that.
    """

    def __init__(self, clock: Clock, registration: Registration) -> None:
        self._clock = clock
        self._registration = registration
        self._holds = NO_HOLDS
        self._replaced = False

    def reading(self) -> None:
        """Record that the holds are about to be read."""
        self._replaced = False

    def read(self, holds: Holds) -> bool:
        """Take what was read; return whether that is something new."""
        if self._replaced or holds == self._holds:
            return False
        self._holds = holds
        return True

    def replace(self, holds: Holds) -> None:
        """Take what this process has just written."""
        self._holds = holds
        self._replaced = True

    def bars(self, queue: str, task: str) -> bool:
        """Return whether a job must not start now."""
        return bool(self._holds) and self._holds.bars(queue, task, self._clock.now())

    @property
    def quiet(self) -> bool:
        """Whether this process claims nothing, by a hold of its own."""
        return bool(self._holds) and self._holds.process(self._registration.uuid, self._clock.now()) is not None

    @property
    def quiet_until(self) -> int | None:
        """When that ends by itself, in microseconds; None if it does not."""
        row = self._holds.process(self._registration.uuid, self._clock.now())
        return None if row is None else row.until

    def knows(self, need: str) -> bool:
        """Return whether there is a hold with which parked jobs are that have this need."""
        return any(row.need == need for row in self._holds.rows)

"""A clock that is stopped until the test advances it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from embedq.clock import SECOND, to_datetime, to_micros
from embedq.testing.reports import Report

MICROSECOND = timedelta(microseconds=1)


class TravelClock:
    """The clock of an app under test: it is stopped, and advancing it runs what becomes due on the way.

    Args:
        now: microseconds since the epoch, UTC.
        travel: advances it to an instant and runs what is due: `(target, jump, raise_errors)`.
    """

    def __init__(self, now: int, travel: Callable[[int, bool, bool], Report]) -> None:
        self._start = self._now = now
        self._travel = travel

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return (self._now - self._start) / SECOND

    @property
    def moment(self) -> datetime:
        """The present time, as an aware datetime in UTC."""
        return to_datetime(self._now)

    def set(self, micros: int) -> None:
        """Set it and run nothing. Called by the kit."""
        self._now = micros

    def advance(
        self,
        by: timedelta | None = None,
        /,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        jump: bool = False,
        raise_errors: bool = True,
    ) -> Report:
        """Let time pass: `advance(days=3)` or `advance(timedelta(days=3))`.

        Every delayed job, retry and recurring job on the way runs at its own time, one after another.

        Args:
            jump: let all of it pass at once, as on a suspended machine: missed occurrences then follow their schedule's
                misfire policy, expired jobs are cancelled, and the rest run late.
            raise_errors: as for `drain`.
        Returns:
            What ran.
        Raises:
            ValueError: time does not go backwards.
            JobFailedError, EndlessJobsError: as for `drain`. The clock has arrived when JobFailedError is raised.
        """
        __tracebackhide__ = True
        total = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds) + (by or timedelta())
        if total < timedelta(0):
            raise ValueError(f"advance({total}): time does not go backwards; begin earlier: app_under_test(now=…)")
        return self._travel(self._now + total // MICROSECOND, jump, raise_errors)

    def travel_to(self, moment: datetime, *, jump: bool = False, raise_errors: bool = True) -> Report:
        """`advance` until the clock shows `moment`, an aware datetime; ValueError if naive, or past."""
        __tracebackhide__ = True
        target = to_micros(moment)
        if target < self._now:
            raise ValueError(
                f"it is {self.moment.isoformat()} already, and time does not go backwards; to begin earlier, use "
                "@pytest.mark.embedq(now=…) or app_under_test(now=…)"
            )
        return self._travel(target, jump, raise_errors)

    def __repr__(self) -> str:
        return f"<TravelClock {self.moment.isoformat()}>"

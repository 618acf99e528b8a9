"""The only place that asks the system for the time.

Instants are integers: microseconds since the epoch, UTC, as they are stored. The public face speaks aware datetimes;
`to_datetime` and `to_micros` stand between. Durations inside a process (timeouts, waits) use `time.monotonic`, which
no clock change moves; due times use the wall clock, because users mean the wall clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


class Clock(Protocol):
    """Where an app gets the time. Tests give their own."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds that only grow."""


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds since the epoch.

    Raises:
        ValueError: the datetime is naive, so it names no instant.
    """
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"{moment!r} has no time zone, so it names no moment; "
            "pass an aware datetime, for example datetime(2027, 1, 1, tzinfo=UTC)"
        )
    return (moment - EPOCH) // timedelta(microseconds=1)


def to_datetime(micros: int) -> datetime:
    """Microseconds since the epoch as an aware UTC datetime."""
    return EPOCH + timedelta(microseconds=micros)


def to_seconds(duration: timedelta | float) -> float:
    """A timedelta, or a number that already is seconds, as seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)

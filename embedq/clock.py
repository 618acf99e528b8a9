"""The only module that reads the system's time.

Instants are integers: microseconds since the epoch, UTC, as they are stored. The public API uses aware datetimes;
`to_datetime` and `to_micros` convert, and `later` adds durations: values that they refuse are never stored, and such
values in a damaged row are shown as damaged. Durations inside a process (timeouts, waits) use `time.monotonic`, which
no clock change affects; due times use the wall clock, because users mean the wall clock. Times that other hosts rely on
(until when a process may run its jobs) use `elapsed`, which continues while the machine is suspended.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
_MICROSECOND = timedelta(microseconds=1)
# The range of a datetime in UTC.
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
FIRST_MICROS, LAST_MICROS = (FIRST - EPOCH) // _MICROSECOND, (LAST - EPOCH) // _MICROSECOND


DAMAGED = "damaged"


class DamagedMoment(datetime):
    """A stored instant outside the years 1 to 9999. It compares as the nearest valid one; as text it is "damaged".

    Attributes:
        stored: the stored number.
    """

    stored: int | None = None

    @classmethod
    def of(cls, stored: int, nearest: datetime) -> DamagedMoment:
        """Make the one for a stored number."""
        made = cls.combine(nearest.date(), nearest.timetz())
        made.stored = stored
        return made

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return f"{DAMAGED}: {self.stored}"

    def __str__(self) -> str:
        return self.isoformat()

    def __format__(self, form: str) -> str:
        return self.isoformat()


class Clock(Protocol):
    """The source of an app's time. Tests pass their own."""

    def now(self) -> int:
        """Return microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


# While the machine is suspended, Python's monotonic clock stops on Linux and macOS; on macOS, CLOCK_MONOTONIC does not.
_ELAPSING = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def elapsed() -> float:
    """Return seconds that only grow, also while the machine is suspended."""
    return time.monotonic() if _ELAPSING is None else time.clock_gettime(_ELAPSING)


def booted_for() -> float | None:
    """Return the seconds since this machine was started; None if the system does not provide them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else None


def to_micros(moment: datetime) -> int:
    """Convert an aware datetime to microseconds since the epoch.

    Raises:
        ValueError: the datetime is naive, so it names no instant; or in UTC it is outside the years 1 to 9999.
    """
    if isinstance(moment, DamagedMoment) and moment.stored is not None:
        return moment.stored
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError(
            f"{moment!r} has no time zone, so it names no moment; "
            "pass an aware datetime, for example datetime(2027, 1, 1, tzinfo=UTC)"
        )
    return check_micros((moment - EPOCH) // _MICROSECOND, f"{moment}")


def check_micros(micros: int, what: str = "this") -> int:
    """Return the same number if it is an instant that a datetime can hold.

    Raises:
        ValueError: it is outside the years 1 to 9999, in UTC; the message names `what`.
    """
    if not FIRST_MICROS <= micros <= LAST_MICROS:
        raise ValueError(f"{what} is {'after the year 9999' if micros > 0 else 'before the year 1'}, in UTC")
    return micros


def to_datetime(micros: int) -> datetime:
    """Convert microseconds since the epoch to an aware UTC datetime; a `DamagedMoment` outside the years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return DamagedMoment.of(micros, LAST if micros > 0 else FIRST)


def to_seconds(duration: timedelta | float) -> float:
    """Convert a timedelta, or a number of seconds, to seconds. ValueError if it is larger than any float."""
    try:
        return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    except OverflowError:
        raise ValueError("this is longer than any number of seconds") from None


def patience(timeout: timedelta | float | None) -> float | None:
    """Convert a timeout to seconds; None waits as long as it takes. ValueError if it is not a duration."""
    if timeout is None:
        return None
    if isinstance(timeout, int | float | timedelta) and not isinstance(timeout, bool):
        seconds = to_seconds(timeout)
        if not math.isnan(seconds):
            return seconds
    raise ValueError(f"timeout={timeout!r} must be seconds or a timedelta, or None")


def later(micros: int, duration: timedelta | float) -> int:
    """Return the instant a duration after another, or before it, in microseconds.

    Raises:
        ValueError: the duration is not a finite number, or the instant is outside the years 1 to 9999.
    """
    seconds = to_seconds(duration)
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} is not a number of seconds")
    return check_micros(micros + int(seconds * SECOND))

"""What the clock of a time zone shows: where readings occur twice, or never, when clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from zoneinfo import ZoneInfo

from embedq.clock import EPOCH
from embedq.errors import ScheduleError

_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class WallClock:
    """The clock of a time zone. Instants are seconds since the epoch; for walls see `embedq.scheduling.cron`."""

    zone: ZoneInfo

    def offset_at(self, instant: int) -> int:
        """Return the seconds that the clock is ahead of UTC at an instant."""
        return _seconds((EPOCH + timedelta(seconds=instant)).astimezone(self.zone).utcoffset())

    def offsets_of(self, wall: int) -> tuple[int, int]:
        """Return the offsets before and after the change that makes a reading occur twice (first > second) or never.

        An ordinary reading has the same offset twice.
        """
        moment = (_NAIVE_EPOCH + timedelta(seconds=wall)).replace(tzinfo=self.zone)
        return _seconds(moment.utcoffset()), _seconds(moment.replace(fold=1).utcoffset())

    def shift_at(self, wall: int) -> int:
        """Return the instant of the change that makes `wall` happen twice or never."""
        before, since = self.offsets_of(wall)
        low, high = sorted((wall - before, wall - since))
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset_at(middle) == before:
                low = middle
            else:
                high = middle
        return high

    def first_reach(self, wall: int) -> int:
        """Return the first instant at which the clock shows `wall` or, where that is skipped, a later time."""
        before, since = self.offsets_of(wall)
        return wall - before if before >= since else self.shift_at(wall)

    def latest_shown(self, instant: int) -> int:
        """Return the latest reading up to an instant: in the second pass of an hour, the end of the first pass."""
        wall = instant + self.offset_at(instant)
        before, since = self.offsets_of(wall)
        if before > since and wall == instant + since:
            return self.shift_at(wall) + before - 1
        return wall


def zone_name(timezone: str | tzinfo) -> str:
    """Return the IANA name of a time zone.

    Raises:
        ScheduleError: it has none: a fixed offset, or a ZoneInfo made from a file.
    """
    if not isinstance(timezone, tzinfo):
        return timezone
    if timezone is UTC:
        return "UTC"
    # ZoneInfo has it as `key`, pytz as `zone`.
    name = getattr(timezone, "key", None) or getattr(timezone, "zone", None)
    if not isinstance(name, str):
        raise ScheduleError(f"the time zone {timezone!r} has no IANA name; give one such as 'Europe/Berlin'")
    return name


def wall_clock(timezone: str) -> WallClock:
    try:
        return WallClock(ZoneInfo(timezone))
    # Besides ZoneInfoNotFoundError, a KeyError: ValueError for "../x", IsADirectoryError for "Europe".
    except (KeyError, ValueError, OSError, TypeError):
        raise ScheduleError(
            f"no time zone named {timezone!r}; use an IANA name such as 'Europe/Berlin' "
            "(where the system has no time zone database, pip install tzdata)"
        ) from None


def _seconds(offset: timedelta | None) -> int:
    return 0 if offset is None else offset.days * 86_400 + offset.seconds

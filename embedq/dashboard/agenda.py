"""The calendar: by day what fires, and where a clock is put forward or back. Days are those of UTC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from embedq.monitor import Coming

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What one schedule does on one day."""

    schedule: str
    task: str
    times: Sequence[Coming]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """Where a zone's clock jumps, and from what to what it shows."""

    zone: str
    at: datetime
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day on which something happens."""

    date: date
    firings: list[Firing]
    changes: list[ClockChange]


def by_day(coming: Iterable[Coming], zones: Iterable[str], start: datetime, end: datetime) -> list[Day]:
    """The days from `start` until before `end` on which a schedule fires or the clock of one of the zones changes."""
    fired = {day: list(these) for day, these in groupby(coming, key=lambda one: one.at.date())}
    known = sorted(set(zones))
    days, day = [], start.date()
    while midnight(day) < end:
        firings = _firings(fired.get(day, ()))
        changes = [change for zone in known if (change := clock_change(zone, day)) is not None]
        if firings or changes:
            days.append(Day(date=day, firings=firings, changes=changes))
        day += DAY
    return days


def _firings(coming: Sequence[Coming]) -> list[Firing]:
    found: dict[str, list[Coming]] = {}
    for one in coming:
        found.setdefault(one.schedule, []).append(one)
    return [Firing(schedule=name, task=times[0].task, times=times) for name, times in found.items()]


def clock_change(zone: str, day: date) -> ClockChange | None:
    """How the clock of a zone jumps on a day; None on nearly all days."""
    there, first = ZoneInfo(zone), midnight(day)
    old, new = first.astimezone(there).utcoffset(), (first + DAY).astimezone(there).utcoffset()
    if old == new or old is None or new is None:
        return None
    early, late = 0, 24 * 60
    while late - early > 1:
        middle = (early + late) // 2
        if (first + middle * MINUTE).astimezone(there).utcoffset() == old:
            early = middle
        else:
            late = middle
    at = first + late * MINUTE
    name = (at - MINUTE).astimezone(there).tzname()
    return ClockChange(zone=zone, at=at, before=f"{at + old:%H:%M} {name}", after=f"{at.astimezone(there):%H:%M %Z}")


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime.combine(day, time(), UTC)

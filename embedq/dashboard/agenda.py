"""The calendar by day (UTC): recurring jobs that fire, and changes of clocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from embedq.operations.upcoming import UpcomingRun

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """The runs of one schedule on one day."""

    schedule: str
    task: str
    times: Sequence[UpcomingRun]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A change of a time zone's offset, with the local times before and after it."""

    zone: str
    at: datetime
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day with runs or clock changes."""

    date: date
    firings: list[Firing]
    changes: list[ClockChange]


def by_day(upcoming: Iterable[UpcomingRun], zones: Iterable[str], start: datetime, end: datetime) -> list[Day]:
    """Return the days from `start` until before `end` with runs, or clock changes in one of the zones."""
    fired = {day: list(runs) for day, runs in groupby(upcoming, key=lambda one: one.at.date())}
    known = sorted(set(zones))
    days, day = [], start.date()
    while midnight(day) < end:
        firings = _firings(fired.get(day, ()))
        changes = [change for zone in known if (change := clock_change(zone, day)) is not None]
        if firings or changes:
            days.append(Day(date=day, firings=firings, changes=changes))
        day += DAY
    return days


def _firings(upcoming: Sequence[UpcomingRun]) -> list[Firing]:
    found: dict[str, list[UpcomingRun]] = {}
    for one in upcoming:
        found.setdefault(one.schedule, []).append(one)
    return [Firing(schedule=name, task=times[0].task, times=times) for name, times in found.items()]


def clock_change(zone: str, day: date) -> ClockChange | None:
    """Return the clock change of a zone on a day; None on nearly all days."""
    timezone, first = ZoneInfo(zone), midnight(day)
    old, new = first.astimezone(timezone).utcoffset(), (first + DAY).astimezone(timezone).utcoffset()
    if old == new or old is None or new is None:
        return None
    early, late = 0, 24 * 60
    while late - early > 1:
        middle = (early + late) // 2
        if (first + middle * MINUTE).astimezone(timezone).utcoffset() == old:
            early = middle
        else:
            late = middle
    at = first + late * MINUTE
    name = (at - MINUTE).astimezone(timezone).tzname()
    return ClockChange(zone=zone, at=at, before=f"{at + old:%H:%M} {name}", after=f"{at.astimezone(timezone):%H:%M %Z}")


def midnight(day: date) -> datetime:
    """Return the start of a day."""
    return datetime.combine(day, time(), UTC)

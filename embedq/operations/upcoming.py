"""The upcoming runs of recurring jobs, calculated from their schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapify, heappop, heapreplace
from zoneinfo import ZoneInfo

from embedq.clock import to_datetime
from embedq.display.calls import safe
from embedq.display.units import exactly
from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Cron, Every, schedule_from_text
from embedq.storage.inspect.recurrences import ComingRow


def schedule_text(when: Cron | Every | None) -> str:
    """Describe a schedule: `every 5 min`, `0 4 * * * Europe/Berlin`."""
    match when:
        case Every():
            return f"every {exactly(when.interval.total_seconds())}"
        case Cron():
            return safe(f"{when.expression} {when.timezone}")
    return "cannot be read here"


def schedule_words(when: Cron | Every | None) -> str | None:
    """Describe a cron expression in words, `at 04:00 every day`. None for what `schedule_text` has in words already."""
    return when.describe() if isinstance(when, Cron) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpcomingRun:
    """A future occurrence of a schedule.

    Attributes:
        local: the moment in the schedule's time zone; `at` is the same moment in UTC.
    """

    schedule: str
    task: str
    at: datetime
    local: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Occurrences in order.

    Attributes:
        dense: schedules with more occurrences than are listed, and the moment up to which each is complete.
        until: the moment up to which the list is complete, if schedules or occurrences were omitted;
            None if it is complete.
        zones: the time zones of the cron expressions, by name.
    """

    occurrences: list[UpcomingRun]
    dense: dict[str, datetime]
    until: datetime | None = None
    zones: list[str] = field(default_factory=list)


def calendar_of(
    rows: Sequence[ComingRow], first: int, last: int, *, each: int, most: int, unseen_from: int | None
) -> Calendar:
    """Return the occurrences of schedules from `first` until before `last`, in order.

    Args:
        unseen_from: the first occurrence of the schedules that were not read; None if all were.
    """
    whens: dict[str, Cron | Every] = {}
    ahead: list[tuple[int, str, str]] = []
    for row in rows:
        try:
            when = schedule_from_text(row.spec)
            # An occurrence that is already due has a stored moment; the others follow from it.
            at = max(row.next_fire_at, when.next_micros(first - 1))
        except ScheduleError:
            continue
        whens[row.name] = when
        ahead.append((at, row.name, row.task))
    heapify(ahead)
    zones = {name: ZoneInfo(when.timezone) if isinstance(when, Cron) else UTC for name, when in whens.items()}
    found: list[UpcomingRun] = []
    numbers: Counter[str] = Counter()
    dense: dict[str, datetime] = {}
    until = unseen_from
    while ahead and ahead[0][0] < last:
        at, name, task = ahead[0]
        moment = to_datetime(at)
        if len(found) == most:
            until = at if until is None else min(until, at)
            break
        if numbers[name] == each:
            dense[name] = moment
            heappop(ahead)
            continue
        found.append(UpcomingRun(schedule=name, task=task, at=moment, local=moment.astimezone(zones[name])))
        numbers[name] += 1
        try:
            heapreplace(ahead, (whens[name].next_micros(at), name, task))
        except ScheduleError:
            heappop(ahead)
    return Calendar(
        occurrences=found,
        dense=dense,
        until=None if until is None else to_datetime(until),
        zones=sorted({when.timezone for when in whens.values() if isinstance(when, Cron)}),
    )

"""Recurring jobs: how they are, what they did, and when they will run."""

from __future__ import annotations

from datetime import date, timedelta

from starlette.responses import Response

from embedq.dashboard.agenda import by_day, midnight
from embedq.dashboard.visit import BadRequest, Visit
from embedq.errors import ScheduleNotFoundError
from embedq.schedule import Cron
from embedq.storage.inspect.trouble import ScheduleTrouble, schedule_trouble

LEDGER = 100
DAYS = {"1": 1, "3": 3, "7": 7, "31": 31}
FARTHEST = timedelta(days=10 * 365)


def show(visit: Visit) -> Response:
    """All recurring jobs."""
    schedules = visit.queue.schedules()
    return visit.page("recurring.html", schedules=schedules, troubles=_troubles(visit))


def _troubles(visit: Visit) -> dict[str, ScheduleTrouble]:
    database, now = visit.queue.database, visit.queue.clock.now()
    found = visit.shared("schedules", lambda: database.read(schedule_trouble, now=now))
    return {trouble.name: trouble for trouble in found}


def one(visit: Visit) -> Response:
    """One recurring job, with its ledger and what comes."""
    name = str(visit.params["name"])
    found = next((schedule for schedule in visit.queue.schedules() if schedule.name == name), None)
    if found is None:
        raise ScheduleNotFoundError(f"no recurring job named {name!r}; it may have been removed")
    coming = visit.queue.monitor.calendar(visit.now, visit.now + timedelta(days=400), each=20)
    return visit.page(
        "schedule.html",
        schedule=found,
        trouble=_troubles(visit).get(name),
        ledger=visit.queue.occurrences(name, LEDGER),
        coming=[occurrence for occurrence in coming.occurrences if occurrence.schedule == name][:10],
    )


def calendar(visit: Visit) -> Response:
    """What fires in the coming days, or from some day on."""
    days = visit.query.get("days", "7")
    if days not in DAYS:
        raise BadRequest(f"days={days[:20]!r} must be one of: {', '.join(DAYS)}")
    today, length = visit.now.date(), timedelta(days=DAYS[days])
    first = _first_day(visit.query.get("from", ""), today)
    start, end = max(visit.now, midnight(first)), midnight(first) + length
    found = visit.queue.monitor.calendar(start, end, each=24 + 4 * DAYS[days])
    schedules = {schedule.name: schedule for schedule in visit.queue.schedules()}
    zones = [one.when.timezone for one in schedules.values() if isinstance(one.when, Cron) and not one.paused]
    return visit.page(
        "calendar.html",
        agenda=by_day((one for one in found.occurrences if one.schedule not in found.dense), zones, start, end),
        often=[schedules[name] for name in found.dense if name in schedules],
        days=days,
        choices=list(DAYS),
        first=first,
        last=first + length - timedelta(days=1),
        earlier=max(today, first - length) if first > today else None,
        later=first + length,
        today=today,
    )


def _first_day(text: str, today: date) -> date:
    """The day that a calendar begins with: today, or a later one. BadRequest if it is none, or too far away."""
    try:
        day = date.fromisoformat(text) if text else today
    except ValueError:
        raise BadRequest(f"from={text[:20]!r} is no day; write it like 2026-06-01") from None
    if day > today + FARTHEST:
        raise BadRequest(f"from={text[:20]} is too far away; the calendar goes {FARTHEST.days // 365} years ahead")
    return max(day, today)

"""Recurring jobs: how they are, what they did, and when they will run."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

from starlette.responses import Response

from embedq.dashboard.visit import BadRequest, Visit
from embedq.errors import ScheduleNotFoundError
from embedq.storage.inspect.trouble import ScheduleTrouble, schedule_trouble

LEDGER = 100
DAYS = {"1": 1, "3": 3, "7": 7, "31": 31}


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
    """The coming occurrences of all, by day."""
    days = visit.query.get("days", "3")
    if days not in DAYS:
        raise BadRequest(f"days={days[:20]!r} must be one of: {', '.join(DAYS)}")
    start = visit.now
    found = visit.queue.monitor.calendar(start, start + timedelta(days=DAYS[days]), each=24)
    by_day = [(day, list(these)) for day, these in groupby(found.occurrences, key=lambda one: one.at.date())]
    return visit.page("calendar.html", by_day=by_day, dense=found.dense, days=days, choices=list(DAYS))

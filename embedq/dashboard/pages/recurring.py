"""Recurring jobs: status, history, and upcoming runs."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta

from starlette.responses import Response

from embedq.dashboard.agenda import by_day, midnight
from embedq.dashboard.pages.jobs import size_of
from embedq.dashboard.visit import BadRequest, Visit
from embedq.engine.recurring import Schedule
from embedq.errors import ScheduleNotFoundError
from embedq.operations.monitor import SchedulePage
from embedq.storage.inspect import ScheduleState

HISTORY_LENGTH = 100
UPCOMING = 10
DAYS = {"1": 1, "3": 3, "7": 7, "31": 31}
MAX_AHEAD = timedelta(days=10 * 365)
# The calendar of few schedules is complete; that of many is limited to this number of runs.
FEW_SCHEDULES, RUNS_OF_FEW, RUNS_OF_MANY = 100, 10_000, 300
# The number of listed schedules that fire too often for the calendar.
FREQUENT = 20


def show(visit: Visit) -> Response:
    """Show one page of recurring jobs."""
    given = visit.request.query_params.multi_items()
    if not all(value for _, value in given):
        # A form also submits its empty fields.
        return visit.go_to(visit.url("recurring", **{name: value for name, value in given if value}))
    page = find(visit, size_of(visit))
    return visit.page(
        "recurring.html",
        schedules=page.schedules,
        page=page,
        troubles=visit.queue.monitor.trouble_of(page.schedules),
        states=list(ScheduleState),
        state=state_of(visit),
        part=visit.query.get("name", ""),
    )


def find(visit: Visit, size: int) -> SchedulePage:
    """Return one page of the matching recurring jobs."""
    return visit.queue.monitor.schedules(
        name=visit.query.get("name"),
        state=state_of(visit),
        after=visit.query.get("after"),
        before=visit.query.get("before"),
        limit=size,
    )


def state_of(visit: Visit) -> ScheduleState | None:
    """Return the requested state. BadRequest if it is invalid."""
    text = visit.query.get("state", "")
    if text and text not in set(ScheduleState):
        raise BadRequest(f"state={text[:20]!r} must be one of: {', '.join(ScheduleState)}")
    return ScheduleState(text) if text else None


def one(visit: Visit) -> Response:
    """Show one recurring job with its history and its upcoming runs."""
    name = visit.name
    found = visit.queue.schedule(name)
    calendar_ = visit.queue.monitor.calendar(visit.now, visit.now + timedelta(days=400), each=UPCOMING, schedule=name)
    return visit.page(
        "schedule.html",
        schedule=found,
        trouble=visit.queue.monitor.trouble_of([found]).get(name),
        occurrences=visit.queue.occurrences(name, HISTORY_LENGTH),
        upcoming=calendar_.occurrences,
    )


def calendar(visit: Visit) -> Response:
    """Show the runs of the coming days, or from a given day on."""
    days = visit.query.get("days", "7")
    if days not in DAYS:
        raise BadRequest(f"days={days[:20]!r} must be one of: {', '.join(DAYS)}")
    today, length = visit.now.date(), timedelta(days=DAYS[days])
    first = _first_day(visit.query.get("from", ""), today)
    start, end = max(visit.now, midnight(first)), midnight(first) + length
    part = visit.query.get("name", "")
    few = len(visit.queue.schedules(name=part, state=ScheduleState.ACTIVE, limit=FEW_SCHEDULES + 1)) <= FEW_SCHEDULES
    most = RUNS_OF_FEW if few else RUNS_OF_MANY
    found = visit.queue.monitor.calendar(start, end, each=24 + 4 * DAYS[days], most=most, name=part)
    return visit.page(
        "calendar.html",
        agenda=by_day((one for one in found.occurrences if one.schedule not in found.dense), found.zones, start, end),
        frequent=_named(visit, list(found.dense)[:FREQUENT]),
        more_frequent=max(0, len(found.dense) - FREQUENT),
        until=found.until,
        part=part,
        days=days,
        choices=list(DAYS),
        first=first,
        last=first + length - timedelta(days=1),
        earlier=max(today, first - length) if first > today else None,
        later=first + length,
        today=today,
    )


def _named(visit: Visit, names: list[str]) -> list[Schedule]:
    found = []
    for name in names:
        with suppress(ScheduleNotFoundError):
            found.append(visit.queue.schedule(name))
    return found


def _first_day(text: str, today: date) -> date:
    """Return the first day of the calendar, today or later. BadRequest if it is invalid or too far ahead."""
    try:
        day = date.fromisoformat(text) if text else today
    except ValueError:
        raise BadRequest(f"from={text[:20]!r} is not a date; write it like 2026-06-01") from None
    if day > today + MAX_AHEAD:
        raise BadRequest(f"from={text[:20]} is too far ahead; the calendar goes {MAX_AHEAD.days // 365} years ahead")
    return max(day, today)

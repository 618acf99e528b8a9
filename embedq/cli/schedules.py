"""`embedq schedules`: recurring jobs, their ledgers, and pausing, resuming, removing and triggering them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.session import (
    Session,
    bold,
    dim,
    hint,
    iso,
    now_of,
    pass_session,
    room_left,
    say,
    shared_options,
    table,
    width,
)
from embedq.cli.text import absolute, both, clip, relative, safe, span
from embedq.errors import ScheduleNotFoundError
from embedq.misfire import Misfire
from embedq.recurring import Schedule
from embedq.schedule import Cron, Every
from embedq.storage.inspect import Occurrence
from embedq.wording import exactly

C = TypeVar("C", bound=Callable[..., Any])

UPCOMING = 5
LABEL = 10


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def schedules(ctx: click.Context) -> None:
    """List recurring jobs, or act on one.

    Without a command it lists them.
    """
    if ctx.invoked_subcommand is not None:
        return
    session = ctx.ensure_object(Session)
    app = session.open()
    found = app.schedules()
    if session.json:
        session.emit({"schedules": [_document(schedule) for schedule in found]})
    elif not found:
        say("no recurring jobs; embedq.recurring(name, when, function) adds one")
    else:
        say(_table(found, now_of(app)))


def _table(found: list[Schedule], now: datetime) -> str:
    headers = ["NAME", "WHEN", "NEXT", "LAST", "RUNS"]
    rows = [
        [
            clip(safe(schedule.name), 28),
            clip(_when(schedule.when), 34),
            _next(schedule, now),
            "never" if schedule.last_fire_at is None else relative(schedule.last_fire_at, now),
        ]
        for schedule in found
    ]
    room = room_left(headers, rows)
    for row, schedule in zip(rows, found, strict=True):
        task = clip(safe(schedule.task), room)
        row.append(f"{task}\n{click.style(clip(safe(schedule.error), room), fg='red')}" if schedule.error else task)
    return table(headers, rows)


def _when(when: Cron | Every | None) -> str:
    match when:
        case Every():
            return f"every {exactly(when.interval.total_seconds())}"
        case Cron():
            return safe(f"{when.expression}  {when.timezone}")
        case None:
            return "cannot be read here"


def _next(schedule: Schedule, now: datetime) -> str:
    if schedule.paused:
        return click.style("paused", fg="yellow")
    return relative(schedule.next_fire_at, now) if schedule.next_fire_at > now else "due"


def _document(schedule: Schedule) -> dict[str, Any]:
    cron = schedule.when if isinstance(schedule.when, Cron) else None
    return {
        "name": schedule.name,
        "cron": None if cron is None else cron.expression,
        "timezone": None if cron is None else cron.timezone,
        "every_seconds": schedule.when.interval.total_seconds() if isinstance(schedule.when, Every) else None,
        "misfire": None if schedule.misfire is None else _misfire_document(schedule.misfire),
        "task": schedule.task,
        "queue": schedule.queue,
        "paused": schedule.paused,
        "next_fire_at": iso(schedule.next_fire_at),
        "last_fire_at": iso(schedule.last_fire_at),
        "last_job_id": schedule.last_job_id,
        "error": schedule.error,
    }


def _misfire_document(misfire: Misfire) -> dict[str, Any]:
    return {
        "policy": misfire.policy,
        "max": misfire.max if misfire.policy == "all" else None,
        "grace_seconds": None if misfire.grace is None else misfire.grace.total_seconds(),
    }


def _find(app: EmbedQ, name: str) -> Schedule:
    for schedule in app.schedules():
        if schedule.name == name:
            return schedule
    raise ScheduleNotFoundError(f"no recurring job named {name!r}; embedq schedules lists them")


# -- one of them -------------------------------------------------------------------------------------------------------


@schedules.command()
@click.argument("name")
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    metavar="N",
    help="How many lines of the ledger.",
)
@shared_options
@pass_session
def show(session: Session, name: str, limit: int) -> None:
    """Show a recurring job: its next times, and the ledger of what became of the last ones."""
    app = session.open()
    schedule = _find(app, name)
    now = now_of(app)
    upcoming = _upcoming(schedule, now)
    ledger = app.occurrences(name, limit) if limit else []
    if session.json:
        session.emit(
            {
                **_document(schedule),
                "upcoming": [iso(moment) for moment in upcoming],
                "occurrences": [_occurrence(line) for line in ledger],
            }
        )
        return
    say(bold(safe(name)) + (f"  {_next(schedule, now)}" if schedule.paused else ""))
    say(safe(schedule.task))
    say()
    for label, text in _known(schedule, now):
        say(f"  {dim(label.ljust(LABEL))}{text}")
    if upcoming:
        _title("Next" if not schedule.paused else "Next, once resumed")
        for moment in upcoming:
            # In the schedule's own zone: that is where its rule is read.
            say(f"  {moment:%a %Y-%m-%d %H:%M:%S %Z}  {dim(relative(moment, now))}")
    _title("Ledger")
    say(_ledger(ledger) if ledger else "  nothing yet")


def _title(text: str) -> None:
    say()
    say(bold(text))


def _upcoming(schedule: Schedule, now: datetime) -> list[datetime]:
    """The next times, the first of which is the one that is stored: it may be overdue."""
    if schedule.when is None:
        return []
    if schedule.paused:
        return schedule.when.upcoming(UPCOMING, after=now)
    first = schedule.next_fire_at
    return [first.astimezone(schedule.when.next(first).tzinfo), *schedule.when.upcoming(UPCOMING - 1, after=first)]


def _known(schedule: Schedule, now: datetime) -> list[tuple[str, str]]:
    known = [("when", _when(schedule.when)), ("queue", safe(schedule.queue or "unknown"))]
    if schedule.misfire is not None:
        known.append(("missed", _policy(schedule.misfire)))
    if schedule.last_fire_at is not None:
        known.append(("last", f"{both(schedule.last_fire_at, now)}, job {schedule.last_job_id}"))
    if schedule.error is not None:
        known.append(("error", click.style(safe(schedule.error), fg="red")))
    return known


def _policy(misfire: Misfire) -> str:
    said = {
        "once": "one late run for all",
        "skip": "skipped",
        "all": f"each runs late, the latest {misfire.max}",
    }[misfire.policy]
    return said if misfire.grace is None else f"{said}, if no later than {span(misfire.grace.total_seconds())}"


def _ledger(lines: list[Occurrence]) -> str:
    rows = []
    for line in lines:
        job = "" if line.job_id is None else f"job {line.job_id}"
        count = "" if line.count == 1 else f"{line.count:,} times up to {absolute(line.last_fire_at)}"
        said = ", ".join(part for part in (job, count, safe(line.reason or "")) if part)
        rows.append([f"  {absolute(line.fire_at)}", line.outcome, clip(said, max(24, width() - 40))])
    return "\n".join(f"  {cells}" for cells in table(["FOR", "OUTCOME", ""], rows).splitlines())


def _occurrence(line: Occurrence) -> dict[str, Any]:
    return {
        "fire_at": iso(line.fire_at),
        "last_fire_at": iso(line.last_fire_at),
        "outcome": line.outcome,
        "count": line.count,
        "job_id": line.job_id,
        "reason": line.reason,
        "recorded_at": iso(line.recorded_at),
    }


@schedules.command()
@click.argument("name")
@shared_options
@pass_session
def pause(session: Session, name: str) -> None:
    """Let a recurring job rest until it is resumed."""
    app = session.open()
    app.pause_recurring(name)
    _changed(session, app, name, "paused")


@schedules.command()
@click.argument("name")
@shared_options
@pass_session
def resume(session: Session, name: str) -> None:
    """Let a recurring job fire again, from its next time on."""
    app = session.open()
    app.resume_recurring(name)
    _changed(session, app, name, "resumed")


def _changed(session: Session, app: EmbedQ, name: str, done: str) -> None:
    schedule = _find(app, name)
    if session.json:
        session.emit(_document(schedule))
        return
    following = "" if schedule.paused else f"; next {both(schedule.next_fire_at, now_of(app))}"
    say(f"{safe(name)}: {done}{following}")


@schedules.command()
@click.argument("name")
@shared_options
@pass_session
def trigger(session: Session, name: str) -> None:
    """Run a recurring job now, besides its times."""
    handle = session.open().trigger_recurring(name)
    if session.json:
        session.emit({"name": name, "job_id": handle.id})
    else:
        say(f"{safe(name)}: enqueued job {handle.id}")


@schedules.command()
@click.argument("name")
@shared_options
@pass_session
def remove(session: Session, name: str) -> None:
    """Forget a recurring job. The jobs that it has made stay."""
    session.open().remove_recurring(name)
    if session.json:
        session.emit({"name": name, "removed": True})
    else:
        say(f"{safe(name)}: removed")
        hint("if the application still calls embedq.recurring for it, its next start adds it again")

"""`embedq schedules`: list recurring jobs, show their history, and pause, resume, remove or trigger them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.invocation import (
    Invocation,
    bold,
    dim,
    hint,
    iso,
    now_of,
    pass_invocation,
    room_left,
    say,
    shared_options,
    table,
    width,
)
from embedq.cli.text import absolute, both, clip, relative, safe, span
from embedq.display.json_values import as_json
from embedq.engine.recurring import Schedule
from embedq.operations.upcoming import schedule_text, schedule_words
from embedq.scheduling.misfire import Misfire
from embedq.scheduling.overlap import overlap_words
from embedq.scheduling.schedule import Cron, Every
from embedq.storage.inspect import Occurrence, ScheduleState

C = TypeVar("C", bound=Callable[..., Any])

UPCOMING = 5
LABEL = 10


@click.group(invoke_without_command=True)
@click.option("--name", metavar="PART", help="Only those whose name contains this.")
@click.option("--state", type=click.Choice([state.value for state in ScheduleState]), help="Only those in this state.")
@click.option("--after", metavar="NAME", help="Only those after this name: the next page.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=200, show_default=True, metavar="N", help="The maximum number."
)
@shared_options
@click.pass_context
def schedules(ctx: click.Context, name: str | None, state: str | None, after: str | None, limit: int) -> None:
    """List recurring jobs, or act on one.

    Without a command, list them by name.
    """
    if ctx.invoked_subcommand is not None:
        return
    invocation = ctx.ensure_object(Invocation)
    app = invocation.open()
    page = app.monitor.schedules(name=name, state=state, after=after, limit=limit)
    if invocation.json:
        invocation.emit({"schedules": [_document(schedule) for schedule in page.schedules], "next": page.next})
    elif not page.schedules:
        say(
            "no recurring jobs match"
            if name or state or after
            else "no recurring jobs; embedq.recurring(name, when, function) adds one"
        )
    else:
        say(_table(page.schedules, now_of(app)))
        if page.next is not None:
            hint(f"next page: --after {shlex.quote(safe(page.next))}, or --name PART")


def _table(found: list[Schedule], now: datetime) -> str:
    headers = ["NAME", "WHEN", "NEXT", "LAST", "RUNS"]
    rows = [
        [
            clip(safe(schedule.name), 28),
            clip(schedule_text(schedule.when), 34),
            _next(schedule, now),
            "never" if schedule.last_fire_at is None else relative(schedule.last_fire_at, now),
        ]
        for schedule in found
    ]
    room = room_left(headers, rows)
    for row, schedule in zip(rows, found, strict=True):
        task = clip(safe(schedule.task), room)
        note = click.style(clip(safe(schedule.error), room), fg="red") if schedule.error else ""
        if schedule.missing_since is not None and not note:
            note = click.style(clip("no longer in the code", room), fg="yellow")
        row.append(f"{task}\n{note}" if note else task)
    return table(headers, rows)


def _next(schedule: Schedule, now: datetime) -> str:
    if schedule.paused:
        return click.style("paused", fg="yellow")
    return relative(schedule.next_fire_at, now) if schedule.next_fire_at > now else "due"


def _document(schedule: Schedule) -> dict[str, Any]:
    cron = schedule.when if isinstance(schedule.when, Cron) else None
    return {
        "name": schedule.name,
        "cron": None if cron is None else cron.expression,
        "in_words": schedule_words(schedule.when),
        "timezone": None if cron is None else cron.timezone,
        "every_seconds": schedule.when.interval.total_seconds() if isinstance(schedule.when, Every) else None,
        "misfire": None if schedule.misfire is None else _misfire_document(schedule.misfire),
        "overlap": schedule.overlap,
        "task": schedule.task,
        "queue": schedule.queue,
        "paused": schedule.paused,
        "next_fire_at": iso(schedule.next_fire_at),
        "last_fire_at": iso(schedule.last_fire_at),
        "last_job_id": schedule.last_job_id,
        "missing_since": iso(schedule.missing_since),
        "error": schedule.error,
    }


def _misfire_document(misfire: Misfire) -> dict[str, Any]:
    return {
        "policy": misfire.policy,
        "max": misfire.max if misfire.policy == "all" else None,
        "grace_seconds": None if misfire.grace is None else misfire.grace.total_seconds(),
    }


# -- one recurring job -------------------------------------------------------------------------------------------------


@schedules.command()
@click.argument("name")
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    metavar="N",
    help="The number of lines of the history.",
)
@shared_options
@pass_invocation
def show(invocation: Invocation, name: str, limit: int) -> None:
    """Show a recurring job: its next times, and the history of the last ones."""
    app = invocation.open()
    schedule = app.schedule(name)
    now = now_of(app)
    upcoming = _upcoming(schedule, now)
    occurrences = app.occurrences(name, limit) if limit else []
    if invocation.json:
        invocation.emit(
            {
                **_document(schedule),
                "upcoming": [iso(moment) for moment in upcoming],
                "occurrences": as_json(occurrences),
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
            # In the schedule's time zone, to which its rule refers.
            say(f"  {moment:%a %Y-%m-%d %H:%M:%S %Z}  {dim(relative(moment, now))}")
    _title("History")
    say(_history(occurrences) if occurrences else "  none yet")


def _title(text: str) -> None:
    say()
    say(bold(text))


def _upcoming(schedule: Schedule, now: datetime) -> list[datetime]:
    """Return the next times. The first is the stored one, which may be overdue."""
    if schedule.when is None:
        return []
    if schedule.paused:
        return schedule.when.upcoming(UPCOMING, after=now)
    first = schedule.next_fire_at
    return [first.astimezone(schedule.when.next(first).tzinfo), *schedule.when.upcoming(UPCOMING - 1, after=first)]


def _known(schedule: Schedule, now: datetime) -> list[tuple[str, str]]:
    known = [("when", schedule_text(schedule.when))]
    if words := schedule_words(schedule.when):
        known.append(("in words", words))
    known.append(("queue", safe(schedule.queue or "unknown")))
    if schedule.misfire is not None:
        known.append(("missed", _policy(schedule.misfire)))
    known.append(("overlap", overlap_words(schedule.overlap)))
    if schedule.last_fire_at is not None:
        known.append(("last", f"{both(schedule.last_fire_at, now)}, job {schedule.last_job_id}"))
    if schedule.missing_since is not None:
        known.append(("missing", f"no longer in the code since {both(schedule.missing_since, now)}"))
    if schedule.error is not None:
        known.append(("error", click.style(safe(schedule.error), fg="red")))
    return known


def _policy(misfire: Misfire) -> str:
    text = {
        "once": "one late run for all",
        "skip": "skipped",
        "all": f"each runs late, the latest {misfire.max}",
    }[misfire.policy]
    return text if misfire.grace is None else f"{text}, if no later than {span(misfire.grace.total_seconds())}"


def _history(lines: list[Occurrence]) -> str:
    rows = []
    for line in lines:
        job = "" if line.job_id is None else f"job {line.job_id} {line.job_state or 'pruned'}"
        count = "" if line.count == 1 else f"{line.count:,} times up to {absolute(line.last_fire_at)}"
        text = ", ".join(part for part in (job, count, safe(line.reason or "")) if part)
        rows.append([f"  {absolute(line.fire_at)}", line.outcome, clip(text, max(24, width() - 40))])
    return "\n".join(f"  {cells}" for cells in table(["FOR", "OUTCOME", ""], rows).splitlines())


@schedules.command()
@click.argument("name")
@shared_options
@pass_invocation
def pause(invocation: Invocation, name: str) -> None:
    """Pause a recurring job until it is resumed."""
    app = invocation.open()
    app.pause_recurring(name)
    _changed(invocation, app, name, "paused")


@schedules.command()
@click.argument("name")
@shared_options
@pass_invocation
def resume(invocation: Invocation, name: str) -> None:
    """Resume a recurring job, from its next time on."""
    app = invocation.open()
    app.resume_recurring(name)
    _changed(invocation, app, name, "resumed")


def _changed(invocation: Invocation, app: EmbedQ, name: str, done: str) -> None:
    schedule = app.schedule(name)
    if invocation.json:
        invocation.emit(_document(schedule))
        return
    following = "" if schedule.paused else f"; next {both(schedule.next_fire_at, now_of(app))}"
    say(f"{safe(name)}: {done}{following}")


@schedules.command()
@click.argument("name")
@shared_options
@pass_invocation
def trigger(invocation: Invocation, name: str) -> None:
    """Run a recurring job now, in addition to its schedule."""
    handle = invocation.open().trigger_recurring(name)
    if invocation.json:
        invocation.emit({"name": name, "job_id": handle.id})
    else:
        say(f"{safe(name)}: enqueued job {handle.id}")


@schedules.command()
@click.argument("name")
@shared_options
@pass_invocation
def remove(invocation: Invocation, name: str) -> None:
    """Remove a recurring job. Jobs that it has already enqueued are kept."""
    invocation.open().remove_recurring(name)
    if invocation.json:
        invocation.emit({"name": name, "removed": True})
    else:
        say(f"{safe(name)}: removed")
        hint("if the application still declares it with embedq.recurring, its next start adds it again")

"""`embedq pause`, `resume`, `holds` and `quiet`: let no job start of a queue, of a task, at all, or in one process."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

import click

from embedq.app import EmbedQ
from embedq.cli.invocation import Invocation, hint, now_of, pass_invocation, room_left, say, shared_options, table
from embedq.cli.text import both, clip, relative, safe
from embedq.display.json_values import as_json
from embedq.flow.holds import HoldKind
from embedq.storage.holds import Hold
from embedq.storage.inspect import Server

C = TypeVar("C", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Return a duration of a number and a unit."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhd])", value.strip())
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else _bad(value, "90s, 30m, 2h or 1d")
    except OverflowError:
        return _bad(value, "90s, 30m, 2h or 1d")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return a time in ISO 8601; without a zone it is on this machine's clock."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        return _bad(value, "2026-06-01T09:00")


def _bad(value: str, example: str) -> NoReturn:
    raise click.BadParameter(f"{safe(value)!r}; write it like {example}")


def targets(command: C) -> C:
    """Add the options that name what is paused."""
    command = click.option("--all", "everything", is_flag=True, help="Everything.")(command)
    command = click.option("--task", metavar="NAME", help="One task, by its name: shop.mail:send.")(command)
    return click.option("--queue", metavar="NAME", help="One queue.")(command)


def ends(command: C) -> C:
    """Add the options for the end, the reason and the name."""
    command = click.option(
        "--actor", metavar="NAME", default=None, help="Your name, for the audit log. [default: the user's]"
    )(command)
    command = click.option("--reason", metavar="TEXT", default="", help="Why, for people.")(command)
    command = click.option("--for", "length", callback=_duration, help="End by itself after this: 90s, 30m, 2h, 1d.")(
        command
    )
    return click.option(
        "--until", callback=_moment, help="End by itself at this time: 2026-06-01T09:00, on this machine's clock."
    )(command)


@click.command()
@targets
@ends
@shared_options
@pass_invocation
def pause(
    invocation: Invocation, queue: str | None, task: str | None, everything: bool, until: datetime | None,
    length: timedelta | None, reason: str, actor: str | None,
) -> None:  # fmt: skip
    """Let no job of a queue or task start, or none at all. Running jobs continue.

    Stored: it holds in all processes, and survives deployments.
    """
    _require_one(queue, task, everything)
    app = invocation.open()
    hold = app.pause(queue=queue, task=task, until=_end(until, length), reason=reason, actor=actor or user())
    _report(invocation, app, hold)


@click.command()
@targets
@click.option("--actor", metavar="NAME", default=None, help="Your name, for the audit log. [default: the user's]")
@shared_options
@pass_invocation
def resume(invocation: Invocation, queue: str | None, task: str | None, everything: bool, actor: str | None) -> None:
    """End the pause of a queue or a task, or that of everything."""
    _require_one(queue, task, everything)
    app = invocation.open()
    resumed = app.resume(queue=queue, task=task, actor=actor or user())
    what = f"queue {queue}" if queue is not None else f"task {task}" if task is not None else "everything"
    _resumed(invocation, app, what, resumed)


@click.command()
@click.argument("process")
@click.option("--undo", is_flag=True, help="Let it claim jobs again.")
@ends
@shared_options
@pass_invocation
def quiet(
    invocation: Invocation, process: str, undo: bool, until: datetime | None, length: timedelta | None, reason: str,
    actor: str | None,
) -> None:  # fmt: skip
    """Let one process claim no job, and finish what it runs.

    PROCESS is its number in `embedq servers`, or host:pid.
    """
    app = invocation.open()
    if undo:
        _resumed(invocation, app, f"process {process}", app.resume(process=process, actor=actor or user()))
    else:
        hold = app.pause(process=process, until=_end(until, length), reason=reason, actor=actor or user())
        _report(invocation, app, hold)


@click.command()
@shared_options
@pass_invocation
def holds(invocation: Invocation) -> None:
    """List what is paused: by which person or program, until when, and why."""
    app = invocation.open()
    found = app.holds()
    if invocation.json:
        invocation.emit({"holds": as_json(found)})
    elif not found:
        say("nothing is paused")
    else:
        now, servers = now_of(app), app.servers()
        headers = ["PAUSED", "SINCE", "UNTIL", "BY", "REASON"]
        rows = [
            [
                clip(safe(_named(hold, servers)), 60), relative(hold.since, now),
                "resumed" if hold.until is None else relative(hold.until, now), clip(safe(hold.actor), 24),
            ]
            for hold in found
        ]  # fmt: skip
        room = room_left(headers, rows)
        for row, hold in zip(rows, found, strict=True):
            row.append(clip(safe(hold.reason), room))
        say(table(headers, rows))


def _require_one(queue: str | None, task: str | None, everything: bool) -> None:
    if (queue is not None) + (task is not None) + everything != 1:
        raise click.UsageError("name one of --queue NAME, --task NAME and --all")


def _end(until: datetime | None, length: timedelta | None) -> datetime | timedelta | None:
    if until is not None and length is not None:
        raise click.UsageError("give --until or --for, not both")
    return length if until is None else until


def user() -> str:
    """Return the name of the user, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A user without a name, as in a container.
        return "embedq"


def _named(hold: Hold, servers: list[Server]) -> str:
    """Return what is paused, for people: a process by its host and pid."""
    if hold.kind is HoldKind.PROCESS:
        for server in servers:
            if server.uuid == hold.name:
                return f"process {server.hostname}:{server.pid}"
    return str(hold)


def _report(invocation: Invocation, app: EmbedQ, hold: Hold) -> None:
    if invocation.json:
        invocation.emit(as_json(hold))
        return
    end = "resumed" if hold.until is None else both(hold.until, now_of(app))
    say(f"{safe(_named(hold, app.servers()))}: paused until {end}")


def _resumed(invocation: Invocation, app: EmbedQ, what: str, resumed: bool) -> None:
    if invocation.json:
        invocation.emit({"resumed": resumed})
        return
    say(f"{safe(what)}: {'resumed' if resumed else 'was not paused'}")
    if others := len(app.holds()):
        hint(f"still paused: {others}; embedq holds")

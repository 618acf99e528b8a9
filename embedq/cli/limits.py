"""`embedq limits`: how many jobs may run at once and start in a while, how many do, and changing that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click

from embedq.app import EmbedQ
from embedq.cli.holds import user
from embedq.cli.invocation import Invocation, dim, hint, now_of, pass_invocation, room_left, say, shared_options, table
from embedq.cli.text import clip, duration, relative, safe, span
from embedq.display.json_values import as_json
from embedq.operations.limiting import KEPT, Limiting
from embedq.storage.limit_use import KeyUse, LimitUse, RateUse

# Saturated keys that a line of text lists; --json has more.
SHOWN_KEYS = 5
LONGEST_NAME, LONGEST_KEY = 40, 40


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def limits(ctx: click.Context) -> None:
    """List limits and rates with their use, or change a limit.

    Without a command, list them by name: how many jobs run and wait under
    each, the keys that are full, and what was set at run time.
    """
    if ctx.invoked_subcommand is not None:
        return
    invocation = ctx.ensure_object(Invocation)
    app = invocation.open()
    found = app.limits()
    if invocation.json:
        invocation.emit({"limits": as_json(found)})
    elif not found:
        say("no limits; @embedq.job(concurrency=embedq.Limit(5)) adds one when a job under it is met")
    else:
        say(_table(found, now_of(app)))


@limits.command("set")
@click.argument("name")
@click.option("--total", type=click.IntRange(0, 1_000_000_000), metavar="N", help="How many may run at once, in all.")
@click.option("--each", type=click.IntRange(0, 1_000_000_000), metavar="N", help="How many for each key.")
@click.option("--reset", is_flag=True, help="Let the code's values apply again, except for what is given beside it.")
@click.option("--actor", metavar="NAME", default=None, help="Your name, for the audit log. [default: the user's]")
@shared_options
@pass_invocation
def set_limit(
    invocation: Invocation, name: str, total: int | None, each: int | None, reset: bool, actor: str | None
) -> None:
    """Change a limit for all processes, until it is reset. Running jobs continue.

    What is set wins over the code, and survives deployments. With 0 no
    further job starts. The limit of a function has the function's name.
    """
    if total is None and each is None and not reset:
        raise click.UsageError("give --total N, --each N, or --reset")
    app = invocation.open()
    kept = None if reset else KEPT
    Limiting(app.engine).change(
        name,
        total=kept if total is None else total,
        each=kept if each is None else each,
        actor=actor or user(),
    )
    _report(invocation, app, name, each)


def _report(invocation: Invocation, app: EmbedQ, name: str, each: int | None) -> None:
    use = next(use for use in app.limits() if use.name == name)
    if invocation.json:
        invocation.emit(as_json(use))
        return
    code = "" if use.changed else ", as in the code"
    say(f"{safe(name)}: total {_bound(use.total)}, for each key {_bound(use.each)}{code}")
    if each is not None and use.code_each is None and not any(rate.keyed for rate in use.rates):
        hint("the code gives this limit no number for each key; --each applies only if its jobs have a key (per=…)")


def _table(found: list[LimitUse], now: datetime) -> str:
    headers = ["LIMIT", "RUN", "TOTAL", "EACH", "WAIT", ""]
    rows = [
        [
            clip(safe(use.name), LONGEST_NAME), f"{use.running:,}", _bound(use.total), _bound(use.each),
            str(use.waiting),
        ]
        for use in found
    ]  # fmt: skip
    room = room_left(headers, rows)
    for row, use in zip(rows, found, strict=True):
        row.append("\n".join(_styled(clip(text, room), colour) for text, colour in _notes(use, now)))
    return table(headers, rows, right=[1, 2, 3, 4])


def _styled(text: str, colour: str | None) -> str:
    return dim(text) if colour is None else click.style(text, fg=colour)


def _bound(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _notes(use: LimitUse, now: datetime) -> Iterator[tuple[str, str | None]]:
    """Yield what there is beside the numbers, a line each, with its colour; None for a quiet one."""
    if use.full:
        yield "full", "yellow"
    if use.closed_until is not None:
        yield f"closed, since a job was refused; opens {relative(use.closed_until, now)}", "yellow"
    if use.saturated:
        shown = ", ".join(map(_key, use.saturated[:SHOWN_KEYS]))
        more = use.saturated_keys.number - SHOWN_KEYS
        yield f"full keys: {shown}{f', and {more:,} more' if more > 0 else ''}", "yellow"
    for rate in use.rates:
        yield f"rate {rate}{_rate(rate)}", None if rate.free is None or rate.free else "yellow"
    if use.changed:
        by = "" if use.set_at is None else f" by {clip(safe(use.set_by or ''), 24)} {relative(use.set_at, now)}"
        yield f"set{by}; in the code: total {_bound(use.code_total)}, each {_bound(use.code_each)}", None


def _key(use: KeyUse) -> str:
    oldest = "" if use.oldest_seconds is None else f", {use.waiting} waiting, the oldest for {span(use.oldest_seconds)}"
    return f"{clip(safe(use.key), LONGEST_KEY)} ({use.reason}{oldest})"


def _rate(rate: RateUse) -> str:
    if rate.free is None:
        return ""
    return f": {rate.free} may start now" if rate.free else f": next in {duration(rate.next_in or 0.0)}"

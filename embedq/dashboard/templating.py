"""How things are written on a page: times, durations, calls, and links. Everything is escaped unless it is Markup."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from embedq.app import EmbedQ
from embedq.dashboard import assets
from embedq.job import Job
from embedq.readable import UNREADABLE, parsed, readable_call, readable_value, safe
from embedq.schedule import Cron, Every
from embedq.wording import counted, duration, exactly, relative, span

if TYPE_CHECKING:
    from embedq.dashboard.site import Site
    from embedq.dashboard.visit import Visit

CALL_IN_A_LIST = 160
VALUE_ON_A_PAGE = 20_000


def environment(site: Site) -> Environment:
    """Where the templates of one dashboard are read and filled."""
    made = Environment(
        loader=PackageLoader("embedq.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        exact=exact,
        duration=duration,
        span=span,
        number=number,
        percent=percent,
        line=line,
        counted=counted,
        rhythm=rhythm,
        safe_text=safe_text,
    )
    made.globals.update(asset=_asset, when=when, since=since, call=call)
    return made


def _asset(visit: Visit, name: str) -> str:
    """The link to a file that never changes under it."""
    return visit.url("static", name, v=assets.version(name))


def when(moment: datetime | None, now: datetime) -> Markup:
    """A moment as seen from now, with the exact one on hover."""
    if moment is None:
        return Markup('<span class="quiet">–</span>')
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(), exact(moment), relative(moment, now)
    )


def since(moment: datetime, now: datetime) -> Markup:
    """How long ago a moment was, without saying "ago"."""
    return Markup('<time datetime="{}" title="{}" data-length>{}</time>').format(
        moment.astimezone(UTC).isoformat(), exact(moment), span((now - moment).total_seconds())
    )


def exact(moment: datetime) -> str:
    """`2026-06-01 12:00:03 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def rhythm(when: Cron | Every | None) -> str:
    """A schedule in words: `every 5 min`, `0 4 * * * Europe/Berlin`."""
    match when:
        case Every():
            return f"every {exactly(when.interval.total_seconds())}"
        case Cron():
            return safe(f"{when.expression} {when.timezone}")
    return "cannot be read here"


def number(value: float) -> str:
    """`12,345`."""
    return f"{value:,.0f}"


def percent(share: float | None) -> str:
    """`1.2 %`; a dash for None."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.{0 if share >= 0.1 or share == 0 else 1}f} %"


def line(text: str | None, limit: int = 160) -> str:
    """The first line of a text, cut; what does not print is escaped."""
    first = (text or "").strip().partition("\n")[0]
    return safe(first if len(first) <= limit else f"{first[:limit]}…")


def safe_text(text: str) -> str:
    """Several lines: what does not print, or turns the direction of writing, is escaped; line ends and tabs stay."""
    return "\n".join(safe(part) for part in text.replace("\r\n", "\n").expandtabs(4).split("\n"))


def call(visit: Visit, job: Job, limit: int = CALL_IN_A_LIST) -> Markup:
    """A job's call on one line, `mail:send(7, copy=True)`, without secrets; the function stands out."""
    shown = visit.site.redaction.arguments(job.arguments, parameters(visit.queue, job.name))
    whole = readable_call(job.name, shown, limit=limit)
    name = safe(job.name[:limit])
    module, colon, function = name.rpartition(":")
    rest = escape(whole[len(name) :]) if whole.startswith(name) else escape(whole)
    return Markup(
        '<span class="module">{}</span><span class="function">{}</span><span class="arguments">{}</span>'
    ).format(f"{module}{colon}", function, rest)


def arguments(visit: Visit, job: Job) -> list[tuple[str, str]] | None:
    """A job's arguments by name, or by place where the name is not known here; None if they cannot be read."""
    names = parameters(visit.queue, job.name)
    match parsed(visit.site.redaction.arguments(job.arguments, names)):
        case [list() as args, dict() as kwargs]:
            # Names that are in the way of the tag's own key are stored as pairs; they are shown as one value.
            named = [("**", kwargs)] if "$" in kwargs else list(kwargs.items())
            placed = [
                (names[place] if place < len(names) else str(place + 1), value) for place, value in enumerate(args)
            ]
            return [
                (safe(name), readable_value(json.dumps(value), limit=VALUE_ON_A_PAGE)) for name, value in placed + named
            ]
    return None


def result(visit: Visit, job: Job) -> str | None:
    """What a job returned, without secrets."""
    if job.result is None:
        return None
    text = readable_value(visit.site.redaction.value(job.result), limit=VALUE_ON_A_PAGE)
    return None if text == UNREADABLE and job.result == "" else text


def parameters(queue: EmbedQ, name: str) -> Sequence[str]:
    """The names of a function's positional parameters, where it is registered in this process; nothing is imported."""
    task = queue.engine.registry.get(name)
    return () if task is None else _parameters(task.function)


@lru_cache(maxsize=1000)
def _parameters(function: Any) -> Sequence[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(parameter.name for parameter in signature.parameters.values() if parameter.kind in kinds)

"""Formatting for templates: times, durations, calls and links. Everything is escaped unless it is Markup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from embedq.clock import DamagedMoment
from embedq.dashboard import assets
from embedq.dashboard.parameters import parameters
from embedq.dashboard.verbs import JOB_VERBS
from embedq.dashboard.visit import Visit
from embedq.display.calls import UNREADABLE, parsed, readable_call, readable_value, safe
from embedq.display.units import counted, duration, relative, span
from embedq.job import Job
from embedq.operations.upcoming import schedule_text, schedule_words
from embedq.scheduling.overlap import overlap_words

CALL_IN_A_LIST = 160
VALUE_ON_A_PAGE = 20_000


def environment() -> Environment:
    """Return the template environment of one dashboard."""
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
        schedule_text=schedule_text,
        schedule_words=schedule_words,
        overlap_words=overlap_words,
        safe_text=safe_text,
    )
    made.globals.update(asset=_asset, when=when, since=since, call=call, job_verbs=JOB_VERBS)
    return made


def _asset(visit: Visit, name: str) -> str:
    """Return the link to a static file, with its version."""
    return visit.url("static", name, v=assets.version(name))


def when(moment: datetime | None, now: datetime) -> Markup:
    """Return a moment relative to now; its tooltip is the exact time."""
    if moment is None:
        return Markup('<span class="quiet">–</span>')
    if isinstance(moment, DamagedMoment):
        return _damaged(moment)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(), exact(moment), relative(moment, now)
    )


def since(moment: datetime, now: datetime) -> Markup:
    """Return the time since a moment, without "ago"."""
    if isinstance(moment, DamagedMoment):
        return _damaged(moment)
    return Markup('<time datetime="{}" title="{}" data-length>{}</time>').format(
        moment.astimezone(UTC).isoformat(), exact(moment), span((now - moment).total_seconds())
    )


def _damaged(moment: DamagedMoment) -> Markup:
    return Markup('<span class="damaged" title="{} µs since 1970">damaged</span>').format(moment.stored)


def exact(moment: datetime) -> str:
    """Format as `2026-06-01 12:00:03 UTC`."""
    if isinstance(moment, DamagedMoment):
        return moment.isoformat()
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: float) -> str:
    """Format as `12,345`."""
    return f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Format as `1.2 %`; a dash for None."""
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{share * 100:.{0 if share >= 0.1 or share == 0 else 1}f} %"


def line(text: str | None, limit: int = 160) -> str:
    """Return the first line of a text, shortened, with unprintable characters escaped."""
    first = (text or "").strip().partition("\n")[0]
    return safe(first if len(first) <= limit else f"{first[:limit]}…")


def safe_text(text: str) -> str:
    """Escape unprintable characters and direction marks; keep line ends and tabs."""
    return "\n".join(safe(part) for part in text.replace("\r\n", "\n").expandtabs(4).split("\n"))


def call(visit: Visit, job: Job, limit: int = CALL_IN_A_LIST) -> Markup:
    """Return a job's call on one line, `mail:send(7, copy=True)`, without secrets, with the function marked."""
    shown = visit.site.redaction.arguments(job.arguments, parameters(visit.queue, job.name))
    whole = readable_call(job.name, shown, limit=limit)
    name = safe(job.name[:limit])
    module, colon, function = name.rpartition(":")
    rest = escape(whole[len(name) :]) if whole.startswith(name) else escape(whole)
    return Markup(
        '<span class="module">{}</span><span class="function">{}</span><span class="arguments">{}</span>'
    ).format(f"{module}{colon}", function, rest)


def arguments(visit: Visit, job: Job) -> list[tuple[str, str]] | None:
    """Return a job's arguments by name, or by position if the name is unknown; None if they cannot be read."""
    names = parameters(visit.queue, job.name)
    match parsed(visit.site.redaction.arguments(job.arguments, names)):
        case [list() as args, dict() as kwargs]:
            # Names that conflict with the tag's key are stored as pairs, shown as one value.
            named = [("**", kwargs)] if "$" in kwargs else list(kwargs.items())
            placed = [
                (names[place] if place < len(names) else str(place + 1), value) for place, value in enumerate(args)
            ]
            return [
                (safe(name), readable_value(json.dumps(value), limit=VALUE_ON_A_PAGE)) for name, value in placed + named
            ]
    return None


def meta(visit: Visit, stored: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """Return a job's meta by name, without secrets; None if it cannot be shown."""
    shown = visit.site.redaction.plain(json.dumps(stored))
    if not isinstance(shown, dict):
        return None
    return [(safe(name), readable_value(json.dumps(value), limit=VALUE_ON_A_PAGE)) for name, value in shown.items()]


def result(visit: Visit, job: Job) -> str | None:
    """Return a job's result, without secrets."""
    if job.result is None:
        return None
    text = readable_value(visit.site.redaction.value(job.result), limit=VALUE_ON_A_PAGE)
    return None if text == UNREADABLE and job.result == "" else text

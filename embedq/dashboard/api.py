"""The JSON API: what the pages show and do, for scripts, health checks and other languages. Same permissions.

Times are ISO 8601 in UTC, durations seconds. Errors are `{"error": "…"}` with a fitting status. A change needs the
header `Content-Type: application/json`, also where it has no body.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, TypeAlias

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from embedq.clock import to_micros
from embedq.dashboard import actions, filters, health
from embedq.dashboard.access import Permission
from embedq.dashboard.pages.job import id_of
from embedq.dashboard.pages.jobs import find, size_of
from embedq.dashboard.pages.overview import span_of
from embedq.dashboard.templating import parameters, rhythm
from embedq.dashboard.visit import BadRequest, NotFound, Visit
from embedq.job import Job

Handler: TypeAlias = Callable[[Visit], Response]


def document(content: Any, *, status: int = 200) -> Response:
    """An answer."""
    # ASCII reads the same in every encoding.
    return Response(json.dumps(plain(content), allow_nan=False), status_code=status, media_type="application/json")


def plain(value: Any) -> Any:
    """Values as JSON has them."""
    match value:
        case datetime():
            return value.isoformat()
        case Enum():
            return value.value
        case dict():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case str() | int() | float() | None:
            return value
        case Job():
            return {name: plain(item) for name, item in value.as_dict().items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return str(value)


# -- looking -----------------------------------------------------------------------------------------------------------


def stats(visit: Visit) -> Response:
    overview = visit.shared("overview", visit.queue.monitor.overview)
    return document(
        {
            "at": overview.at,
            "counts": {state: count.number for state, count in overview.counts.items()},
            "capped": [state for state, count in overview.counts.items() if count.capped],
            "oldest_ready_seconds": {wait.queue: wait.seconds for wait in overview.waits},
            "failed_last_hour": overview.failed_last_hour,
            "failed_last_day": overview.failed_last_day,
            "processes": len(visit.alive()),
        }
    )


def list_jobs(visit: Visit) -> Response:
    wanted = filters.read(visit.request.query_params, visit)
    page = find(visit, wanted, size_of(visit))
    return document(
        {
            "jobs": [_shown(visit, job) for job in page.jobs],
            "next": page.next,
            "previous": page.previous,
            "exhausted": page.exhausted,
            "scanned_to": page.scanned_to,
        }
    )


def one_job(visit: Visit) -> Response:
    details = visit.queue.monitor.job(id_of(visit))
    logs = visit.queue.monitor.logs(details.job.id)
    return document(
        {
            **_shown(visit, details.job),
            "attempts": details.attempts,
            "timeline": details.moments,
            "family": details.family.members,
            "logs": logs.lines,
        }
    )


def _shown(visit: Visit, job: Job) -> dict[str, Any]:
    """A job without its secrets; arguments and result as values, types that JSON lacks still tagged."""
    hide = visit.site.redaction
    shown = hide.arguments(job.arguments, parameters(visit.queue, job.name))
    return {**job.as_dict(), "arguments": hide.plain(shown), "result": hide.plain(job.result)}


def queues(visit: Visit) -> Response:
    return document({"queues": visit.shared("queues", visit.queue.monitor.queues)})


def tasks(visit: Visit) -> Response:
    span = span_of(visit)
    found = visit.shared(f"tasks {span}", lambda: visit.queue.monitor.task_types(span))
    return document({"tasks": found, "registered": visit.queue.engine.registry.names()})


def servers(visit: Visit) -> Response:
    return document({"servers": visit.shared("server details", visit.queue.monitor.servers)})


def history(visit: Visit) -> Response:
    span = span_of(visit)
    return document(visit.shared(f"history {span}", lambda: visit.queue.monitor.history(span)))


def schedules(visit: Visit) -> Response:
    return document(
        {
            "schedules": [
                {
                    "name": item.name,
                    "when": rhythm(item.when),
                    "task": item.task,
                    "queue": item.queue,
                    "next_fire_at": item.next_fire_at,
                    "last_fire_at": item.last_fire_at,
                    "last_job_id": item.last_job_id,
                    "paused": item.paused,
                    "error": item.error,
                }
                for item in visit.queue.schedules()
            ]
        }
    )


def audit(visit: Visit) -> Response:
    before = visit.query.get("before", "")
    return document(visit.queue.actions.log(before=filters.job_id(before) if before else None))


def check(visit: Visit) -> Response:
    reasons = health.reasons(visit, longest_wait=_seconds(visit))
    return document({"status": "failing" if reasons else "ok", "reasons": reasons}, status=503 if reasons else 200)


def _seconds(visit: Visit) -> float:
    text = visit.query.get("longest_wait", str(health.LONGEST_WAIT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 1e9:
        raise BadRequest(f"longest_wait={text[:20]!r} must be seconds")
    return seconds


# -- acting ------------------------------------------------------------------------------------------------------------


def enqueue(visit: Visit) -> Response:
    """`{"task": "mail:send", "args": [], "kwargs": {}, "delay": 60, "options": {"queue": "mail"}}`"""
    visit.require(Permission.ENQUEUE)
    wanted = body(visit)
    unknown = wanted.keys() - {"task", "args", "kwargs", "delay", "run_at", "options"}
    if unknown:
        raise BadRequest(f"{', '.join(sorted(unknown))}: there is task, args, kwargs, delay, run_at, options")
    name, args, kwargs, options = (
        wanted.get("task"), wanted.get("args", []), wanted.get("kwargs", {}), wanted.get("options", {}),
    )  # fmt: skip
    if not (
        isinstance(name, str) and isinstance(args, list) and isinstance(kwargs, dict) and isinstance(options, dict)
    ):
        raise BadRequest("task must be a name, args a list, kwargs and options objects")
    task = visit.queue.engine.registry.get(name)
    if task is None:
        raise NotFound(f"no task named {name!r} is registered in this process; GET /api/tasks lists those that are")
    try:
        call = visit.queue.options(**options).call(task, *args, **kwargs)
    except TypeError as error:
        raise BadRequest(str(error)) from None
    handle = visit.queue.submit(call, run_at=_due(visit, wanted))
    visit.queue.actions.record(
        actor=visit.access.user or "unknown", verb="enqueue", subject=name, job=handle.id, created=handle.created
    )
    return document({"id": handle.id, "created": handle.created}, status=201 if handle.created else 200)


def _due(visit: Visit, wanted: dict[str, Any]) -> datetime | None:
    delay, run_at = wanted.get("delay"), wanted.get("run_at")
    if delay is not None and run_at is not None:
        raise BadRequest("give delay or run_at, not both")
    if delay is not None:
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            raise BadRequest("delay must be seconds")
        try:
            return visit.queue.due_in(delay)
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"delay={delay!r}: {error}") from None
    if run_at is None:
        return None
    try:
        moment = datetime.fromisoformat(run_at)
        to_micros(moment)
    except (TypeError, ValueError):
        raise BadRequest('run_at must be a time with its zone, such as "2026-06-01T12:00:00Z"') from None
    return moment


def on_job(verb: str) -> Handler:
    """What does a verb to one job."""

    def handle(visit: Visit) -> Response:
        visit.require(actions.NEEDED[verb])
        job_id = id_of(visit)
        # 404 where it is not there; an action would only have met no job.
        visit.queue.monitor.job(job_id)
        wanted = filters.Filters(keywords={"ids": [job_id]}, pairs=[("ids", str(job_id))])
        action = actions.perform(visit, verb, wanted, **_options(visit, verb, body(visit)))
        content = {"changed": action.changed, "skipped": action.skipped, "reason": action.reason, "action": action.id}
        return document(content, status=200 if action.changed else 409)

    return handle


# What a verb takes besides, and of which type.
_TAKES: dict[str, dict[str, type]] = {"delete": {"cancel_children": bool}, "move": {"to_queue": str, "priority": int}}


def _options(visit: Visit, verb: str, given: dict[str, Any]) -> dict[str, Any]:
    takes = _TAKES.get(verb, {})
    for name, value in given.items():
        if type(value) is not takes.get(name):
            raise BadRequest(f"{name}={value!r}: {verb} takes {', '.join(takes) or 'nothing'}")
    return given


def act(visit: Visit) -> Response:
    """`{"verb": "retry", "filters": {"state": ["dead"], "queue": "mail"}}`, and what the verb takes besides."""
    wanted = body(visit)
    verb, given = wanted.pop("verb", None), wanted.pop("filters", None)
    if verb not in actions.NEEDED or not isinstance(given, dict) or not given.keys() <= set(filters.FIELDS):
        raise BadRequest(
            f"verb must be one of: {', '.join(actions.NEEDED)}; filters an object of: {', '.join(filters.FIELDS)}"
        )
    visit.require(actions.NEEDED[verb])
    pairs = [
        (name, str(item)) for name, value in given.items() for item in (value if isinstance(value, list) else [value])
    ]
    found = filters.read(ImmutableMultiDict(pairs), visit)
    if not found:
        raise BadRequest("filters must hold one at least")
    return document(actions.perform(visit, verb, found, **_options(visit, verb, wanted)), status=202)


def one_action(visit: Visit) -> Response:
    return document(visit.queue.actions.get(min(int(visit.params["action_id"]), filters.LARGEST_ID)))


def on_schedule(verb: str) -> Handler:
    """What does a verb to one recurring job."""

    def handle(visit: Visit) -> Response:
        visit.require(Permission.SCHEDULES)
        job_id = actions.on_schedule(visit, verb, str(visit.params["name"]))
        return document({"done": verb, "job": job_id})

    return handle


def body(visit: Visit) -> dict[str, Any]:
    """The JSON object that was sent; an empty one where nothing was. BadRequest if it is something else."""
    if not visit.body.strip():
        return {}
    try:
        content = json.loads(visit.body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(content, dict):
        raise BadRequest("the body must be a JSON object")
    return content


def asked(handler: Handler, known: tuple[str, ...]) -> Handler:
    """The handler, for requests without a parameter that it does not know: a mistyped filter is none."""

    def handle(visit: Visit) -> Response:
        unknown = [name for name in visit.query if name not in known]
        if unknown:
            there = f"there are: {', '.join(known)}" if known else "there are none here"
            raise BadRequest(f"unknown parameter {unknown[0][:40]!r}; {there}")
        return handler(visit)

    return handle


def index(visit: Visit) -> Response:
    return document({"now": visit.now, "routes": [f"{m} {p}" for m, p, _ in ROUTES]})


_SPAN = ("span",)
# What a query may hold, where it may hold anything.
_PARAMETERS: dict[Handler, tuple[str, ...]] = {
    list_jobs: (*filters.FIELDS, "size", "cursor"), check: ("longest_wait",), tasks: _SPAN, history: _SPAN,
    audit: ("before",),
}  # fmt: skip
_ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/api", index),
    ("GET", "/api/health", check),
    ("GET", "/api/stats", stats),
    ("GET", "/api/history", history),
    ("GET", "/api/jobs", list_jobs),
    ("POST", "/api/jobs", enqueue),
    ("GET", "/api/jobs/{job_id:int}", one_job),
    *[("POST", f"/api/jobs/{{job_id:int}}/{verb}", on_job(verb)) for verb in actions.NEEDED],
    ("POST", "/api/actions", act),
    ("GET", "/api/actions/{action_id:int}", one_action),
    ("GET", "/api/queues", queues),
    ("GET", "/api/tasks", tasks),
    ("GET", "/api/servers", servers),
    ("GET", "/api/schedules", schedules),
    *[("POST", f"/api/schedules/{{name:path}}/{verb}", on_schedule(verb)) for verb in actions.SCHEDULE_DONE],
    ("GET", "/api/audit", audit),
]
ROUTES = [
    (method, path, asked(handler, _PARAMETERS.get(handler, ())) if method == "GET" else handler)
    for method, path, handler in _ROUTES
]

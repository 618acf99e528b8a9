"""The JSON API: the data and actions of the pages, for scripts, health checks and other languages. Same permissions.

Times are ISO 8601 in UTC, durations are seconds. Errors are `{"error": "…"}` with a matching status. A change requires
the header `Content-Type: application/json`, even without a body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeAlias

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from embedq.clock import to_micros
from embedq.dashboard import commands, filters, health, limiting, pausing
from embedq.dashboard.access import Permission
from embedq.dashboard.pages import recurring
from embedq.dashboard.pages.job import id_of
from embedq.dashboard.pages.jobs import find, size_of
from embedq.dashboard.pages.overview import span_of
from embedq.dashboard.parameters import parameters
from embedq.dashboard.verbs import JOB_VERBS, SCHEDULE_VERBS
from embedq.dashboard.visit import BadRequest, NotFound, Visit, check_texts
from embedq.display.json_values import as_json
from embedq.display.units import brief
from embedq.engine.recurring import Schedule
from embedq.job import Job
from embedq.operations.upcoming import schedule_text, schedule_words

Handler: TypeAlias = Callable[[Visit], Response]


def document(content: Any, *, status: int = 200) -> Response:
    """Return a JSON response."""
    # ASCII is the same in every encoding.
    return Response(json.dumps(as_json(content), allow_nan=False), status_code=status, media_type="application/json")


# -- reading -----------------------------------------------------------------------------------------------------------


def stats(visit: Visit) -> Response:
    overview = visit.cached("overview", visit.queue.monitor.overview)
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
    selection = filters.read(visit.request.query_params, visit)
    page = find(visit, selection, size_of(visit))
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
            "why_waiting": visit.queue.why_waiting(details.job.id),
            "meta": visit.site.redaction.plain(json.dumps(details.meta)),
            "attempts": details.attempts,
            "timeline": details.moments,
            "family": details.family.members,
            "logs": logs.lines,
        }
    )


def _shown(visit: Visit, job: Job) -> dict[str, Any]:
    """Return a job with its secrets redacted; types that JSON lacks stay tagged."""
    redaction = visit.site.redaction
    shown = redaction.arguments(job.arguments, parameters(visit.queue, job.name))
    return {**job.as_dict(), "arguments": redaction.plain(shown), "result": redaction.plain(job.result)}


def queues(visit: Visit) -> Response:
    return document({"queues": visit.cached("queues", visit.queue.monitor.queues)})


def tasks(visit: Visit) -> Response:
    span = span_of(visit)
    found = visit.cached(f"tasks {span}", lambda: visit.queue.monitor.task_types(span))
    return document({"tasks": found, "registered": visit.queue.engine.registry.names()})


def servers(visit: Visit) -> Response:
    return document({"servers": visit.cached("server details", visit.queue.monitor.servers)})


def history(visit: Visit) -> Response:
    span = span_of(visit)
    return document(visit.cached(f"history {span}", lambda: visit.queue.monitor.history(span)))


def schedules(visit: Visit) -> Response:
    page = recurring.find(visit, size_of(visit))
    return document(
        {"schedules": [_schedule(item) for item in page.schedules], "next": page.next, "previous": page.previous}
    )


def one_schedule(visit: Visit) -> Response:
    return document(_schedule(visit.queue.schedule(str(visit.params["name"]))))


def _schedule(item: Schedule) -> dict[str, Any]:
    return {
        "name": item.name,
        "when": schedule_text(item.when),
        "in_words": schedule_words(item.when),
        "task": item.task,
        "queue": item.queue,
        "next_fire_at": item.next_fire_at,
        "last_fire_at": item.last_fire_at,
        "last_job_id": item.last_job_id,
        "paused": item.paused,
        "overlap": item.overlap,
        "missing_since": item.missing_since,
        "error": item.error,
    }


def audit(visit: Visit) -> Response:
    before = visit.query.get("before", "")
    number = filters.number("the id of an action", before) if before else None
    return document(visit.queue.actions.log(before=number))


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
        raise BadRequest(f"longest_wait={text[:20]!r} must be a number of seconds")
    return seconds


# -- changing ----------------------------------------------------------------------------------------------------------


def enqueue(visit: Visit) -> Response:
    """Enqueue `{"task": "mail:send", "args": [], "kwargs": {}, "delay": 60, "options": {"queue": "mail"}}`."""
    visit.require(Permission.ENQUEUE)
    content = body(visit)
    unknown = content.keys() - {"task", "args", "kwargs", "delay", "run_at", "options"}
    if unknown:
        raise BadRequest(
            f"unknown key {brief(sorted(unknown)[0])[:40]}; known: task, args, kwargs, delay, run_at, options"
        )
    name, args, kwargs, options = (
        content.get("task"), content.get("args", []), content.get("kwargs", {}), content.get("options", {}),
    )  # fmt: skip
    if not (
        isinstance(name, str) and isinstance(args, list) and isinstance(kwargs, dict) and isinstance(options, dict)
    ):
        raise BadRequest("task must be a name, args a list, kwargs and options objects")
    task = visit.queue.engine.registry.get(name)
    if task is None:
        raise NotFound(
            f"no task named {name!r} is registered in this process; GET /api/tasks lists the registered tasks"
        )
    try:
        call = visit.queue.options(**options).call(task, *args, **kwargs)
    except TypeError as error:
        raise BadRequest(str(error)) from None
    try:
        handle = visit.queue.submit(call, run_at=_due(visit, content))
    except RecursionError:
        raise BadRequest("the arguments are nested too deeply") from None
    visit.queue.actions.record(
        actor=visit.access.user or "unknown", verb="enqueue", subject=name, job=handle.id, created=handle.created
    )
    return document({"id": handle.id, "created": handle.created}, status=201 if handle.created else 200)


def _due(visit: Visit, content: dict[str, Any]) -> datetime | None:
    delay, run_at = content.get("delay"), content.get("run_at")
    if delay is not None and run_at is not None:
        raise BadRequest("give delay or run_at, not both")
    if delay is not None:
        if isinstance(delay, bool) or not isinstance(delay, int | float):
            raise BadRequest("delay must be a number of seconds")
        try:
            return visit.queue.due_in(delay)
        except ValueError as error:
            raise BadRequest(str(error)) from None
    if run_at is None:
        return None
    try:
        moment = datetime.fromisoformat(run_at)
        to_micros(moment)
    except (TypeError, ValueError) as error:
        raise BadRequest(
            f'run_at must be a time with its zone, such as "2026-06-01T12:00:00Z"; {brief(run_at)} is invalid: {error}'
        ) from None
    return moment


def on_job(verb: str) -> Handler:
    """Return the handler that applies a verb to one job."""

    def handle(visit: Visit) -> Response:
        visit.require(JOB_VERBS[verb].permission)
        job_id = id_of(visit)
        # For the 404: an action on a missing job would only change no job.
        visit.queue.monitor.job(job_id)
        selection = filters.QueryFilters(keywords={"ids": [job_id]}, pairs=[("ids", str(job_id))])
        action = commands.perform(visit, verb, selection, **_options(visit, verb, body(visit)))
        content = {"changed": action.changed, "skipped": action.skipped, "reason": action.reason, "action": action.id}
        return document(content, status=200 if action.changed else 409)

    return handle


# The options of a verb and their types.
_TAKES: dict[str, dict[str, type]] = {"delete": {"cancel_children": bool}, "move": {"to_queue": str, "priority": int}}


def _options(visit: Visit, verb: str, given: dict[str, Any]) -> dict[str, Any]:
    takes = _TAKES.get(verb, {})
    for name, value in given.items():
        if type(value) is not takes.get(name):
            raise BadRequest(f"{brief(name)}={brief(value)}: {verb} takes {', '.join(takes) or 'nothing'}")
    return given


def act(visit: Visit) -> Response:
    """Apply `{"verb": "retry", "filters": {"state": ["dead"], "queue": "mail"}}`, plus the options of the verb."""
    content = body(visit)
    verb, given = content.pop("verb", None), content.pop("filters", None)
    if (
        not isinstance(verb, str)
        or verb not in JOB_VERBS
        or not isinstance(given, dict)
        or not given.keys() <= set(filters.FIELDS)
    ):
        raise BadRequest(
            f"verb must be one of: {', '.join(JOB_VERBS)}; filters an object of: {', '.join(filters.FIELDS)}"
        )
    visit.require(JOB_VERBS[verb].permission)
    pairs = [
        (name, str(item)) for name, value in given.items() for item in (value if isinstance(value, list) else [value])
    ]
    selection = filters.read(ImmutableMultiDict(pairs), visit)
    if not selection:
        raise BadRequest("filters must contain at least one filter")
    return document(commands.perform(visit, verb, selection, **_options(visit, verb, content)), status=202)


def one_action(visit: Visit) -> Response:
    return document(visit.queue.actions.get(min(int(visit.params["action_id"]), filters.LARGEST_ID)))


def on_schedule(verb: str) -> Handler:
    """Return the handler that applies a verb to one recurring job."""

    def handle(visit: Visit) -> Response:
        visit.require(Permission.SCHEDULES)
        job_id = commands.on_schedule(visit, verb, str(visit.params["name"]))
        return document({"done": verb, "job": job_id})

    return handle


def holds(visit: Visit) -> Response:
    return document({"holds": visit.holds()})


def limits(visit: Visit) -> Response:
    return document({"limits": visit.limits()})


def on_object(verb: str, permission: Permission, apply: Callable[[Visit, str, dict[str, Any]], object]) -> Handler:
    """Return the handler that applies a verb to what the JSON object in the body names."""

    def handle(visit: Visit) -> Response:
        visit.require(permission)
        return document(apply(visit, verb, body(visit)))

    return handle


def body(visit: Visit) -> dict[str, Any]:
    """Return the JSON object in the body; an empty one without a body. BadRequest for anything else."""
    if not visit.body.strip():
        return {}
    try:
        content = json.loads(visit.body)
        # Arguments are stored as JSON, which escapes any character.
        fields = content.items() if isinstance(content, dict) else ()
        texts = [text for name, value in fields if name not in ("args", "kwargs") for text in _texts([name, value])]
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(content, dict):
        raise BadRequest("the body must be a JSON object")
    check_texts(texts)
    return content


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a JSON value. RecursionError if it is nested too deeply."""
    match value:
        case str():
            yield value
        case dict():
            for name, item in value.items():
                yield name
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)


def strict(handler: Handler, known: tuple[str, ...]) -> Handler:
    """Wrap a handler to reject unknown parameters: a mistyped filter must not be ignored."""

    def handle(visit: Visit) -> Response:
        names = [name for name, _ in visit.request.query_params.multi_items() if name not in ("state", "ids")]
        for name in names:
            if names.count(name) > 1:
                raise BadRequest(f"{name[:40]!r} is given {names.count(name)} times, but may be given once only")
        unknown = [name for name in visit.query if name not in known]
        if unknown:
            valid = f"known: {', '.join(known)}" if known else "this address takes none"
            raise BadRequest(f"unknown parameter {unknown[0][:40]!r}; {valid}")
        return handler(visit)

    return handle


def index(visit: Visit) -> Response:
    return document({"now": visit.now, "routes": [f"{m} {p}" for m, p, _ in ROUTES]})


_SPAN = ("span",)
# The query parameters of each handler that has some.
_PARAMETERS: dict[Handler, tuple[str, ...]] = {
    schedules: ("name", "state", "after", "before", "size"),
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
    *[("POST", f"/api/jobs/{{job_id:int}}/{verb}", on_job(verb)) for verb in JOB_VERBS],
    ("POST", "/api/actions", act),
    ("GET", "/api/actions/{action_id:int}", one_action),
    ("GET", "/api/queues", queues),
    ("GET", "/api/tasks", tasks),
    ("GET", "/api/servers", servers),
    ("GET", "/api/schedules", schedules),
    ("GET", "/api/schedules/{name:path}", one_schedule),
    *[("POST", f"/api/schedules/{{name:path}}/{verb}", on_schedule(verb)) for verb in SCHEDULE_VERBS],
    ("GET", "/api/holds", holds),
    *[("POST", f"/api/holds/{verb}", on_object(verb, Permission.PAUSE, pausing.apply)) for verb in pausing.VERBS],
    ("GET", "/api/limits", limits),
    *[("POST", f"/api/limits/{verb}", on_object(verb, Permission.LIMITS, limiting.apply)) for verb in limiting.VERBS],
    ("GET", "/api/audit", audit),
]
ROUTES = [
    (method, path, strict(handler, _PARAMETERS.get(handler, ())) if method == "GET" else handler)
    for method, path, handler in _ROUTES
]

"""One job with all its details."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.access import Permission
from embedq.dashboard.filters import LARGEST_ID, number
from embedq.dashboard.templating import arguments, meta, result
from embedq.dashboard.verbs import offered
from embedq.dashboard.visit import Visit
from embedq.errors import JobNotFoundError, WaitTimeoutError
from embedq.job import JobState


def show(visit: Visit) -> Response:
    """Show the job."""
    details = visit.queue.monitor.job(id_of(visit))
    job = details.job
    servers = {server.id: server for server in visit.cached("servers", visit.queue.servers)}
    return visit.page(
        "job.html",
        job=job,
        details=details,
        attempts=list(reversed(details.attempts)),
        arguments=arguments(visit, job),
        result=result(visit, job),
        meta=meta(visit, details.meta),
        unique_key=_unique_key(visit, details.unique_key),
        logs=visit.queue.monitor.logs(job.id),
        servers=servers,
        verbs=offered([job.state]),
        columns=visit.site.columns,
        hold=visit.queue.monitor.hold_on(job),
        reasons=visit.queue.monitor.why_waiting(job.id, pauses=False),
    )


def _unique_key(visit: Visit, key: str | None) -> str | None:
    """Return a unique key without secrets: the arguments in it are named as in the payload."""
    name, named, values = (key or "").partition(" {")
    return f"{name} {visit.site.redaction.value('{' + values)}" if named else key


def logs(visit: Visit) -> Response:
    """Show the whole log of the job, a page at a time."""
    after = number("the id of a log line", visit.query.get("after", "0"))
    page = visit.queue.monitor.logs(id_of(visit), after=after, limit=1000)
    return visit.page("logs.html", job=visit.queue.monitor.job(id_of(visit)).job, logs=page)


def stack(visit: Visit) -> Response:
    """Show the current call stack of the job."""
    visit.require(Permission.INSPECT)
    details = visit.queue.monitor.job(id_of(visit))
    found, error = None, ""
    if details.job.state is JobState.RUNNING:
        try:
            found = visit.queue.monitor.stack(id_of(visit))
        except WaitTimeoutError as timeout:
            error = str(timeout)
    return visit.page("stack.html", job=details.job, stack=found, error=error)


def id_of(visit: Visit) -> int:
    """Return the job id in the path. JobNotFoundError if it is out of range."""
    job_id = int(visit.params["job_id"])
    if job_id > LARGEST_ID:
        raise JobNotFoundError(f"no job {job_id}")
    return job_id

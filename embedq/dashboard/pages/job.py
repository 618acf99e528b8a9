"""Everything about one job."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.access import Permission
from embedq.dashboard.filters import LARGEST_ID
from embedq.dashboard.pages.jobs import VERBS
from embedq.dashboard.templating import arguments, result
from embedq.dashboard.visit import Visit
from embedq.errors import JobNotFoundError, WaitTimeoutError
from embedq.job import JobState


def show(visit: Visit) -> Response:
    """The job's page."""
    details = visit.queue.monitor.job(id_of(visit))
    job = details.job
    servers = {server.id: server for server in visit.shared("servers", visit.queue.servers)}
    return visit.page(
        "job.html",
        job=job,
        details=details,
        attempts=list(reversed(details.attempts)),
        arguments=arguments(visit, job),
        result=result(visit, job),
        logs=visit.queue.monitor.logs(job.id),
        servers=servers,
        verbs=[verb for verb, possible in VERBS.items() if job.state in possible],
        columns=visit.site.columns,
    )


def logs(visit: Visit) -> Response:
    """All that the job wrote, a page at a time."""
    after = visit.query.get("after", "0")
    page = visit.queue.monitor.logs(
        id_of(visit), after=min(int(after), LARGEST_ID) if after.isascii() and after.isdigit() else 0, limit=1000
    )
    return visit.page("logs.html", job=visit.queue.monitor.job(id_of(visit)).job, logs=page)


def stack(visit: Visit) -> Response:
    """Where the job is at this moment."""
    visit.require(Permission.INSPECT)
    details = visit.queue.monitor.job(id_of(visit))
    found, silent = None, ""
    if details.job.state is JobState.RUNNING:
        try:
            found = visit.queue.monitor.stack(id_of(visit))
        except WaitTimeoutError as error:
            silent = str(error)
    return visit.page("stack.html", job=details.job, stack=found, silent=silent)


def id_of(visit: Visit) -> int:
    """The job that the address names. JobNotFoundError if no job can have such an id."""
    job_id = int(visit.params["job_id"])
    if job_id > LARGEST_ID:
        raise JobNotFoundError(f"no job {job_id}")
    return job_id

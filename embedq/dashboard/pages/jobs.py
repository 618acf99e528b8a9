"""Lists of jobs: by state, and by whatever else is known of them."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from embedq.dashboard import filters
from embedq.dashboard.visit import BadRequest, Visit
from embedq.job import ENDED, JobState
from embedq.storage.inspect.searching import JobPage

# What goes on, what is to come, what is over.
ORDER = (
    JobState.RUNNING, JobState.READY, JobState.RETRYING, JobState.SCHEDULED, JobState.AWAITING, JobState.PARKED,
    JobState.DEAD, JobState.SUCCEEDED, JobState.CANCELLED,
)  # fmt: skip
SIZES = (25, 50, 100, 200)
# What can be done to jobs in these states. Of several states, what can be done in one of them.
_WAITING = {JobState.SCHEDULED, JobState.RETRYING}
VERBS = {
    "retry": {JobState.DEAD, JobState.CANCELLED, JobState.PARKED},
    "run": _WAITING,
    "cancel": set(JobState) - ENDED,
    "move": set(JobState) - ENDED - {JobState.RUNNING},
    "delete": set(JobState) - {JobState.RUNNING},
}


def show(visit: Visit) -> Response:
    """One page of jobs."""
    given = visit.request.query_params.multi_items()
    if not all(value for _, value in given):
        # A form sends its empty fields along, too; the address is to be read, and passed on.
        return visit.go_to(visit.url("jobs") + "?" + urlencode([pair for pair in given if pair[1]]))
    wanted = filters.read(visit.request.query_params, visit)
    size = size_of(visit)
    page = find(visit, wanted, size)
    states = set(wanted.states or JobState)
    return visit.page(
        "jobs.html",
        page=page,
        wanted=wanted,
        fields=dict(wanted.pairs),
        size=size,
        sizes=SIZES,
        states=ORDER,
        tab=wanted.states[0] if len(wanted.states) == 1 else None,
        counts=visit.counts(),
        verbs=[verb for verb, possible in VERBS.items() if states & possible],
        columns=visit.site.columns,
        names=visit.queue.engine.registry.names(),
    )


def find(visit: Visit, wanted: filters.Filters, size: int) -> JobPage:
    """One page of the jobs that match."""
    return visit.queue.monitor.search(cursor=visit.query.get("cursor"), limit=size, **wanted.keywords)


def size_of(visit: Visit) -> int:
    """How many to a page. BadRequest if that is no number."""
    text = visit.query.get("size", "50")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= max(SIZES):
        raise BadRequest(f"size={text[:20]!r} must be a number from 1 to {max(SIZES)}")
    return int(text)


def search(visit: Visit) -> Response:
    """What was typed into the search box, as a link to what it means."""
    pairs = filters.from_search_box(visit.query.get("q", ""))
    if len(pairs) == 1 and pairs[0][0] == "ids":
        return visit.go_to(visit.url("jobs", filters.job_id(pairs[0][1])))
    return visit.go_to(visit.url("jobs") + (f"?{urlencode(pairs)}" if pairs else ""))

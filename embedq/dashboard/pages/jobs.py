"""Lists of jobs, filtered by state and other attributes."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from starlette.responses import Response

from embedq.dashboard import filters
from embedq.dashboard.verbs import offered
from embedq.dashboard.visit import BadRequest, Visit
from embedq.job import JobState
from embedq.storage.inspect.searching import JobPage

# Current states first, then future ones, then final ones.
ORDER = (
    JobState.RUNNING, JobState.READY, JobState.RETRYING, JobState.SCHEDULED, JobState.AWAITING, JobState.PARKED,
    JobState.DEAD, JobState.SUCCEEDED, JobState.CANCELLED,
)  # fmt: skip
SIZES = (25, 50, 100, 200)


def show(visit: Visit) -> Response:
    """Show one page of jobs."""
    given = visit.request.query_params.multi_items()
    if not all(value for _, value in given):
        # A form also submits its empty fields; redirect to an address without them.
        return visit.go_to(visit.url("jobs") + "?" + urlencode([pair for pair in given if pair[1]]))
    selection = filters.read(visit.request.query_params, visit)
    size = size_of(visit)
    page = find(visit, selection, size)

    return visit.page(
        "jobs.html",
        page=page,
        selection=selection,
        fields=dict(selection.pairs),
        size=size,
        sizes=SIZES,
        states=ORDER,
        tab=selection.states[0] if len(selection.states) == 1 else None,
        counts=visit.counts(),
        verbs=offered(selection.states or tuple(JobState)),
        columns=visit.site.columns,
        names=visit.queue.engine.registry.names(),
    )


def find(visit: Visit, selection: filters.QueryFilters, size: int) -> JobPage:
    """Return one page of the matching jobs."""
    return visit.queue.monitor.search(cursor=visit.query.get("cursor"), limit=size, **selection.keywords)


def size_of(visit: Visit) -> int:
    """Return the page size. BadRequest if it is invalid."""
    text = visit.query.get("size", "50")
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= max(SIZES):
        raise BadRequest(f"size={text[:20]!r} must be a number from 1 to {max(SIZES)}")
    return int(text)


def search(visit: Visit) -> Response:
    """Redirect a query of the search box to the matching jobs."""
    pairs = filters.from_search_box(visit.query.get("q", ""))
    if len(pairs) == 1 and pairs[0][0] == "ids":
        return visit.go_to(visit.url("jobs", filters.job_id(pairs[0][1])))
    return visit.go_to(visit.url("jobs") + (f"?{urlencode(pairs)}" if pairs else ""))

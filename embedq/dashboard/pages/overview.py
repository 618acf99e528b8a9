"""The overview: problems first, then activity."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.charts import chart
from embedq.dashboard.pages.jobs import ORDER
from embedq.dashboard.visit import BadRequest, Visit
from embedq.job import JobState
from embedq.storage.inspect.history import SPANS

# A queue whose oldest ready job has waited this long is a problem, in seconds.
LONG_WAIT = 60.0


def show(visit: Visit) -> Response:
    """Show the overview."""
    span = span_of(visit)
    monitor = visit.queue.monitor
    overview = visit.cached("overview", monitor.overview)
    history = visit.cached(f"history {span}", lambda: monitor.history(span))
    servers = visit.cached("servers", visit.queue.servers)
    waits = [wait for wait in overview.waits if wait.seconds >= LONG_WAIT]
    alive = visit.alive()
    no_process = not alive and overview.counts[JobState.READY].number > 0
    problems = (
        no_process, waits, overview.failures.groups, overview.schedules, overview.dead.groups, overview.silent,
        overview.parked, overview.overdue,
    )  # fmt: skip
    return visit.page(
        "overview.html",
        overview=overview,
        states=ORDER,
        waits=waits,
        chart=chart(history),
        history=history,
        span=span,
        servers=servers,
        alive=alive,
        idle=not any(count.number for count in overview.counts.values()),
        healthy=not any(problems),
        no_process=no_process,
        holds=visit.holds(),
        processes={server.uuid: f"{server.hostname}:{server.pid}" for server in servers},
    )


def span_of(visit: Visit) -> str:
    """Return the requested length of the history. BadRequest if it is invalid."""
    span = visit.query.get("span", "hour")
    if span not in SPANS:
        raise BadRequest(f"span={span[:20]!r} must be one of: {', '.join(SPANS)}")
    return span

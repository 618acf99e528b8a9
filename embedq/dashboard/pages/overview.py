"""What is broken first; then what goes on."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.charts import chart
from embedq.dashboard.pages.jobs import ORDER
from embedq.dashboard.visit import BadRequest, Visit
from embedq.job import JobState
from embedq.storage.inspect.history import SPANS

# The oldest ready job of a queue may wait so long before it is a trouble, in seconds.
LONG_WAIT = 60.0


def show(visit: Visit) -> Response:
    """The overview."""
    span = span_of(visit)
    monitor = visit.queue.monitor
    overview = visit.shared("overview", monitor.overview)
    history = visit.shared(f"history {span}", lambda: monitor.history(span))
    servers = visit.shared("servers", visit.queue.servers)
    waits = [wait for wait in overview.waits if wait.seconds >= LONG_WAIT]
    alive = visit.alive()
    nobody_works = not alive and overview.counts[JobState.READY].number > 0
    broken = (
        nobody_works, waits, overview.failures.groups, overview.schedules, overview.dead.groups, overview.silent,
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
        calm=not any(broken),
        nobody_works=nobody_works,
    )


def span_of(visit: Visit) -> str:
    """The length of a history that is asked for. BadRequest if it is none."""
    span = visit.query.get("span", "hour")
    if span not in SPANS:
        raise BadRequest(f"span={span[:20]!r} must be one of: {', '.join(SPANS)}")
    return span

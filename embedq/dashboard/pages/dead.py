"""Dead letters, grouped by error."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit
from embedq.job import JobState


def show(visit: Visit) -> Response:
    """Show the dead letters by error."""
    groups = visit.cached("dead", visit.queue.monitor.dead_letters)
    return visit.page("dead.html", groups=groups, count=visit.counts()[JobState.DEAD])

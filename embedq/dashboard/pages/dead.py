"""Dead letters: jobs that wait for a human, by what went wrong."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit
from embedq.job import JobState


def show(visit: Visit) -> Response:
    """The dead letters by error."""
    groups = visit.shared("dead", visit.queue.monitor.dead_letters)
    return visit.page("dead.html", groups=groups, count=visit.counts()[JobState.DEAD])

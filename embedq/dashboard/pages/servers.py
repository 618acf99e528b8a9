"""The processes that run jobs, and what each is at."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit


def show(visit: Visit) -> Response:
    """All processes."""
    servers = visit.shared("server details", visit.queue.monitor.servers)
    return visit.page("servers.html", servers=servers, lease=visit.queue.settings.lease)

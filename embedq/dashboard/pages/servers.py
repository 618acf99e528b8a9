"""The processes that run jobs, and the running jobs of each."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit


def show(visit: Visit) -> Response:
    """Show the processes."""
    servers = visit.cached("server details", visit.queue.monitor.servers)
    return visit.page("servers.html", servers=servers, lease=visit.queue.settings.lease, holds=visit.holds())

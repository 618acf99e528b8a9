"""The queues and the processes that run their jobs."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit


def show(visit: Visit) -> Response:
    """Show the queues."""
    queues = visit.cached("queues", visit.queue.monitor.queues)
    servers = {server.id: server for server in visit.cached("servers", visit.queue.servers)}
    return visit.page("queues.html", queues=queues, servers=servers, alive=visit.alive(), holds=visit.holds())

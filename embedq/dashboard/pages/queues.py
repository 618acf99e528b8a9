"""The queues, and who works them."""

from __future__ import annotations

from starlette.responses import Response

from embedq.dashboard.visit import Visit


def show(visit: Visit) -> Response:
    """All queues."""
    queues = visit.shared("queues", visit.queue.monitor.queues)
    servers = {server.id: server for server in visit.shared("servers", visit.queue.servers)}
    return visit.page("queues.html", queues=queues, servers=servers, alive=visit.alive())

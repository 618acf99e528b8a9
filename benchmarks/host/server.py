"""A small web app with embedq in it, served for real: `python -m benchmarks.host.server <framework> <case> <url>`.

It fills the queue, listens, prints its port, and serves until it is ended. The work of a request is a page of a hundred
rows. What the jobs do meanwhile is in `cases`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from html import escape
from typing import Any

import embedq
from benchmarks.host.cases import CASES
from benchmarks.places import open_place

SERVER_THREADS = 8
FILL_BATCH = 20_000


def page() -> str:
    """What a request is answered with."""
    rows = (f"<tr><td>{number}</td><td>{escape(f'item <{number}>')}</td></tr>" for number in range(100))
    return f"<table>{''.join(rows)}</table>"


def serve_flask(listener: socket.socket, guard: embedq.Guard | None) -> None:
    """Flask on waitress."""
    import logging

    import waitress
    from flask import Flask

    app = Flask("benchmarks")
    app.get("/")(page)
    if guard is not None:
        app.wsgi_app = guard.wsgi(app.wsgi_app)  # type: ignore[method-assign]
    # It would tell of each request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(app, sockets=[listener], threads=SERVER_THREADS, _quiet=True)


def serve_fastapi(listener: socket.socket, guard: embedq.Guard | None) -> None:
    """FastAPI on uvicorn."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse

    app = FastAPI()

    @app.get("/", response_class=HTMLResponse)
    async def show() -> str:
        return page()

    served: Any = app if guard is None else guard.asgi(app)
    uvicorn.Server(uvicorn.Config(served, log_level="error")).run(sockets=[listener])


SERVE: dict[str, Callable[[socket.socket, embedq.Guard | None], None]] = {
    "flask": serve_flask,
    "fastapi": serve_fastapi,
}


def main(framework: str, name: str, url: str, seconds: str) -> None:
    """Serve; see above.

    Args:
        seconds: how long the jobs should last.
    """
    case = CASES[name]
    guard = embedq.Guard() if case.guard else None
    # Named, for asyncio to turn off the delay of small packets: it looks at the protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    if case.embedq:
        app = open_place(url).app("normal", guard=guard).connect()
        left = int(case.per_second * float(seconds))
        while left > 0:
            app.enqueue_many([app.call(case.job) for _ in range(min(left, FILL_BATCH))])
            left -= FILL_BATCH
        app.start()
    print(listener.getsockname()[1], flush=True)
    SERVE[framework](listener, guard)


if __name__ == "__main__":
    main(*sys.argv[1:])

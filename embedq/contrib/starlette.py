"""embedq in Starlette. See docs/fastapi.md.

app = Starlette(routes=…, lifespan=lifespan("sqlite:///jobs.db"))

async def signup(request: Request) -> JSONResponse:
    job = await get_queue(request).aenqueue(send_mail, 7)
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from embedq import EmbedQ, NotStartedError
from embedq.contrib.asgi import STATE, lifespan


def get_queue(connection: HTTPConnection) -> EmbedQ:
    """Return the queue of the application that serves this request or websocket.

    Raises:
        NotStartedError: the application has no lifespan of embedq, or the server or test client did not run it.
    """
    queue = getattr(connection.state, STATE, None)
    if not isinstance(queue, EmbedQ):
        raise NotStartedError(
            "embedq's lifespan did not run: pass lifespan=lifespan(…) to the application, and in tests use its client "
            "as a context manager: with TestClient(app) as client: …"
        )
    return queue


__all__ = ["get_queue", "lifespan"]

"""The dashboard as an ASGI and as a WSGI application.

Under WSGI a request is answered on its own thread: no event loop, and nothing that a fork would lose. Under ASGI it is
answered on a thread of the dashboard's own, so that the event loop goes on meanwhile.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from embedq.dashboard.access import Access
from embedq.dashboard.site import MAX_BODY, Site
from embedq.dashboard.visit import route_path


class AsgiDashboard:
    """An ASGI application; what `embedq.dashboard.asgi` returns.

    Attributes:
        site: what it serves.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            # There are no websockets here.
            await send({"type": "websocket.close", "code": 1000})
            return
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return self.site.too_large(route_path(request.scope))
        access = await self._ask(request) if self.site.asks_on_the_loop else None
        return await self.site.offload.run(self.site.respond, request, bytes(body), access)

    async def _ask(self, request: Request) -> Access | Exception:
        guard = self.site.guard
        assert guard.authorize is not None
        try:
            guard.check_host(request)
            verdict = guard.authorize(request)
            return guard.granted(await verdict if inspect.isawaitable(verdict) else verdict)
        except Exception as error:
            return error

    async def _live(self, receive: Receive, send: Send) -> None:
        """It may be served by itself; it needs nothing at start-up."""
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


class WsgiDashboard:
    """A WSGI application; what `embedq.dashboard.wsgi` returns.

    Attributes:
        site: what it serves.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = _body(environ)
        scope = scope_of(environ)
        response = self.site.too_large(route_path(scope)) if body is None else self.site.respond(Request(scope), body)
        start_response(
            f"{response.status_code} {_REASONS.get(response.status_code, 'Unknown')}",
            [(name.decode("latin-1").title(), value.decode("latin-1")) for name, value in response.raw_headers],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [bytes(response.body)]


_REASONS = {
    200: "OK", 201: "Created", 303: "See Other", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


def _body(environ: dict[str, Any]) -> bytes | None:
    """What was sent; None if it is too large. A body whose length is not told is none."""
    try:
        length = max(0, int(environ.get("CONTENT_LENGTH") or 0))
    except ValueError:
        length = 0
    if length > MAX_BODY:
        return None
    return bytes(environ["wsgi.input"].read(length)) if length else b""


def scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    """A WSGI request as an ASGI scope; it keeps the `environ`, for `authorize`."""
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    ]
    root = _text(environ.get("SCRIPT_NAME", "")).rstrip("/")
    path = root + (_text(environ.get("PATH_INFO", "")) or "/")
    address = environ.get("REMOTE_ADDR")
    port = str(environ.get("SERVER_PORT", ""))
    return {
        "type": "http",
        "http_version": str(environ.get("SERVER_PROTOCOL", "HTTP/1.1")).rpartition("/")[2],
        "method": environ["REQUEST_METHOD"].upper(),
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "root_path": root,
        "path": path,
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "client": (address, 0) if address else None,
        "server": (environ.get("SERVER_NAME", ""), int(port) if port.isdigit() else None),
        "wsgi_environ": environ,
    }


def _text(value: str) -> str:
    """WSGI gives bytes as if they were Latin-1."""
    return value.encode("latin-1").decode("utf-8", "replace")

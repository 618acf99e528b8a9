"""The dashboard as an ASGI and as a WSGI application.

Under WSGI a request is handled on its own thread: there is no event loop, and nothing that a fork would lose. Under
ASGI it is handled on a thread of the dashboard's pool, so that the event loop is not blocked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from embedq.dashboard.access import Access
from embedq.dashboard.responses import LEFT_TO_FRAMEWORK
from embedq.dashboard.site import MAX_BODY, Site
from embedq.dashboard.visit import route_path


class AsgiDashboard:
    """An ASGI application; what `embedq.dashboard.asgi` returns.

    Attributes:
        site: the dashboard that it serves.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    def __deepcopy__(self, memo: object) -> AsgiDashboard:
        """Return itself: Litestar copies its routes, and a queue with its locks cannot be copied."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            # The dashboard has no websockets.
            await send({"type": "websocket.close", "code": 1000})
            return
        response = await self._respond(Request(with_mount_path(scope), receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return self.site.too_large(route_path(request.scope))
        access = await self._authorize(request) if self.site.authorizes_on_the_loop else None
        return await self.site.offload.run(self.site.respond, request, bytes(body), access)

    async def _authorize(self, request: Request) -> Access | Response | Exception:
        policy = self.site.policy
        assert policy.authorize is not None
        try:
            policy.check_host(request)
            verdict = policy.authorize(request)
            return policy.granted(await verdict if inspect.isawaitable(verdict) else verdict)
        except Exception as error:
            return error

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Handle start-up and shutdown when served on its own; there is nothing to do."""
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


class WsgiDashboard:
    """A WSGI application; what `embedq.dashboard.wsgi` returns.

    Attributes:
        site: the dashboard that it serves.
    """

    def __init__(self, site: Site) -> None:
        self.site = site

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = _body(environ)
        scope = scope_of(environ)
        response = self.site.too_large(route_path(scope)) if body is None else self.site.respond(Request(scope), body)
        start_response(
            f"{response.status_code} {_phrase(response.status_code)}",
            [(name.decode("latin-1").title(), value.decode("latin-1")) for name, value in response.raw_headers],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [bytes(response.body)]


def with_mount_path(scope: Scope) -> Scope:
    """Restore the full path and the root path of a scope from Litestar, which removes the mount path.

    Litestar also appends a slash and merges repeated slashes.
    """
    raw = scope.get("raw_path")
    if "litestar_app" not in scope or not raw:
        return scope
    full = re.sub("/+", "/", unquote(raw.partition(b"?")[0].decode("latin-1"))).rstrip("/")
    within = scope["path"].rstrip("/")
    if not full.endswith(within):
        return scope
    root = full[: len(full) - len(within)]
    return {**scope, "root_path": root, "path": root + (within or "/")}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _body(environ: dict[str, Any]) -> bytes | None:
    """Return the request body; None if it is too large."""
    length = length_of(environ)
    if length > MAX_BODY:
        return None
    body = bytes(environ["wsgi.input"].read(length)) if length else in_chunks(environ)
    return body if len(body) <= MAX_BODY else None


def in_chunks(environ: Mapping[str, Any]) -> bytes:
    """Read a body of unknown length, if the server marks its stream as terminated; at most a byte beyond the limit."""
    chunked = "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower()
    if not chunked or environ.get("CONTENT_LENGTH") or not environ.get("wsgi.input_terminated"):
        return b""
    return bytes(environ["wsgi.input"].read(MAX_BODY + 1))


def length_of(environ: Mapping[str, Any]) -> int:
    """Return the declared length of the body; 0 if that is not a number."""
    text = str(environ.get("CONTENT_LENGTH") or 0)
    if not text.isascii() or not text.isdigit():
        return 0
    return int(text) if len(text) < 19 else MAX_BODY + 1


def scope_of(environ: dict[str, Any]) -> dict[str, Any]:
    """Convert a WSGI request to an ASGI scope, which keeps the `environ` for `authorize`."""
    headers = [
        (
            _bytes(name.removeprefix("HTTP_").replace("_", "-").lower()),
            str(value).encode("latin-1", "replace"),
        )
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
        "query_string": _bytes(environ.get("QUERY_STRING", "")),
        "headers": headers,
        "client": (address, 0) if address else None,
        "server": (environ.get("SERVER_NAME", ""), int(port) if port.isdigit() else None),
        "wsgi_environ": environ,
        LEFT_TO_FRAMEWORK: environ.get(LEFT_TO_FRAMEWORK, ()),
    }


def _text(value: str) -> str:
    """Decode a WSGI string, which holds bytes as Latin-1."""
    return _bytes(value).decode("utf-8", "replace")


def _bytes(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        # Django under ASGI has already decoded it.
        return value.encode("utf-8", "replace")

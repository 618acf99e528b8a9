"""Responses and exceptions of web frameworks, which `authorize` may return and raise.

An exception of the framework that serves the dashboard is raised on, so that the application's handlers see it (a login
page, a page for 403). Under another framework it is converted to the response that it stands for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

# The key in a request's scope that lists the exceptions which the framework of a mount handles.
LEFT_TO_FRAMEWORK = "embedq.left_to_framework"


def as_response(value: object) -> Response | None:
    """Convert a response of Starlette, Werkzeug (Flask) or Django to one of Starlette; None if it is not a response."""
    if isinstance(value, Response):
        return value
    werkzeug = sys.modules.get("werkzeug.wrappers")
    if werkzeug is not None and isinstance(value, werkzeug.Response):
        return _response(value.status_code, value.headers.to_wsgi_list(), value.get_data())
    django = sys.modules.get("django.http")
    if django is not None and isinstance(value, django.HttpResponseBase):
        cookies = [("Set-Cookie", cookie.OutputString()) for cookie in value.cookies.values()]
        return _response(value.status_code, [*value.headers.items(), *cookies], b"".join(value))
    return None


def is_left_to_framework(error: BaseException, scope: Mapping[str, Any]) -> bool:
    """Return whether the framework that serves the dashboard handles the exception."""
    handlers: Iterable[Any] = scope.get("starlette.exception_handlers", ({},))[0]
    classes = [
        *scope.get(LEFT_TO_FRAMEWORK, ()),
        *(one for one in handlers if isinstance(one, type) and one is not Exception),
    ]
    if isinstance(error, tuple(classes)):
        return True
    return "litestar_app" in scope and _is_of(error, "litestar.exceptions", "HTTPException")


def response_for(error: BaseException) -> Response | tuple[int, str, Mapping[str, str]] | None:
    """Return what a framework's exception stands for: a response, or (status, message, headers); else None."""
    if _is_of(error, "werkzeug.exceptions", "HTTPException"):
        return as_response(error.get_response())  # type: ignore[attr-defined]
    if isinstance(error, HTTPException) or _is_of(error, "litestar.exceptions", "HTTPException"):
        return error.status_code, str(error.detail), error.headers or {}  # type: ignore[attr-defined]
    if _is_of(error, "django.core.exceptions", "PermissionDenied"):
        return 403, "you are not allowed to see this dashboard", {}
    if _is_of(error, "django.http", "Http404"):
        return 404, "there is no such page", {}
    return None


def _is_of(error: BaseException, module: str, name: str) -> bool:
    # A framework that is not imported cannot have raised it.
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


def _response(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Response:
    made = Response(body, status_code=status)
    made.raw_headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers
        if name.lower() not in ("content-length", "transfer-encoding")
    ]
    made.raw_headers.append((b"content-length", str(len(body)).encode()))
    return made

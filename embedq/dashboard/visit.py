"""One request to the dashboard: its parameters, its user, and the queue it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from embedq.app import EmbedQ
from embedq.clock import to_datetime
from embedq.dashboard.access import Access, Denied, Permission
from embedq.dashboard.cache import QueryCache
from embedq.dashboard.columns import Column
from embedq.dashboard.parameters import parameters
from embedq.display.redaction import Hidden, Redaction
from embedq.job import JobState
from embedq.storage.holds import Hold
from embedq.storage.inspect.glance import Count, counts
from embedq.storage.inspect.processes import Server
from embedq.storage.limit_use import LimitUse

T = TypeVar("T")

# A path prefix from a proxy's header. "//evil.example" would be another host.
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
# Names that a path transports unchanged. Browsers resolve "." and ".."; proxies decode "%2F", merge slashes or reject
# them.
_SAFE_IN_PATH = re.compile(r"(?!\.+$)[^/\\%\x00-\x1f\x7f]+")
FLASH_COOKIE = "embedq_flash"
COUNT_LIMIT = 1_000


class BadRequest(Exception):
    """The request is invalid; the message states what to do."""


class WrongMethod(Exception):
    """The path does not support the request's method.

    Attributes:
        allowed: the methods that it supports.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this address supports {' or '.join(allowed)} only")
        self.allowed = allowed


class NotFound(Exception):
    """Nothing exists under that name or at that address."""


class LogoutHandler(Protocol):
    """Ends sessions that were started with a token; `Login` implements it."""

    def leave(self, visit: Visit, /) -> Response: ...


class Dashboard(Protocol):
    """What a visit uses of its dashboard. `Site` implements it; the protocol avoids a circular import."""

    @property
    def redaction(self) -> Redaction: ...
    @property
    def cache(self) -> QueryCache: ...
    @property
    def columns(self) -> Sequence[Column]: ...
    @property
    def login(self) -> LogoutHandler | None: ...

    def render(self, visit: Visit, template: str, values: Mapping[str, Any], status: int, /) -> Response: ...


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request.

    Attributes:
        body: the raw request body.
        params: the parameters in the path, by name.
        csrf: the token that forms must contain.
        can_log_out: whether the request belongs to a session that can be ended.
    """

    site: Dashboard
    request: Request
    body: bytes
    queue: EmbedQ
    access: Access
    params: dict[str, Any] = field(default_factory=dict)
    csrf: str = ""
    can_log_out: bool = False

    @property
    def now(self) -> datetime:
        return to_datetime(self.queue.clock.now())

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def form(self) -> ImmutableMultiDict[str, str]:
        """Return the submitted form fields. BadRequest if the body is not a form."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-www-form-urlencoded", ""):
            raise BadRequest("a form must be sent as application/x-www-form-urlencoded")
        try:
            pairs = parse_qsl(self.body.decode("utf-8"), keep_blank_values=True, max_num_fields=5_000)
        except ValueError:
            raise BadRequest("the form cannot be read") from None
        check_texts(text for pair in pairs for text in pair)
        return ImmutableMultiDict(pairs)

    @property
    def live(self) -> bool:
        """Return whether this is a refresh of an open page, which only needs the live part."""
        return self.request.headers.get("x-embedq-live") == "1"

    @property
    def secure(self) -> bool:
        return is_secure(self.request)

    @property
    def base(self) -> str:
        """Return the path of the dashboard as the browser sees it, without a trailing slash."""
        return base_path(self.request)

    def url(self, *path: object, **query: object) -> str:
        """Return a link within the dashboard. Parameters that are None or empty are omitted; lists are repeated."""
        link = f"{self.base}/{'/'.join(quote(str(part), safe=':') for part in path)}"
        pairs = [
            (name.rstrip("_"), str(item))
            for name, value in query.items()
            for item in (value if isinstance(value, list | tuple) else [value])
            if item is not None and item != ""
        ]
        return f"{link}?{urlencode(pairs)}" if pairs else link

    def link_to(self, kind: str, name: str, **query: object) -> str:
        """Return a link to one recurring job or function, whatever its name; `kind` is "recurring" or "tasks"."""
        if _SAFE_IN_PATH.fullmatch(name):
            return self.url(kind, "of", name, **query)
        return self.url(kind, "of", name=name, **query)

    @property
    def name(self) -> str:
        """Return the name in a link of `link_to`."""
        return str(self.params["name"] if "name" in self.params else self.query.get("name", ""))

    def here(self, **changed: object) -> str:
        """Return this page's link with some parameters changed; None removes one."""
        pairs: list[tuple[str, str]] = [
            (name, value) for name, value in self.request.query_params.multi_items() if name not in changed
        ]
        for name, value in changed.items():
            pairs += [(name, str(item)) for item in (value if isinstance(value, list | tuple) else [value])
                      if item is not None and item != ""]  # fmt: skip
        return f"{self.base}{quote(self.path, safe='/:')}" + (f"?{urlencode(pairs)}" if pairs else "")

    @property
    def path(self) -> str:
        """Return the path within the dashboard; starts with a slash."""
        return route_path(self.request.scope)

    def require(self, permission: Permission) -> None:
        """Raise Denied unless the user has the permission."""
        if permission not in self.access.may:
            raise Denied(permission)

    def may(self, permission: str) -> bool:
        return permission in self.access.may

    # -- responses -----------------------------------------------------------------------------------------------------

    def page(self, template: str, /, *, status: int = 200, **values: Any) -> Response:
        """Return a page, or its live part."""
        return self.site.render(self, template, values, status)

    def back_to(self, url: str, message: str, *, failed: bool = False) -> Response:
        """Redirect after a change, to a page that shows the message once."""
        response = RedirectResponse(url, status_code=303)
        text = quote(("!" if failed else "") + message[:400])
        response.set_cookie(
            FLASH_COOKIE, text, max_age=60, path=self.base or "/", httponly=True, samesite="lax", secure=self.secure
        )
        return response

    def go_to(self, url: str) -> Response:
        """Redirect to another page."""
        return RedirectResponse(url, status_code=303)

    def holds(self) -> list[Hold]:
        """Return what is paused."""
        return list(self.held_jobs())

    def held_jobs(self) -> dict[Hold, Count]:
        """Return what is paused, with how many jobs each pause has parked."""
        return self.cached("holds", self.queue.monitor.held_jobs)

    def limits(self) -> list[LimitUse]:
        """Return the limits, by name."""
        return self.cached("limits", self.queue.monitor.limits)

    def came_from(self, *fallback: object) -> str:
        """Return the form's `next` link if it leads to the dashboard, else the fallback."""
        target = self.form.get("next", "")
        return target if is_inside(target, self.base) else self.url(*fallback)

    @property
    def hidden(self) -> Hidden | None:
        """Return which arguments are hidden from searches; None if all are shown."""
        redaction, registry = self.site.redaction, self.queue.engine.registry
        if not redaction.patterns:
            return None
        places = {name: redaction.places(parameters(self.queue, name)) for name in registry.names()}
        return Hidden(patterns=redaction.patterns, places={name: found for name, found in places.items() if found})

    # -- cached reads --------------------------------------------------------------------------------------------------

    def cached(self, name: str, read: Callable[[], T]) -> T:
        """Return what `read` returns, or what it returned to a recent request; see `QueryCache`."""
        return self.site.cache.get(self.queue, name, read)

    def alive(self) -> dict[int, Server]:
        """Return the processes with a recent heartbeat, by number."""
        lease = self.queue.settings.lease
        return {
            server.id: server
            for server in self.cached("servers", self.queue.servers)
            if (self.now - server.heartbeat_at).total_seconds() <= lease
        }

    def counts(self) -> dict[JobState, Count]:
        """Return the jobs by state, counted up to about a thousand, for the tabs of a list."""
        return self.cached("counts", lambda: self.queue.database.read(counts, COUNT_LIMIT))


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path within the dashboard."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return path or "/"


def check_texts(texts: Iterable[str]) -> None:
    """Raise BadRequest for NUL characters: some databases reject them."""
    if any("\0" in text for text in texts):
        raise BadRequest("the request contains a NUL character")


def is_inside(link: str, base: str) -> bool:
    """Return whether a link leads to a page of the dashboard at `base`."""
    inside = link.startswith(f"{base}/") and not link.startswith("//") and "\\" not in link
    return inside and link.isprintable()


def is_secure(request: Request) -> bool:
    """Return whether the browser uses HTTPS, as far as is known."""
    # Not `request.url`: building it fails for some Host headers.
    return request.scope.get("scheme") == "https" or request.headers.get("x-forwarded-proto", "") == "https"


def base_path(request: Request) -> str:
    """Return the path of the dashboard as the browser sees it. A proxy may have removed a prefix, which it reports."""
    root = str(request.scope.get("root_path") or "").rstrip("/")
    prefix = request.headers.get("x-forwarded-prefix", "").split(",")[0].strip().rstrip("/")
    if _PREFIX.fullmatch(prefix) and not f"{root}/".startswith(f"{prefix}/"):
        return quote(prefix + root)
    return "" if root.startswith("//") else quote(root)

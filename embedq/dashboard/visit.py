"""One request on its way through the dashboard: what it asks, who asks it, and the queue it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from embedq.app import EmbedQ
from embedq.clock import to_datetime
from embedq.dashboard.access import Access, Permission, Refused
from embedq.dashboard.templating import parameters
from embedq.job import JobState
from embedq.redaction import Hidden
from embedq.storage.inspect.glance import Count, counts
from embedq.storage.inspect.processes import Server

if TYPE_CHECKING:
    from embedq.dashboard.site import Site

T = TypeVar("T")

# A prefix that a proxy tells of. It is only ever a path: "//evil.example" would be another host.
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
FLASH_COOKIE = "embedq_flash"
COUNTED = 1_000


class BadRequest(Exception):
    """What is asked cannot be understood; the message says what to do."""


class WrongMethod(Exception):
    """The address is there, for other methods.

    Attributes:
        allowed: those.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this address takes {' or '.join(allowed)}")
        self.allowed = allowed


class NotFound(Exception):
    """There is nothing of that name or at that address."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """One request.

    Attributes:
        body: as it came.
        params: what the path holds, by name.
        csrf: the token that forms must send back.
    """

    site: Site
    request: Request
    body: bytes
    queue: EmbedQ
    access: Access
    params: dict[str, Any] = field(default_factory=dict)
    csrf: str = ""

    @property
    def now(self) -> datetime:
        return to_datetime(self.queue.clock.now())

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def form(self) -> ImmutableMultiDict[str, str]:
        """The fields of the form that was sent. BadRequest if it is no form."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-www-form-urlencoded", ""):
            raise BadRequest("a form must be sent as application/x-www-form-urlencoded")
        try:
            return ImmutableMultiDict(
                parse_qsl(self.body.decode("utf-8"), keep_blank_values=True, max_num_fields=5_000)
            )
        except ValueError:
            raise BadRequest("the form cannot be read") from None

    @property
    def live(self) -> bool:
        """Whether an open page asks only for what may have changed in it."""
        return self.request.headers.get("x-embedq-live") == "1"

    @property
    def secure(self) -> bool:
        return self.request.url.scheme == "https" or self.request.headers.get("x-forwarded-proto", "") == "https"

    @property
    def base(self) -> str:
        """The path under which the dashboard is reached from the browser, without a slash at its end."""
        return base_path(self.request)

    def url(self, *path: object, **query: object) -> str:
        """A link within the dashboard. Parameters that are None or empty are left out; lists are repeated."""
        link = f"{self.base}/{'/'.join(quote(str(part), safe=':') for part in path)}"
        pairs = [
            (name.rstrip("_"), str(item))
            for name, value in query.items()
            for item in (value if isinstance(value, list | tuple) else [value])
            if item is not None and item != ""
        ]
        return f"{link}?{urlencode(pairs)}" if pairs else link

    def here(self, **changed: object) -> str:
        """This page's link with some of its parameters changed; None takes one out."""
        pairs: list[tuple[str, str]] = [
            (name, value) for name, value in self.request.query_params.multi_items() if name not in changed
        ]
        for name, value in changed.items():
            pairs += [(name, str(item)) for item in (value if isinstance(value, list | tuple) else [value])
                      if item is not None and item != ""]  # fmt: skip
        return f"{self.base}{self.path}" + (f"?{urlencode(pairs)}" if pairs else "")

    @property
    def path(self) -> str:
        """The path within the dashboard; begins with a slash."""
        return route_path(self.request.scope)

    def require(self, permission: Permission) -> None:
        """Refused unless they may."""
        if permission not in self.access.may:
            raise Refused(f"you may look here, but not {permission}: the permission {permission.value!r} is needed")

    def may(self, permission: str) -> bool:
        return permission in self.access.may

    # -- answers -------------------------------------------------------------------------------------------------------

    def page(self, template: str, /, *, status: int = 200, **values: Any) -> Response:
        """A page, or what is live in it."""
        return self.site.render(self, template, values, status)

    def back_to(self, url: str, message: str, *, failed: bool = False) -> Response:
        """After a change: on to a page, which shows the message once."""
        response = RedirectResponse(url, status_code=303)
        text = quote(("!" if failed else "") + message[:400])
        response.set_cookie(
            FLASH_COOKIE, text, max_age=60, path=self.base or "/", httponly=True, samesite="lax", secure=self.secure
        )
        return response

    def go_to(self, url: str) -> Response:
        """On to another page."""
        return RedirectResponse(url, status_code=303)

    def came_from(self, *fallback: object) -> str:
        """Where a form wants to go on, which is a page of the dashboard in any case."""
        wanted = self.form.get("next", "")
        inside = wanted.startswith(f"{self.base}/") and not wanted.startswith("//") and "\\" not in wanted
        return wanted if inside and wanted.isprintable() else self.url(*fallback)

    @property
    def hidden(self) -> Hidden | None:
        """What of the jobs' arguments is not shown; None if all is."""
        redaction, registry = self.site.redaction, self.queue.engine.registry
        if not redaction.patterns:
            return None
        places = {name: redaction.places(parameters(self.queue, name)) for name in registry.names()}
        return Hidden(patterns=redaction.patterns, places={name: found for name, found in places.items() if found})

    # -- what several pages, and all who have one open, look at --------------------------------------------------------

    def shared(self, name: str, look: Callable[[], T]) -> T:
        """What `look` finds, or what it found a moment ago for somebody else; see `Looks`."""
        return self.site.looks.get(self.queue, name, look)

    def alive(self) -> dict[int, Server]:
        """The processes that were heard of lately, by their numbers."""
        lease = self.queue.settings.lease
        return {
            server.id: server
            for server in self.shared("servers", self.queue.servers)
            if (self.now - server.heartbeat_at).total_seconds() <= lease
        }

    def counts(self) -> dict[JobState, Count]:
        """Jobs by state, counted up to a thousand or so: enough for the tabs of a list."""
        return self.shared("counts", lambda: self.queue.database.read(counts, COUNTED))


def route_path(scope: Mapping[str, Any]) -> str:
    """The path within the dashboard."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "").rstrip("/")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return path or "/"


def base_path(request: Request) -> str:
    """The path before it, as the browser sees it: a proxy in front may have taken off a part, and tells of it."""
    root = str(request.scope.get("root_path") or "").rstrip("/")
    prefix = request.headers.get("x-forwarded-prefix", "").split(",")[0].strip().rstrip("/")
    if _PREFIX.fullmatch(prefix) and not f"{root}/".startswith(f"{prefix}/"):
        return quote(prefix + root)
    return "" if root.startswith("//") else quote(root)

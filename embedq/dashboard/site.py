"""The dashboard as one object: from a request to an answer.

`Site.respond` is plain synchronous code; `serving` calls it from ASGI (on threads of its own) and from WSGI (on the
request's own thread). So what a handler calls, `authorize` and pages of the user's own included, sees the context that
its framework set up. Handlers are functions of a `Visit`; `routes` lists them.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from embedq import default_app
from embedq.app import EmbedQ
from embedq.dashboard import assets, csrf, plain
from embedq.dashboard.access import Access, Authorize, Credentials, Guard, Refused
from embedq.dashboard.extension import Column, Metric, Page
from embedq.dashboard.looks import Looks
from embedq.dashboard.templating import environment
from embedq.dashboard.visit import FLASH_COOKIE, BadRequest, NotFound, Visit, WrongMethod, route_path
from embedq.errors import (
    ActionNotFoundError,
    ConfigurationError,
    EmbedqError,
    JobNotFoundError,
    NotStartedError,
    ScheduleNotFoundError,
    StorageError,
)
from embedq.offload import Offload
from embedq.redaction import SECRETS, Redaction

logger = logging.getLogger("embedq.dashboard")

# What the time says in words changes by itself; it is no reason to send a page again.
_WORDS_OF_TIME = re.compile(r"(<time [^>]*>)[^<]*")
# An open dashboard must not hold up the application's own calls: it has threads of its own, and few.
THREADS = 4
MAX_BODY = 2_000_000
REFRESH_SECONDS = 3.0
# An open page waits so many times as long as its last look took, in vain or not, so that it never costs the host more
# than two thirds of a percent of a core; a minute at most.
REST, MOST_REST = 150.0, 60.0

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

QueueSource: TypeAlias = EmbedQ | Callable[[], EmbedQ] | None


class Site:
    """One dashboard: an app, who may use it, and what the user has added.

    Args:
        queue: the app, or a function that gives it for each request; embedq's default app when None.
        authorize, basic_auth, read_only, hosts: see `Guard`.
        secret_key: signs the tokens of forms; the app's own key when None.
        redact: patterns; arguments whose name matches one are not shown.
        pages, columns, metrics: the user's own; see `extension`.
        title: at the top of each page.
        refresh: seconds between two looks of an open page.
    Raises:
        ConfigurationError: an argument that cannot work.
    """

    def __init__(
        self,
        queue: QueueSource = None,
        *,
        authorize: Authorize | None = None,
        basic_auth: Credentials | None = None,
        read_only: bool = False,
        hosts: Iterable[str] | None = None,
        secret_key: str | None = None,
        redact: Sequence[str] = SECRETS,
        pages: Sequence[Page] = (),
        columns: Sequence[Column] = (),
        metrics: Sequence[Metric] = (),
        title: str = "embedq",
        refresh: float = REFRESH_SECONDS,
    ) -> None:
        # Imported here: the handlers import what this module has.
        from embedq.dashboard.routes import Routes

        if not (queue is None or isinstance(queue, EmbedQ) or callable(queue)):
            raise ConfigurationError(f"{queue!r} must be an embedq.EmbedQ, or a function that returns one")
        if not 1 <= refresh <= 3600:
            raise ConfigurationError(f"refresh={refresh!r} must be seconds, from 1 to 3600")
        self.guard = Guard(authorize=authorize, basic_auth=basic_auth, read_only=read_only, hosts=hosts)
        self.redaction = Redaction(redact)
        self.pages = tuple(pages)
        self.columns = tuple(columns)
        self.metrics = tuple(metrics)
        self.title = title
        self.refresh = refresh
        self.offload = Offload(THREADS)
        self.looks = Looks()
        self._queue = queue
        self._tokens = csrf.Tokens(secret_key)
        self._routes = Routes(self.pages)
        self._templates = environment(self)

    # -- who asks ------------------------------------------------------------------------------------------------------

    @property
    def asks_on_the_loop(self) -> bool:
        """Whether `authorize` is a coroutine function, which only ASGI can await."""
        authorize = self.guard.authorize
        return inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(
            getattr(authorize, "__call__", None)  # noqa: B004
        )

    def access_of(self, request: Request) -> Access:
        """What the request may do. Refused if nothing."""
        self.guard.check_host(request)
        if self.guard.authorize is None:
            return self.guard.admit(request)
        verdict = self.guard.authorize(request)
        if inspect.isawaitable(verdict):
            getattr(verdict, "close", lambda: None)()
            raise ConfigurationError("an authorize function that is async needs the dashboard mounted by asgi()")
        return self.guard.granted(verdict)

    # -- the answer ----------------------------------------------------------------------------------------------------

    def respond(self, request: Request, body: bytes, access: Access | Exception | None = None) -> Response:
        """The answer to one request, whatever happens.

        Args:
            access: what was found out already, or the error that met who tried; None finds it out.
        """
        try:
            response = self._respond(request, body, access)
        except Refused as refused:
            response = plain.answer(route_path(request.scope), refused.status, str(refused), refused.headers)
        except Exception:
            logger.exception("the dashboard failed at %s", request.scope.get("path"))
            response = plain.answer(
                route_path(request.scope), 500, "the dashboard failed; the application's log says how"
            )
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def too_large(self, path: str) -> Response:
        """The answer to a request with too much in it, which nobody reads."""
        return plain.answer(path, 413, f"a request may have {MAX_BODY:,} bytes", HEADERS)

    def _respond(self, request: Request, body: bytes, access: Access | Exception | None) -> Response:
        if isinstance(access, Exception):
            raise access
        if access is None:
            access = self.access_of(request)
        path = route_path(request.scope)
        method = "GET" if request.method == "HEAD" else request.method
        if path.startswith("/static/"):
            return assets.respond(path.removeprefix("/static/"))
        visit = Visit(site=self, request=request, body=body, queue=self._find_queue(), access=access)
        nonce = request.cookies.get(csrf.COOKIE)
        try:
            self._connect(visit.queue)
            fresh = csrf.new_nonce() if not csrf.is_nonce(nonce) else None
            visit.csrf = self._tokens.token(visit.queue, fresh or str(nonce), access.user)
            handler, visit.params = self._routes.find(method, path)
            if method != "GET":
                csrf.check(visit, api=plain.is_api(path))
            began = visit.queue.clock.monotonic()
            response = handler(visit)
            if visit.live:
                rest = min(MOST_REST, REST * (visit.queue.clock.monotonic() - began))
                response.headers["X-Embedq-Rest"] = f"{rest:.3f}"
        except Exception as error:
            response = self._failed(visit, error)
            fresh = None
        if fresh is not None and method == "GET" and not plain.is_api(path):
            response.set_cookie(
                csrf.COOKIE, fresh, path=visit.base or "/", httponly=True, samesite="lax", secure=visit.secure
            )
        return response

    def _find_queue(self) -> EmbedQ:
        if self._queue is None:
            return default_app()
        if isinstance(self._queue, EmbedQ):
            return self._queue
        found = self._queue()
        if not isinstance(found, EmbedQ):
            raise ConfigurationError(f"the function that gives the dashboard its queue gave {found!r}")
        return found

    @staticmethod
    def _connect(queue: EmbedQ) -> None:
        """Open the database, if nobody has. Nothing is created or migrated for somebody who only looks."""
        if not queue.engine.connected and queue.engine.when_needed is None:
            queue.connect(migrate=False)

    def _failed(self, visit: Visit, error: Exception) -> Response:
        match error:
            case NotFound() | JobNotFoundError() | ScheduleNotFoundError() | ActionNotFoundError():
                status = 404
            case BadRequest():
                status = 400
            case WrongMethod():
                status = 405
            case Refused():
                status = error.status
            case csrf.WrongToken():
                status = 403
            case StorageError() | NotStartedError():
                status = 503
            case EmbedqError():
                status = 400
            case _:
                raise error
        message = str(error.args[0]) if error.args else type(error).__name__
        if plain.is_api(visit.path):
            from embedq.dashboard.api import document

            response = document({"error": message}, status=status)
        else:
            if status == 503:
                logger.warning("the dashboard cannot read the queue: %s", error)
            response = self.render(visit, "failed.html", {"status": status, "message": message}, status)
        if isinstance(error, WrongMethod):
            response.headers["Allow"] = ", ".join(error.allowed)
        return response

    def render(self, visit: Visit, template: str, values: Mapping[str, Any], status: int) -> Response:
        """A page as HTML; to an open page that asks for news, only what is live in it, or 304 where nothing is new."""
        flash = unquote(visit.request.cookies.get(FLASH_COOKIE, "")) if not visit.live else ""
        html = self._templates.get_template(template).render(
            visit=visit, site=self, layout="live.html" if visit.live else "layout.html", flash=flash, **values
        )
        headers = {"Content-Type": "text/html; charset=utf-8"}
        if visit.live:
            etag = hashlib.blake2b(_WORDS_OF_TIME.sub(r"\1", html).encode(), digest_size=9).hexdigest()
            headers["ETag"] = etag
            if visit.request.headers.get("if-none-match") == etag:
                return Response(status_code=304, headers=headers)
        response = Response(html, status_code=status, headers=headers)
        if flash:
            response.delete_cookie(FLASH_COOKIE, path=visit.base or "/", httponly=True, samesite="lax")
        return response

"""One dashboard: turns a request into a response.

`Site.respond` is synchronous. `serving` calls it under WSGI on the thread of the request, and under ASGI on a thread
pool of the dashboard. `authorize` and custom pages therefore see the context that the framework has set up. Handlers
are functions of a `Visit`; `routes` lists them.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from embedq import default_app
from embedq.app import EmbedQ
from embedq.dashboard import assets, csrf, error_pages, responses
from embedq.dashboard.access import Access, AccessPolicy, Authorize, Credentials, Denied, Refused
from embedq.dashboard.api import document
from embedq.dashboard.cache import QueryCache
from embedq.dashboard.columns import Column, Metric
from embedq.dashboard.extension import Page
from embedq.dashboard.login import Login
from embedq.dashboard.passwords import Passwords
from embedq.dashboard.routes import Routes
from embedq.dashboard.templating import environment
from embedq.dashboard.throttling import RateLimiter
from embedq.dashboard.tokens import LoginTokens
from embedq.dashboard.visit import FLASH_COOKIE, BadRequest, NotFound, Visit, WrongMethod, check_texts, route_path
from embedq.display.redaction import SECRETS, Redaction
from embedq.errors import (
    ActionNotFoundError,
    ConfigurationError,
    EmbedqError,
    JobNotFoundError,
    NotStartedError,
    ScheduleNotFoundError,
    StorageError,
)
from embedq.observability.log import get_logger
from embedq.process.offload import Offload

logger = get_logger("embedq.dashboard")

# Relative times ("3 min ago") change by themselves and are ignored when two versions of a page are compared.
_WORDS_OF_TIME = re.compile(r"(<time [^>]*>)[^<]*")
# The dashboard has its own small thread pool under ASGI, so that it never blocks the application's calls.
THREADS = 4
MAX_BODY = 2_000_000
REFRESH_SECONDS = 3.0
# An open page pauses this many times the duration of its last refresh, at most a minute, so that it uses at most two
# thirds of a percent of a core.
PAUSE_FACTOR, MAX_PAUSE_SECONDS = 150.0, 60.0

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
    """One dashboard: an app, its access rules, and the extensions of the application.

    Args:
        queue: the app, or a function that returns it for each request; embedq's default app when None.
        authorize, read_only, hosts: see `AccessPolicy`.
        basic_auth: a name and a password, or several as a mapping.
        token: the login token, used without `authorize` and `basic_auth`; derived from the app's key when None.
        secret_key: signs the CSRF tokens of forms; the app's key when None.
        redact: patterns; values whose name matches one are hidden.
        pages, columns, metrics: added by the application; see `extension`.
        title: shown at the top of each page.
        refresh: seconds between refreshes of an open page.
    Raises:
        ConfigurationError: an invalid argument.
    """

    def __init__(
        self,
        queue: QueueSource = None,
        *,
        authorize: Authorize | None = None,
        basic_auth: Credentials | None = None,
        token: str | None = None,
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
        if not (queue is None or isinstance(queue, EmbedQ) or callable(queue)):
            raise ConfigurationError(f"{queue!r} must be an embedq.EmbedQ, or a function that returns one")
        if not 1 <= refresh <= 3600:
            raise ConfigurationError(f"refresh={refresh!r} must be seconds, from 1 to 3600")
        if sum(way is not None for way in (authorize, basic_auth, token)) > 1:
            raise ConfigurationError("give the dashboard one of authorize=, basic_auth= and token=, not both")
        self.policy = AccessPolicy(authorize=authorize, read_only=read_only, hosts=hosts)
        self.passwords = None if basic_auth is None else Passwords(basic_auth)
        by_token = authorize is None and basic_auth is None
        self.login = Login(LoginTokens(token, read_only=read_only)) if by_token else None
        self.redaction = Redaction(redact)
        self.pages = tuple(pages)
        self.columns = tuple(columns)
        self.metrics = tuple(metrics)
        self.title = title
        self.refresh = refresh
        self.offload = Offload(THREADS)
        self.cache = QueryCache()
        self._queue = queue
        self._tokens = csrf.CsrfTokens(secret_key)
        self._routes = Routes(self.pages)
        self._templates = environment()
        self._rate_limiter = RateLimiter()

    # -- access --------------------------------------------------------------------------------------------------------

    @property
    def authorizes_on_the_loop(self) -> bool:
        """Return whether `authorize` is a coroutine function, which only ASGI can await."""
        authorize = self.policy.authorize
        return inspect.iscoroutinefunction(authorize) or inspect.iscoroutinefunction(
            getattr(authorize, "__call__", None)  # noqa: B004
        )

    def access_of(self, request: Request, body: bytes) -> Access | Response:
        """Return what the request may do, or a response such as a login page. Refused if access is denied."""
        self.policy.check_host(request)
        if self.policy.authorize is None:
            queue = self._find_queue()
            if self.passwords is not None:
                return self.policy.limited(Access(user=self.passwords.user(request, queue.clock.monotonic())))
            assert self.login is not None
            self._connect(queue)
            entered = self.login.enter(request, body, queue)
            return self.policy.limited(entered) if isinstance(entered, Access) else entered
        verdict = self.policy.authorize(request)
        if inspect.isawaitable(verdict):
            getattr(verdict, "close", lambda: None)()
            raise ConfigurationError("an async authorize function requires the dashboard to be mounted with asgi()")
        return self.policy.granted(verdict)

    # -- responses -----------------------------------------------------------------------------------------------------

    def respond(self, request: Request, body: bytes, access: Access | Response | Exception | None = None) -> Response:
        """Return the response to one request. Only exceptions that the framework handles are raised.

        Args:
            access: the result of authorization, or its error; None authorizes here.
        """
        path = route_path(request.scope)
        try:
            entered = self._entered(request, path, body, access)
            if isinstance(entered, Response):
                return entered
            response = self._respond(request, body, entered)
        except Exception as error:
            if responses.is_left_to_framework(error, request.scope):
                raise
            logger.exception("the dashboard failed at %s", request.scope.get("path"))
            response = error_pages.response(path, 500, "the dashboard failed; see the application's log")
        return _with_security_headers(response)

    def _entered(
        self, request: Request, path: str, body: bytes, access: Access | Response | Exception | None
    ) -> Access | Response:
        """Return what the request may do, or the complete response if it is not let in."""
        try:
            entered = self.access_of(request, body) if access is None else access
            if isinstance(entered, Exception):
                raise entered
        except Exception as error:
            return self._refusal(request, path, error)
        if not isinstance(entered, Response):
            return entered
        return _with_security_headers(entered) if self.policy.authorize is None else _from_application(entered)

    def _refusal(self, request: Request, path: str, error: Exception) -> Response:
        headers: Mapping[str, str] = {}
        match error:
            case Refused():
                status, message, headers = error.status, str(error), error.headers
                if error.reason is not None:
                    self._warn(f"the dashboard refused a request: {error.reason}")
            case StorageError() | NotStartedError():
                self._warn(f"the dashboard cannot read the queue: {error}")
                status, message = 503, "the queue cannot be read; see the application's log"
            case _ if responses.is_left_to_framework(error, request.scope):
                raise error
            case _:
                found = responses.response_for(error)
                if found is None:
                    raise error
                if isinstance(found, Response):
                    return _from_application(found)
                status, message, headers = found
        return _with_security_headers(error_pages.response(path, status, message, headers))

    def _warn(self, text: str) -> None:
        """Log a warning, at most once a minute: requests may arrive at any rate."""
        if self._rate_limiter.allows(text, time.monotonic(), seconds=60.0):
            logger.warning("%s", text)

    def too_large(self, path: str) -> Response:
        """Return the response to a request whose body is too large; the body is not read."""
        return error_pages.response(path, 413, f"the request body exceeds {MAX_BODY:,} bytes", HEADERS)

    def _respond(self, request: Request, body: bytes, access: Access) -> Response:
        path = route_path(request.scope)
        method = "GET" if request.method == "HEAD" else request.method
        if path.startswith("/static/"):
            return assets.respond(path.removeprefix("/static/"))
        visit = Visit(site=self, request=request, body=body, queue=self._find_queue(), access=access)
        nonce = request.cookies.get(csrf.COOKIE)
        try:
            self._connect(visit.queue)
            visit.can_log_out = self.login is not None and self.login.is_session(request, visit.queue)
            fresh = csrf.new_nonce() if not csrf.is_nonce(nonce) else None
            visit.csrf = self._tokens.token(visit.queue, fresh or str(nonce), access.user)
            check_texts([path, *(text for pair in request.query_params.multi_items() for text in pair)])
            handler, visit.params = self._routes.find(method, path)
            if method != "GET":
                csrf.check(visit, api=error_pages.is_api(path))
            began = visit.queue.clock.monotonic()
            response = handler(visit)
            if visit.live:
                pause = min(MAX_PAUSE_SECONDS, PAUSE_FACTOR * (visit.queue.clock.monotonic() - began))
                response.headers["X-Embedq-Rest"] = f"{pause:.3f}"
        except Exception as error:
            response = self._failed(visit, error)
            fresh = None
        if method == "GET" and not error_pages.is_api(path):
            where = visit.base or "/"
            if fresh is not None:
                response.set_cookie(csrf.COOKIE, fresh, path=where, httponly=True, samesite="lax", secure=visit.secure)
            if self.passwords is not None:
                self.passwords.mark(request, response, access.user, path=where, secure=visit.secure)
        return response

    def _find_queue(self) -> EmbedQ:
        if self._queue is None:
            return default_app()
        if isinstance(self._queue, EmbedQ):
            return self._queue
        found = self._queue()
        if not isinstance(found, EmbedQ):
            raise ConfigurationError(f"the dashboard's queue function must return an embedq.EmbedQ, not {found!r}")
        return found

    @staticmethod
    def _connect(queue: EmbedQ) -> None:
        """Connect to the database unless it is connected. The dashboard creates and migrates nothing."""
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
            case Denied():
                status = error.status
                self._record_denied(visit, error)
            case csrf.CsrfError():
                status = 403
            case StorageError() | NotStartedError():
                status = 503
            case EmbedqError():
                status = 400
            case _:
                raise error
        message = str(error.args[0]) if error.args else type(error).__name__
        if error_pages.is_api(visit.path):
            response = document({"error": message}, status=status)
        else:
            if status == 503:
                logger.warning("the dashboard cannot read the queue: %s", error)
            values = {"status": status, "title": error_pages.title(status), "message": message}
            response = self.render(visit, "failed.html", values, status)
        if isinstance(error, WrongMethod):
            response.headers["Allow"] = ", ".join(error.allowed)
        return response

    def _record_denied(self, visit: Visit, denied: Denied) -> None:
        """Record a denied request in the audit log, at most once a minute for each user, permission and path."""
        user, target = visit.access.user or "unknown", f"{visit.request.method} {visit.path}"
        if not self._rate_limiter.allows(f"{user} {denied.permission} {target}", time.monotonic(), seconds=60.0):
            return
        try:
            visit.queue.actions.record(
                actor=user, verb=f"denied {denied.permission}", subject=target[:200], error=str(denied)
            )
        except StorageError as error:
            logger.warning("the dashboard cannot record that %r was denied %s: %s", user, target, error)

    def render(self, visit: Visit, template: str, values: Mapping[str, Any], status: int) -> Response:
        """Return a page as HTML. A refresh of an open page gets only its live part, or 304 if that is unchanged."""
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


def _with_security_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _from_application(response: Response) -> Response:
    """Return a response of `authorize`; the application's pages set their own security headers."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response

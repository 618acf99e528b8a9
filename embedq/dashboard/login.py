"""Login with a token: the default authentication, without `authorize` and `basic_auth`.

/jobs?token=…                     starts a session and redirects to the address without the token
POST /login                       the same, for a token that was typed in
Authorization: Bearer …           for programs, with each request
POST /logout                      ends the session in this browser
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from embedq.app import EmbedQ
from embedq.dashboard import error_pages
from embedq.dashboard.access import Access, Refused
from embedq.dashboard.throttling import FREE_FAILURES, FailedLogins, RateLimiter
from embedq.dashboard.tokens import LOGGED_TOKEN_SECONDS, SESSION_SECONDS, LoginTokens
from embedq.dashboard.visit import NotFound, Visit, base_path, is_inside, is_secure, route_path
from embedq.errors import ConfigurationError
from embedq.observability.log import get_logger

logger = get_logger("embedq.dashboard")

# The user name in the audit log.
USER = "token"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="embedq"'}
_WRONG = "this token is wrong or has expired"


class Login:
    """Authorizes requests that have a valid token or session.

    Args:
        tokens: the valid tokens.
    """

    def __init__(self, tokens: LoginTokens) -> None:
        self.tokens = tokens
        self.failures = FailedLogins()
        self._rate_limiter = RateLimiter()

    def enter(self, request: Request, body: bytes, queue: EmbedQ) -> Access | Response:
        """Return what the request may do, or a response such as the login page.

        Raises:
            Refused: the request is not authorized, or no token can be made; the log states what to do.
        """
        try:
            known = self.is_session(request, queue)
        except ConfigurationError as error:
            raise Refused("login is not configured for this dashboard", reason=str(error)) from None
        path = route_path(request.scope)
        if error_pages.is_api(path):
            return Access(user=USER) if known else self._by_header(request, queue)
        if path == "/login":
            return self._by_form(request, body, queue)
        given = request.query_params.get("token") if request.method in ("GET", "HEAD") else None
        if given is not None:
            return self._by_link(request, queue, given, known=known)
        if known:
            return Access(user=USER)
        if "authorization" in request.headers:
            return self._by_header(request, queue)
        return self._login_page(request, queue, status=401)

    def leave(self, visit: Visit) -> Response:
        """End the session in this browser."""
        response = visit.go_to(visit.url(""))
        response.delete_cookie(
            self.tokens.cookie(visit.queue), path=visit.base or "/", httponly=True, samesite="lax", secure=visit.secure
        )
        return response

    def is_session(self, request: Request, queue: EmbedQ) -> bool:
        """Return whether the request has a valid session."""
        return self.tokens.is_session(queue, request.cookies.get(self.tokens.cookie(queue), ""))

    # -- methods -------------------------------------------------------------------------------------------------------

    def _by_header(self, request: Request, queue: EmbedQ) -> Access | Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._accepts(queue, given):
                return Access(user=USER)
            raise Refused(_WRONG, status=401, headers=_CHALLENGE)
        self._log_token(queue)
        raise Refused("a token is required: Authorization: Bearer …", status=401, headers=_CHALLENGE)

    def _by_link(self, request: Request, queue: EmbedQ, given: str, *, known: bool) -> Response:
        target = _without_token(request)
        if self._accepts(queue, given):
            return self._start_session(request, queue, target)
        # An old link must not lock out a user with a session.
        return RedirectResponse(target, 303) if known else self._login_page(request, queue, status=401, message=_WRONG)

    def _by_form(self, request: Request, body: bytes, queue: EmbedQ) -> Response:
        home = f"{base_path(request)}/"
        if request.method != "POST":
            return RedirectResponse(home, 303)
        try:
            form = dict(parse_qsl(body.decode(), max_num_fields=10))
        except ValueError:
            form = {}
        target = form.get("next", "")
        if self._accepts(queue, form.get("token", "")):
            return self._start_session(request, queue, target if is_inside(target, base_path(request)) else home)
        return self._login_page(request, queue, status=401, message=_WRONG, target=target)

    def _accepts(self, queue: EmbedQ, given: str) -> bool:
        """Return whether the token is valid. A valid one is never delayed: it cannot be guessed.

        Raises:
            Refused: there were too many wrong tokens recently.
        """
        if self.tokens.is_valid(queue, given):
            return True
        now = queue.clock.monotonic()
        delay = self.failures.delay("", now)
        if delay:
            raise Refused.too_many("tokens", delay)
        number = self.failures.record("", now)
        if number % FREE_FAILURES == 0:
            logger.warning("the dashboard has received %d wrong tokens", number)
        return False

    def _start_session(self, request: Request, queue: EmbedQ, target: str) -> Response:
        response = RedirectResponse(target, status_code=303)
        response.set_cookie(
            self.tokens.cookie(queue),
            self.tokens.session(queue),
            max_age=SESSION_SECONDS,
            path=base_path(request) or "/",
            httponly=True,
            samesite="lax",
            secure=is_secure(request),
        )
        return response

    def _login_page(
        self, request: Request, queue: EmbedQ, *, status: int, message: str = "", target: str | None = None
    ) -> Response:
        self._log_token(queue)
        if target is None and request.method in ("GET", "HEAD"):
            target = _without_token(request)
        return error_pages.token_page(
            f"{base_path(request)}/login", target or "", status=status, message=message, headers=_CHALLENGE
        )

    def _log_token(self, queue: EmbedQ) -> None:
        """Log how to log in, once per lifetime of the token in the message."""
        if self.tokens.is_configured or not self._rate_limiter.allows(
            "token", queue.clock.monotonic(), seconds=LOGGED_TOKEN_SECONDS
        ):
            return
        # Not a complete URL: the host name comes from the request and cannot be trusted.
        logger.warning(
            "the dashboard requires a token, since neither authorize= nor basic_auth= is set. To log in within the "
            "next hour, add this to its address: ?token=%s (`embedq dashboard --token` prints one that does not "
            "expire)",
            self.tokens.temporary(queue),
        )


def _without_token(request: Request) -> str:
    """Return the requested address without the token."""
    rest = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
    # Two leading slashes would be another host.
    path = quote(f"/{route_path(request.scope).lstrip('/')}", safe="/:")
    return f"{base_path(request)}{path}" + (f"?{rest}" if rest else "")


def leave(visit: Visit) -> Response:
    """Log out. NotFound if the dashboard does not use tokens."""
    if visit.site.login is None:
        raise NotFound("no such page")
    return visit.site.login.leave(visit)

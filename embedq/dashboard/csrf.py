"""Protection against cross-site request forgery: a form must contain a token, which only a page of the dashboard has.

The token is signed with the app's key, for the user and for a cookie that requests from other sites do not carry. The
JSON API requires `Content-Type: application/json` instead, which a form of another site cannot send.
"""

from __future__ import annotations

import re
import secrets
from hmac import compare_digest
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ
from embedq.dashboard.visit import Visit
from embedq.errors import ConfigurationError
from embedq.storage import copying
from embedq.tasks.signing import Key

COOKIE = "embedq_csrf"
FIELD = "csrf"
HEADER = "x-embedq-csrf"
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,64}")


class CsrfError(Exception):
    """The request was not sent by a page of this dashboard."""


class CsrfTokens:
    """Makes CSRF tokens, which are the same in every process of an application.

    Args:
        secret: signs the tokens; None for the app's key, or one derived from its database.
    """

    def __init__(self, secret: str | None) -> None:
        self._key = None if secret is None else Key.from_text(secret)
        self._keys: WeakKeyDictionary[EmbedQ, Key] = WeakKeyDictionary()

    def token(self, queue: EmbedQ, nonce: str, user: str) -> str:
        """Return the token for a cookie and a user."""
        key = self._key or self._keys.get(queue)
        if key is None:
            key = self._keys[queue] = _key_of(queue)
        return key.sign("embedq dashboard", nonce, user)


def _key_of(queue: EmbedQ) -> Key:
    try:
        return queue.engine.key
    except ConfigurationError:
        # A database server has no key file. An attacker that knows its URL and password needs no forged form; for any
        # other attacker a guess is useless without the user's cookie.
        return Key.from_text(f"{queue.settings.url} {queue.database.read(copying.identity)}")


def new_nonce() -> str:
    """Return a new value for the cookie."""
    return secrets.token_urlsafe(24)


def is_nonce(text: str | None) -> bool:
    """Return whether a text has the form of a nonce."""
    return text is not None and _NONCE.fullmatch(text) is not None


def check(visit: Visit, *, api: bool) -> None:
    """Raise CsrfError, which states what to do, for a change that another site has sent."""
    headers = visit.request.headers
    # Current browsers send the origin of a request, and pages cannot change it.
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise CsrfError("this request came from another site")
    if api:
        _check_api(visit)
        return
    given = headers.get(HEADER) or visit.form.get(FIELD, "")
    if not is_nonce(visit.request.cookies.get(COOKIE)) or not compare_digest(given.encode(), visit.csrf.encode()):
        raise CsrfError("the form has expired, or its cookie is missing: reload the page and try again")


def _check_api(visit: Visit) -> None:
    headers = visit.request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise CsrfError("a change through the API requires the header Content-Type: application/json")
    origin = headers.get("origin")
    names = {headers.get("host"), headers.get("x-forwarded-host")}
    if origin is not None and _host_of(origin) not in names:
        raise CsrfError("this request came from another site")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""

"""Every change needs a token, which only a page of the dashboard has.

The token is signed with the app's key, for a cookie that other sites' requests do not bring and for the person. The
JSON API needs none, but `Content-Type: application/json`, which no form of another site can send.
"""

from __future__ import annotations

import re
import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ
from embedq.errors import ConfigurationError
from embedq.signing import Key
from embedq.storage import copying

if TYPE_CHECKING:
    from embedq.dashboard.visit import Visit

COOKIE = "embedq_csrf"
FIELD = "csrf"
HEADER = "x-embedq-csrf"
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,64}")


class WrongToken(Exception):
    """The request did not come from a page of this dashboard."""


class Tokens:
    """Makes tokens, which are the same in every process of an application.

    Args:
        secret: the secret they are signed with; None for the app's own key, or one of its database.
    """

    def __init__(self, secret: str | None) -> None:
        self._key = None if secret is None else Key.from_text(secret)
        self._found: WeakKeyDictionary[EmbedQ, Key] = WeakKeyDictionary()

    def token(self, queue: EmbedQ, nonce: str, user: str) -> str:
        """The token that goes with a cookie and a person."""
        key = self._key or self._found.get(queue)
        if key is None:
            key = self._found[queue] = _key_of(queue)
        return key.sign("embedq dashboard", nonce, user)


def _key_of(queue: EmbedQ) -> Key:
    try:
        return queue.engine.key
    except ConfigurationError:
        # A database on a server has no file for a key. Who knows its address, with the password in it, and can read it
        # needs no forged form; others' guesses are of no use without the visitor's cookie.
        return Key.from_text(f"{queue.settings.url} {queue.database.read(copying.identity)}")


def new_nonce() -> str:
    """A cookie's value."""
    return secrets.token_urlsafe(24)


def is_nonce(text: str | None) -> bool:
    """Whether it may be one of ours."""
    return text is not None and _NONCE.fullmatch(text) is not None


def check(visit: Visit, *, api: bool) -> None:
    """Refuse a change that another site asked for in a visitor's name. WrongToken says what to do."""
    headers = visit.request.headers
    # Every browser of today says where a request comes from, and no page can make it lie.
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise WrongToken("this request came from another site")
    if api:
        _check_api(visit)
        return
    given = headers.get(HEADER) or visit.form.get(FIELD, "")
    if not is_nonce(visit.request.cookies.get(COOKIE)) or not compare_digest(given.encode(), visit.csrf.encode()):
        raise WrongToken("the form is out of date, or its cookie did not come along: load the page again, then repeat")


def _check_api(visit: Visit) -> None:
    headers = visit.request.headers
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise WrongToken("a change through the API needs the header Content-Type: application/json")
    origin = headers.get("origin")
    names = {headers.get("host"), headers.get("x-forwarded-host")}
    if origin is not None and urlsplit(origin).netloc not in names:
        raise WrongToken("this request came from another site")

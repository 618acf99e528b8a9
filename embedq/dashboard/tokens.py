"""Login tokens and the sessions that they start.

Both are signed with the app's key, so that all processes of an application agree without storing anything. The log
contains only a token that expires after an hour, since logs are kept and read by many.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

from embedq.app import EmbedQ
from embedq.clock import SECOND
from embedq.errors import ConfigurationError
from embedq.storage import copying
from embedq.tasks.signing import Key

SESSION_SECONDS = 30 * 86_400
LOGGED_TOKEN_SECONDS = 3_600
# A configured token must be as long as a random one, so that it cannot be guessed.
MIN_TOKEN_LENGTH = 32


class LoginTokens:
    """Makes and verifies the tokens and sessions of one dashboard.

    Args:
        token: the valid token; None derives it from the app's key.
        read_only: the dashboard is read-only. Its token is valid for read-only dashboards, that of others for all.
    Raises:
        ConfigurationError: the token is too short.
    """

    def __init__(self, token: str | None, *, read_only: bool = False) -> None:
        if token is not None and (not isinstance(token, str) or len(token.strip()) < MIN_TOKEN_LENGTH):
            raise ConfigurationError(
                f"token= must be a text of {MIN_TOKEN_LENGTH} characters or more; make one with: "
                'python -c "import secrets; print(secrets.token_hex(32))"'
            )
        self._configured = None if token is None else token.strip()
        self._kinds = ("to look", "to act") if read_only else ("to act",)
        self._keys: WeakKeyDictionary[EmbedQ, Key] = WeakKeyDictionary()

    @property
    def is_configured(self) -> bool:
        """Return whether the application has set the token."""
        return self._configured is not None

    def token(self, queue: EmbedQ) -> str:
        """Return the token. ConfigurationError if the app has no key to derive it from."""
        return self._configured or self._sign(queue, "token", self._kinds[0])

    def temporary(self, queue: EmbedQ) -> str:
        """Return a token that is valid for an hour."""
        until = str(queue.clock.now() // SECOND + LOGGED_TOKEN_SECONDS)
        return f"{until}-{self._sign(queue, 'token', self._kinds[0], until)}"

    def is_valid(self, queue: EmbedQ, text: str) -> bool:
        """Return whether a text is a valid token."""
        text = text.strip()
        if self._configured is not None:
            return _same(text, self._configured)
        until, dash, signature = text.rpartition("-")
        parts = (until,) if dash else ()
        valid = any(_same(signature, self._sign(queue, "token", kind, *parts)) for kind in self._kinds)
        return valid and (not dash or _is_in_future(queue, until))

    def cookie(self, queue: EmbedQ) -> str:
        """Return the name of the session cookie, with the key's id: browsers share cookies between ports of a host."""
        return f"embedq_session_{self._key(queue).id}"

    def session(self, queue: EmbedQ) -> str:
        """Return a new session."""
        until = str(queue.clock.now() // SECOND + SESSION_SECONDS)
        nonce = secrets.token_urlsafe(16)
        return f"{until}.{nonce}.{self._sign(queue, 'session', self._kinds[0], until, nonce)}"

    def is_session(self, queue: EmbedQ, text: str) -> bool:
        """Return whether a cookie holds a session that has not expired."""
        until, _, rest = text.partition(".")
        nonce, _, signature = rest.partition(".")
        valid = any(_same(signature, self._sign(queue, "session", kind, until, nonce)) for kind in self._kinds)
        return valid and _is_in_future(queue, until)

    def _sign(self, queue: EmbedQ, kind: str, *parts: str) -> str:
        return self._key(queue).sign(f"embedq dashboard {kind}", *parts)

    def _key(self, queue: EmbedQ) -> Key:
        key = self._keys.get(queue)
        if key is None:
            key = self._keys[queue] = app_key(queue) if self._configured is None else Key.from_text(self._configured)
        return key


def token(queue: EmbedQ, *, read_only: bool = False) -> str:
    """Return the token of an app's dashboards that are configured without one; the app must be connected.

    Args:
        read_only: return the token of read-only dashboards.
    Raises:
        ConfigurationError: the app has no key to derive it from.
    """
    return LoginTokens(None, read_only=read_only).token(queue)


def app_key(queue: EmbedQ) -> Key:
    """Return the key that signs tokens: the app's, or one derived from the database's identity and password.

    Raises:
        ConfigurationError: a database server, and neither a secret key nor a password in the URL.
    """
    if queue.settings.secret_key is not None or queue.settings.url.startswith("sqlite"):
        return queue.engine.key
    # A database server has no key file. All users that can read the database know its identity; only those that know
    # the application's password can already do all that a dashboard can.
    password = unquote(urlsplit(queue.settings.url).password or "")
    if not password:
        raise ConfigurationError(
            "the dashboard requires a secret key for its token, and a database server has no key file: set secret_key= "
            "or $EMBEDQ_SECRET_KEY to the same secret in every process, or set authorize= or basic_auth="
        )
    return Key.from_text(f"embedq dashboard {queue.database.read(copying.identity)} {password}")


def _same(given: str, expected: str) -> bool:
    return compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def _is_in_future(queue: EmbedQ, until: str) -> bool:
    return until.isascii() and until.isdigit() and len(until) < 12 and int(until) > queue.clock.now() // SECOND

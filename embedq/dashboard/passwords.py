"""User names and passwords (HTTP basic authentication).

An attacker cannot lock out the users. Wrong passwords delay further ones from the same address; browsers that have
logged in before carry a cookie and are counted separately. If wrong passwords come from many addresses, only addresses
with an earlier successful login are accepted, plus one other attempt a minute.

During such a delay a correct password is rejected like a wrong one; otherwise guessing would still work.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from collections.abc import Mapping
from hmac import compare_digest, digest

from starlette.requests import Request
from starlette.responses import Response

from embedq.dashboard.access import Credentials, Refused
from embedq.dashboard.throttling import FREE_FAILURES, MAX_KEYS, FailedLogins, TotalFailures, group_of
from embedq.errors import ConfigurationError
from embedq.observability.log import get_logger

logger = get_logger("embedq.dashboard")

COOKIE = "embedq_known"
A_YEAR = 365 * 86_400
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="embedq", charset="UTF-8"'}


class Passwords:
    """Verifies the passwords of one dashboard.

    Args:
        given: a name and a password, or several as a mapping.
    Raises:
        ConfigurationError: no users, or an empty name or password.
    """

    def __init__(self, given: Credentials) -> None:
        self._hashes = _hashes(given)
        self._marks: dict[str, str] = {}
        # By address; browsers with the cookie form the group "known".
        self.failures = FailedLogins()
        self._in_total = TotalFailures()
        # Addresses with a successful login, the latest last.
        self._trusted_addresses: dict[str, None] = {}

    def user(self, request: Request, now: float) -> str:
        """Return the user that the request authenticates.

        Args:
            now: monotonic seconds.
        Raises:
            Refused: wrong credentials, or too many wrong ones recently.
        """
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            raise Refused("a name and a password are required", status=401, headers=_CHALLENGE)
        name, password = _decoded(encoded)
        address = group_of(request.client.host if request.client is not None else "")
        known = self._is_known(request, name)
        group = "known" if known else f"from {address}"
        delay = self.failures.delay(group, now)
        if not known and address not in self._trusted_addresses:
            delay = max(delay, self._in_total.delay(now))
        if delay:
            raise Refused.too_many("passwords", delay)
        found = None
        # All are compared, in constant time, so that the duration reveals nothing.
        for user, hashed in self._hashes.items():
            if compare_digest(hashed, _hash(name, password)):
                found = user
        if found is not None:
            if known:
                self.failures.reset(group)
            else:
                self._remember(address)
            return found
        self.failures.record(group, now)
        number = self._in_total.record(now)
        if number % FREE_FAILURES == 0:
            logger.warning("the dashboard has received %d wrong passwords, the last for the user %.100r", number, name)
        raise Refused("a name and a password are required", status=401, headers=_CHALLENGE)

    def mark(self, request: Request, response: Response, user: str, *, path: str, secure: bool) -> None:
        """Set the cookie that marks the browser of a user that has logged in."""
        if user in self._hashes and not self._is_known(request, user):
            response.set_cookie(
                COOKIE, self._mark(user), max_age=A_YEAR, path=path, httponly=True, samesite="lax", secure=secure
            )

    def _remember(self, address: str) -> None:
        # Another thread may already have removed the oldest.
        self._trusted_addresses.pop(address, None)
        self._trusted_addresses[address] = None
        while len(self._trusted_addresses) > MAX_KEYS:
            self._trusted_addresses.pop(next(iter(self._trusted_addresses)), None)

    def _is_known(self, request: Request, name: str) -> bool:
        given = request.cookies.get(COOKIE, "")
        return bool(given) and name in self._hashes and compare_digest(given.encode(), self._mark(name).encode())

    def _mark(self, name: str) -> str:
        # Slow to compute, so that a stolen cookie does not reveal the password.
        if name not in self._marks:
            key = hashlib.scrypt(self._hashes[name], salt=b"embedq dashboard", n=2**14, r=8, p=1)
            self._marks[name] = digest(key, b"known", "sha256").hex()
        return self._marks[name]


def _decoded(encoded: str) -> tuple[str, str]:
    try:
        name, _, password = b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, password


def _hashes(given: Credentials) -> dict[str, bytes]:
    users = dict(given) if isinstance(given, Mapping) else dict([given])
    for name, password in users.items():
        if not isinstance(name, str) or not isinstance(password, str) or not name or not password or ":" in name:
            raise ConfigurationError(
                "basic_auth must be a name and a password, or a mapping of them; neither may be empty, and a name must "
                "not contain a colon"
            )
    if not users:
        raise ConfigurationError("basic_auth contains no users")
    return {name: _hash(name, password) for name, password in users.items()}


def _hash(name: str, password: str) -> bytes:
    return hashlib.sha256(f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")).digest()

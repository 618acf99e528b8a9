"""Who may look, and who may do what.

Until the application says otherwise, only a browser on this machine is let in, and only directly: a request that came
through a proxy is never local, whoever forwarded it. `authorize` or `basic_auth` says otherwise.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import TypeAlias

from starlette.requests import Request

from embedq.errors import ConfigurationError


class Permission(StrEnum):
    """What a person may do besides looking."""

    RETRY = "retry"
    """Run jobs again, or early."""
    CANCEL = "cancel"
    DELETE = "delete"
    EDIT = "edit"
    """Change the queue and the priority of jobs."""
    ENQUEUE = "enqueue"
    """Enqueue registered tasks, through the JSON API."""
    SCHEDULES = "schedules"
    """Run, pause, resume and remove recurring jobs."""
    INSPECT = "inspect"
    """See the live stack of a running job."""


EVERYTHING = frozenset(Permission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one person is let do: what `authorize` returns.

    Attributes:
        user: their name, for the audit log.
        may: their permissions, all unless given; looking needs none.
    Raises:
        ConfigurationError: something that is no permission.
    """

    user: str = ""
    may: frozenset[Permission] = EVERYTHING

    def __post_init__(self) -> None:
        object.__setattr__(self, "may", permissions(self.may))

    @classmethod
    def read_only(cls, user: str = "") -> Access:
        """Looking only."""
        return cls(user=user, may=frozenset())


Verdict: TypeAlias = bool | Access | None
Authorize: TypeAlias = Callable[[Request], Verdict | Awaitable[Verdict]]
Credentials: TypeAlias = tuple[str, str] | Mapping[str, str]

# Whatever a proxy may say of the client it speaks for. One of them is enough: the request is not local.
FORWARDING = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix",
    "x-real-ip", "x-client-ip", "x-cluster-client-ip",
    "x-original-forwarded-for", "x-envoy-external-address", "x-amzn-trace-id", "cf-connecting-ip",
    "cf-ray", "true-client-ip", "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "cdn-loop",
    "x-proxyuser-ip", "x-scheme", "client-ip", "cf-connecting-ipv6", "tailscale-user-login", "x-varnish",
    "x-arr-log-id", "front-end-https",
)  # fmt: skip


class Refused(Exception):
    """This request is not let in.

    Attributes:
        status: 401 where credentials would help, else 403.
        headers: to answer with.
    """

    def __init__(self, message: str, *, status: int = 403, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Guard:
    """Decides about each request.

    Args:
        authorize: called with the request; True or an `Access` lets it in. It may be `async` under ASGI.
        basic_auth: a name and a password, or several as a mapping.
        read_only: takes every permission from everybody.
        hosts: the names under which the dashboard may be reached; any unless given.
    Raises:
        ConfigurationError: both ways at once, or an empty name or password.
    """

    def __init__(
        self,
        *,
        authorize: Authorize | None,
        basic_auth: Credentials | None,
        read_only: bool,
        hosts: Iterable[str] | None,
    ) -> None:
        if authorize is not None and basic_auth is not None:
            raise ConfigurationError("give the dashboard either authorize= or basic_auth=, not both")
        if authorize is not None and not callable(authorize):
            raise ConfigurationError(f"authorize={authorize!r} must be a function of the request")
        if isinstance(hosts, str):
            raise ConfigurationError(f'hosts={hosts!r} must be a list of names, such as ["jobs.example.com"]')
        self.authorize = authorize
        self._hashes = None if basic_auth is None else _hashes(basic_auth)
        self._read_only = read_only
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    def check_host(self, request: Request) -> None:
        """Refuse a name that is not ours: a page elsewhere may point its own name at this machine (DNS rebinding)."""
        if self._hosts is not None and host_of(request) not in self._hosts:
            raise Refused(f"this dashboard does not go by the name {host_of(request)!r}; hosts= says by which it does")

    def admit(self, request: Request) -> Access:
        """What this request may do, where `authorize` is not in charge. Refused if nothing."""
        if self._hashes is not None:
            return self._granted(Access(user=self._by_password(request)))
        self._require_local(request)
        return self._granted(Access(user="local"))

    def granted(self, verdict: object) -> Access:
        """What `authorize` said, as an Access. Refused if that was no; ConfigurationError if it was neither."""
        if isinstance(verdict, Access):
            return self._granted(verdict)
        if verdict is True:
            return self._granted(Access())
        if verdict is None or verdict is False:
            raise Refused("you are not allowed to see this dashboard; its authorize function said no")
        raise ConfigurationError(
            f"authorize must return True, False or an embedq.dashboard.Access, not {type(verdict).__name__}"
        )

    def _granted(self, access: Access) -> Access:
        return Access.read_only(access.user) if self._read_only else access

    def _by_password(self, request: Request) -> str:
        assert self._hashes is not None
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        name, password = "", ""
        if scheme.lower() == "basic":
            try:
                name, _, password = b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
            except (binascii.Error, ValueError):
                pass
        found = None
        # All are compared, each in a time that tells nothing.
        for user, hashed in self._hashes.items():
            if compare_digest(hashed, _hash(name, password)):
                found = user
        if found is None:
            raise Refused(
                "a name and a password are needed",
                status=401,
                headers={"WWW-Authenticate": 'Basic realm="embedq", charset="UTF-8"'},
            )
        return found

    def _require_local(self, request: Request) -> None:
        reason = why_not_local(request, hosts=self._hosts)
        if reason is not None:
            raise Refused(
                f"{reason}. Until it is told whom to let in, this dashboard is open only to a browser on the same "
                "machine that asks it directly. Give it authorize= or basic_auth= where it is mounted"
            )


def why_not_local(request: Request, *, hosts: frozenset[str] | None = None) -> str | None:
    """Why a request does not count as one of this machine's own browser; None if it does."""
    client = request.client.host if request.client else ""
    if not _is_loopback(client):
        return f"the request comes from {client or 'an unknown address'}, which is not this machine"
    for header in request.headers:
        if header in FORWARDING or header.startswith(("x-forwarded", "x-original-", "x-appengine-")):
            return f"the request came through a proxy (it has the header {header!r})"
    # No browser speaks it, and nginx does unless told otherwise, without any header of the above.
    if request.scope.get("http_version") in ("1.0", "0.9"):
        return "the request came through a proxy (it is HTTP/1.0)"
    host = host_of(request)
    if not is_loopback_name(host) and host not in (hosts or ()):
        return f"the request asks for the host {host!r}, which is not this machine's own name"
    return None


def host_of(request: Request) -> str:
    """The Host header's name, without its port."""
    host = request.headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback_name(name: str) -> bool:
    """Whether it is `localhost` or a loopback address."""
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip.is_loopback or (mapped is not None and mapped.is_loopback)


def permissions(given: Iterable[str]) -> frozenset[Permission]:
    """Permissions by their names. ConfigurationError if one is unknown."""
    if isinstance(given, str):
        raise ConfigurationError(f"may={given!r} must be a set of permissions, such as {{'retry', 'cancel'}}")
    try:
        return frozenset(Permission(name) for name in given)
    except ValueError as error:
        raise ConfigurationError(f"{error}; the permissions are: {', '.join(Permission)}") from None


def _hashes(given: Credentials) -> dict[str, bytes]:
    users = dict(given) if isinstance(given, Mapping) else dict([given])
    for name, password in users.items():
        if not isinstance(name, str) or not isinstance(password, str) or not name or not password or ":" in name:
            raise ConfigurationError(
                "basic_auth must be a name and a password, or a mapping of such, none of them empty and no colon in "
                "the name"
            )
    if not users:
        raise ConfigurationError("basic_auth has nobody in it")
    return {name: _hash(name, password) for name, password in users.items()}


def _hash(name: str, password: str) -> bytes:
    return hashlib.sha256(f"{len(name)}:{name}{password}".encode("utf-8", "surrogatepass")).digest()

"""Access control: which users may view the dashboard, and what they may change.

By default a token is required (`login`); `authorize` and `basic_auth` replace it. The client's address grants nothing:
a proxy on the same machine looks like a browser there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from embedq.dashboard.responses import as_response
from embedq.errors import ConfigurationError


class Permission(StrEnum):
    """An action that a user may be allowed besides viewing."""

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
    PAUSE = "pause"
    """Pause and resume queues, tasks, processes and everything."""
    LIMITS = "limits"
    """Change how many jobs may run at once under a limit."""
    INSPECT = "inspect"
    """See the live stack of a running job."""


EVERYTHING = frozenset(Permission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rights of one user, as `authorize` returns them.

    Attributes:
        user: the user's name, for the audit log.
        may: the user's permissions, all by default; viewing requires none.
    Raises:
        ConfigurationError: an unknown permission.
    """

    user: str = ""
    may: frozenset[Permission] = EVERYTHING

    def __post_init__(self) -> None:
        object.__setattr__(self, "may", permissions(self.may))

    @classmethod
    def read_only(cls, user: str = "") -> Access:
        """Return access that allows viewing only."""
        return cls(user=user, may=frozenset())


# A response, of any framework, is sent as it is: the application's login page, or a redirect to it.
Verdict: TypeAlias = bool | Access | Response | object | None
Authorize: TypeAlias = Callable[[Request], Verdict | Awaitable[Verdict]]
Credentials: TypeAlias = tuple[str, str] | Mapping[str, str]


class Refused(Exception):
    """The request is not authorized. Its message is public, so it reveals nothing about the configuration.

    Attributes:
        status: 401 if credentials are required, 429 after too many wrong ones, else 403.
        headers: of the response.
        reason: for the application's log.
    """

    def __init__(
        self, message: str, *, status: int = 403, headers: Mapping[str, str] | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.reason = reason

    @classmethod
    def too_many(cls, credentials: str, delay: float) -> Refused:
        """Refuse further credentials for `delay` seconds."""
        seconds = int(delay) + 1
        message = f"too many wrong {credentials}; try again in {seconds} s"
        return cls(message, status=429, headers={"Retry-After": str(seconds)})


class Denied(Refused):
    """An authorized user lacks a permission.

    Attributes:
        permission: the missing one.
    """

    def __init__(self, permission: Permission) -> None:
        super().__init__(f"you are not allowed to {permission}: this requires the permission {permission.value!r}")
        self.permission = permission


class AccessPolicy:
    """The rules for every request, whatever the method of authentication.

    Args:
        authorize: called with the request; True or an `Access` authorizes it, and a response is sent as it is. It may
            be `async` under ASGI.
        read_only: removes every permission from all users.
        hosts: the host names that the dashboard accepts; any by default.
    Raises:
        ConfigurationError: an invalid argument.
    """

    def __init__(self, *, authorize: Authorize | None, read_only: bool, hosts: Iterable[str] | None) -> None:
        if authorize is not None and not callable(authorize):
            raise ConfigurationError(f"authorize={authorize!r} must be a function of the request")
        if isinstance(hosts, str):
            raise ConfigurationError(f'hosts={hosts!r} must be a list of names, such as ["jobs.example.com"]')
        self.authorize = authorize
        self._read_only = read_only
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    def check_host(self, request: Request) -> None:
        """Raise Refused for an unknown host name: a foreign site can point its name at this machine (DNS rebinding)."""
        if self._hosts is not None and host_of(request) not in self._hosts:
            raise Refused(
                "no dashboard is served under this host name",
                reason=f"its host name is {host_of(request)[:100]!r}, which is not in hosts=",
            )

    def granted(self, verdict: object) -> Access | Response:
        """Convert the return value of `authorize` to an Access or a response. Refused if it denies access.

        Raises:
            ConfigurationError: it returned something else.
        """
        if isinstance(verdict, Access):
            return self.limited(verdict)
        if verdict is True:
            return self.limited(Access())
        if verdict is None or verdict is False:
            raise Refused("you are not allowed to see this dashboard", reason="authorize= denied it")
        response = as_response(verdict)
        if response is None:
            raise ConfigurationError(
                "authorize must return True, False, an embedq.dashboard.Access or a response, not "
                f"{type(verdict).__name__}"
            )
        return response

    def limited(self, access: Access) -> Access:
        """Return the access, without permissions if the dashboard is read-only."""
        return Access.read_only(access.user) if self._read_only else access


def host_of(request: Request) -> str:
    """Return the name in the Host header, without the port."""
    host = request.headers.get("host", "").strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def permissions(given: Iterable[str]) -> frozenset[Permission]:
    """Return permissions by name. ConfigurationError if one is unknown."""
    if isinstance(given, str):
        raise ConfigurationError(f"may={given!r} must be a set of permissions, such as {{'retry', 'cancel'}}")
    try:
        return frozenset(Permission(name) for name in given)
    except ValueError as error:
        raise ConfigurationError(f"{error}; the permissions are: {', '.join(Permission)}") from None

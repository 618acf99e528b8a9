"""The settings of an app, and their checks.

embedq.start("sqlite:///app.db", workers=20)       # by keyword
EMBEDQ_URL=sqlite:///app.db EMBEDQ_WORKERS=20      # or from the environment; a keyword wins
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from embedq.clock import SECOND
from embedq.errors import ConfigurationError
from embedq.flow.guard import Guard
from embedq.job import JobState

DEFAULT_URL = "sqlite:///embedq.db"
# The year 9999: never deleted, and still in the index of ended jobs.
FOR_EVER = 253_402_300_799 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an ended job is kept. None keeps it without a limit; zero deletes it at the next pruning."""

    succeeded: timedelta | None = timedelta(days=1)
    dead: timedelta | None = timedelta(days=30)
    cancelled: timedelta | None = timedelta(days=1)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
                raise ConfigurationError(
                    f"retention {item.name}={value!r} must be a timedelta of zero or more, or None for no limit"
                )

    def delete_at(self, state: JobState, ended_at: int) -> int:
        """Return when a job that ended in `state` at `ended_at` may be deleted, in microseconds."""
        kept: timedelta | None = getattr(self, state)
        return FOR_EVER if kept is None else min(FOR_EVER, ended_at + _micros(kept))

    def for_job(self, options: str | None) -> Retention:
        """Return the retention of a job: that of its stored options, else this one."""
        if options is None or '"retention"' not in options:
            return self
        try:
            own = json.loads(options)["retention"]
            return Retention(**{name: None if kept is None else timedelta(seconds=kept) for name, kept in own.items()})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            # A damaged row must not stop the transaction that ends, or rescues, other jobs too.
            return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set on an app. Durations are seconds.

    Attributes:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `postgresql://user:password@host/database`, or
            the same with `mysql://` or `mariadb://`.
        connect: a function that returns a new connection of embedq's driver (psycopg 3, PyMySQL) to the server that the
            URL names, or a SQLAlchemy Engine with that driver; None connects by the URL.
        workers: the number of threads that run jobs.
        queues: the queues to process, most urgent first; None processes all, by priority.
        durability: "full" (an acknowledged job survives a power cut) or "normal" (it survives a crash of the process).
        async_jobs: how many `async def` jobs run at a time, on one event loop.
        processes: how many jobs with executor="process" run at a time, each in a process; None for as many as this one
            may use cores, 0 to leave such jobs to other processes.
        process_memory_mb: the most memory that such a process may take, in MiB; None for no limit.
        process_max_jobs: a process is replaced after this many jobs; None for no limit.
        process_idle: an idle process ends after this long.
        process_nice: the `nice` value of such a process, 0 to 19: a higher one leaves more processor time to others.
        process_setup: `module:function`, which each process calls before its first job, such as "django:setup".
        timeout: the longest a job may run, unless its own options set it; None for no limit.
        interrupt_grace: how long an interrupted job (timeout, cancel, stop) has to end before it is overdue.
        cancel_grace: how long a cancelled job has to react to `current_job().cancelled` before it is interrupted.
        retention: how long ended jobs are kept.
        audit_retention: how long the audit log of what people did is kept, a timedelta; None for no limit.
        max_crashes: a job whose process died this many times while no other job ran there is dead (docs/guarantees.md,
            G7). For a job with executor="process", its own process.
        max_payload_bytes: the largest size of a job's stored arguments, or of its pickled function.
        lease: how long other processes must see no heartbeat of a process before they take its jobs, when they cannot
            see its file lock; the process ends its own runs before that. The same in all processes of a database.
        poll: how often to check for writes of other processes.
        busy_timeout: how long a write waits for a locked database before StorageBusyError.
        stop_timeout: how long `stop()` and the interpreter's exit wait for running jobs.
        secret_key: signs functions that are not registered; without it, a key file is kept beside the database.
        sigterm: drain and exit on SIGTERM, unless the application handles it.
        allow_network_filesystem: accept a SQLite file on a network file system.
        guard: an `embedq.Guard`, or True for one with its defaults: runs fewer jobs while they slow down the app's
            requests.
    """

    # It may contain a password.
    url: str = field(default=DEFAULT_URL, repr=False)
    connect: Any = None
    workers: int = 10
    queues: tuple[str, ...] | None = None
    durability: str = "full"
    async_jobs: int = 100
    processes: int | None = None
    process_memory_mb: int | None = None
    process_max_jobs: int | None = None
    process_idle: float = 60.0
    process_nice: int = 10
    process_setup: str | None = None
    timeout: float | None = 30 * 60.0
    interrupt_grace: float = 5.0
    cancel_grace: float = 1.0
    retention: Retention = field(default_factory=Retention)
    audit_retention: timedelta | None = timedelta(days=90)
    max_crashes: int = 3
    max_payload_bytes: int = 1_048_576
    lease: float = 30.0
    poll: float = 0.02
    busy_timeout: float = 30.0
    # Together with `interrupt_grace`, less than the 30 s that Gunicorn and Kubernetes wait before they kill a process.
    stop_timeout: float = 20.0
    secret_key: str | None = field(default=None, repr=False)
    sigterm: bool = True
    allow_network_filesystem: bool = False
    guard: Guard | None = None

    def __post_init__(self) -> None:
        for names, holds, rule in _RULES:
            for name in names:
                self._require(holds(getattr(self, name)), name, rule)
        if self.queues is not None:
            object.__setattr__(self, "queues", tuple(dict.fromkeys(self.queues)))
        if scheme_of(self.url) == "sqlite":
            sqlite_path(self.url)
            self._require(
                self.connect is None, "connect", "is for databases on a server; also give the url of that server"
            )

    @property
    def database(self) -> str:
        """The URL without its password, for people and logs."""
        return without_password(self.url)

    def keywords(self) -> dict[str, Any]:
        """Return the keywords that make these settings."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def process_count(self) -> int:
        """How many jobs run in processes at a time."""
        if self.processes is not None:
            return self.processes
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise ConfigurationError(f"{name}={getattr(self, name)!r} {rule}")

    @classmethod
    def gather(cls, given: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
        """Make settings from keywords, then from EMBEDQ_… variables, then the defaults.

        Raises:
            ConfigurationError: an unknown keyword or an invalid value; the message names the setting.
        """
        refuse_unknown("setting", given, {item.name for item in fields(cls)})
        values = {
            name: value
            for name, value in given.items()
            if value is not None or name in ("queues", "timeout", "audit_retention")
        }
        for name, read in _FROM_ENVIRONMENT.items():
            text = environment.get(f"EMBEDQ_{name.upper()}")
            if text and name not in values:
                try:
                    values[name] = read(text)
                except ValueError as error:
                    raise ConfigurationError(
                        f"EMBEDQ_{name.upper()}={text!r} is not a valid {name}: {error}"
                    ) from error
        if isinstance(values.get("url"), Path):
            values["url"] = f"sqlite:///{quote(values['url'].as_posix(), safe='/:')}"
        if isinstance(values.get("queues"), Sequence) and not isinstance(values["queues"], str):
            values["queues"] = tuple(values["queues"])
        if isinstance(values.get("guard"), bool):
            values["guard"] = Guard() if values["guard"] else None
        for name in _SECONDS:
            if isinstance(values.get(name), timedelta):
                values[name] = values[name].total_seconds()
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(f"a setting has the wrong type: {error}") from error


def check_limit(what: str, limit: object) -> int:
    """Return how many there may be. ConfigurationError if it is not a count."""
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        # All databases accept that.
        return min(limit, 2**31 - 1)
    raise ConfigurationError(f"limit={limit!r} must be how many {what}, 0 or more")


def refuse_unknown(what: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise ConfigurationError for keywords that are not known; it names the nearest that is."""
    for name in sorted(set(given).difference(known)):
        near = get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}? There are" if near else "there are"
        raise ConfigurationError(f"unknown {what} {name}; {meant}: {', '.join(sorted(known))}")


_SECONDS = (
    "process_idle", "timeout", "interrupt_grace", "cancel_grace", "lease", "poll", "busy_timeout", "stop_timeout",
)  # fmt: skip
# The settings that a variable can hold; `connect` and the retention times can only be set in code.
_FROM_ENVIRONMENT: Mapping[str, Any] = {
    **dict.fromkeys(("url", "durability", "process_setup", "secret_key"), str),
    **dict.fromkeys(
        ("workers", "async_jobs", "processes", "process_memory_mb", "process_max_jobs", "process_nice", "max_crashes",
         "max_payload_bytes"), int,
    ),
    **dict.fromkeys(_SECONDS, float),
    "timeout": lambda text: None if text.strip().lower() == "none" else float(text),
    "queues": lambda text: tuple(name.strip() for name in text.split(",") if name.strip()),
    **dict.fromkeys(("sigterm", "allow_network_filesystem", "guard"), lambda text: _yes_or_no(text)),
}  # fmt: skip
# Variables of this name that are not settings: those of the integrations and of embedq's own tests, and those that
# Kubernetes and Docker set for a service called embedq.
_NO_SETTINGS = re.compile(r"EMBEDQ_(AUTOSTART|DASHBOARD_\w+|TEST_\w+|SERVICE_(HOST|PORT)\w*|PORT(_\w+)?|NAME|ENV_\w+)")


def idle_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a warning for each EMBEDQ_ variable that sets nothing."""
    readable = {f"EMBEDQ_{name.upper()}" for name in _FROM_ENVIRONMENT}
    fixed = {f"EMBEDQ_{item.name.upper()}": item.name for item in fields(Settings)}
    warnings = []
    for name in sorted(environment):
        if not name.startswith("EMBEDQ_") or name in readable or _NO_SETTINGS.fullmatch(name):
            continue
        near = get_close_matches(name.removeprefix("EMBEDQ_"), map(str.upper, _FROM_ENVIRONMENT), n=1)
        if name in fixed:
            advice = f"that setting can only be set in code: embedq.start({fixed[name]}=…)"
        else:
            advice = f"did you mean EMBEDQ_{near[0]}?" if near else f"there are: {', '.join(sorted(readable))}"
        warnings.append(f"the environment variable {name} sets nothing; {advice}")
    return warnings


@lru_cache(maxsize=64)
def _micros(duration: timedelta) -> int:
    # Cached, because it is read at the end of every job.
    return int(duration.total_seconds() * SECOND)


def _yes_or_no(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
    except KeyError:
        raise ValueError("write true or false") from None


def _whole(least: int, most: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


# The settings, what each must be, and the same in words.
_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("durability",), lambda value: value in ("full", "normal"), 'must be "full" or "normal"'),
    (("workers",), _whole(1, 1000), "must be a whole number from 1 to 1000"),
    (("async_jobs", "max_crashes"), _whole(1), "must be a whole number, 1 or more"),
    (
        ("processes",),
        _or_none(_whole(0, 1000)),
        "must be a whole number from 0 to 1000, or None for as many as there are cores",
    ),
    (("process_memory_mb",), _or_none(_whole(32)), "must be a whole number, 32 or more, or None for no limit"),
    (("process_max_jobs",), _or_none(_whole(1)), "must be a whole number, 1 or more, or None for no limit"),
    (("process_nice",), _whole(0, 19), "must be a whole number from 0 to 19"),
    (
        ("process_setup",),
        _or_none(lambda value: isinstance(value, str) and all(value.partition(":"))),
        'must be the name of a function such as "django:setup"',
    ),
    (("max_payload_bytes",), _whole(1024), "must be 1024 or more"),
    (
        ("interrupt_grace", "cancel_grace", "busy_timeout", "stop_timeout", "process_idle"),
        lambda value: value >= 0,
        "must be seconds, 0 or more",
    ),
    (("poll",), lambda value: 0.001 <= value <= 60, "must be seconds, from 0.001 to 60"),
    (("lease",), lambda value: value >= 1, "must be seconds, 1 or more"),
    (("timeout",), _or_none(lambda value: value > 0), "must be seconds above 0, or None for no limit"),
    (("retention",), lambda value: isinstance(value, Retention), "must be an embedq.Retention"),
    (
        ("audit_retention",),
        _or_none(lambda value: isinstance(value, timedelta) and value >= timedelta(0)),
        "must be a timedelta of zero or more, or None for no limit",
    ),
    (("guard",), _or_none(lambda value: isinstance(value, Guard)), "must be True or an embedq.Guard"),
    (
        ("queues",),
        _or_none(lambda value: not isinstance(value, str) and value and all(isinstance(q, str) and q for q in value)),
        'must be a list of names such as ["critical", "default"], or None for all',
    ),
)


# Each scheme that a URL may have, and its database.
SCHEMES = {
    "sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql",
}  # fmt: skip
_EXAMPLES = (
    "sqlite:///app.db (relative), sqlite:////var/app.db, postgresql://user:password@host/database or "
    "mysql://user:password@host/database"
)


def scheme_of(url: str) -> str:
    """Return the database that a URL is for: "sqlite", "postgresql" or "mysql".

    Raises:
        ConfigurationError: it is not a URL, or has another scheme.
    """
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError(f"url={url!r} is not a database URL; write {_EXAMPLES}")
    scheme, rest = url.split("://", 1)
    scheme, _, driver = scheme.lower().partition("+")
    if scheme not in SCHEMES:
        raise ConfigurationError(
            f"url={without_password(url)!r}: jobs are stored in SQLite, PostgreSQL, MySQL or MariaDB; write {_EXAMPLES}"
        )
    if driver:
        raise ConfigurationError(
            f"remove +{driver} from the URL: embedq chooses its own driver. {scheme}://… is enough"
        )
    if SCHEMES[scheme] != "sqlite" and _is_torn(rest):
        # No part of it is shown: any may belong to the password.
        raise ConfigurationError(
            f"the {scheme} URL has a /, ? or # in its user or password; write it percent-encoded: "
            "urllib.parse.quote(password, safe='')"
        )
    return SCHEMES[scheme]


def _is_torn(rest: str) -> bool:
    """Whether a character of the password splits the part after :// of a server's URL."""
    where, rest = re.split("(?=[/?#]|$)", rest, maxsplit=1)
    if "#" in rest or "@" in rest.partition("?")[0]:
        return True
    # Without a user there are only hosts: addresses in brackets, and ports, which are numbers.
    return "@" not in where and re.search(r":(?!\d*(,|$))", re.sub(r"\[[^]]*\]", "", where)) is not None


def without_password(url: str) -> str:
    """Return a URL with *** in place of its password."""
    return re.sub(r"(://[^/?#@]*?:)[^/?#]*(?=@)", r"\1***", re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url))


def sqlite_path(url: str) -> Path:
    """Return the file that a SQLite URL names.

    Raises:
        ConfigurationError: another scheme, or no file.
    """
    if scheme_of(url) != "sqlite":
        raise ConfigurationError(f"url={without_password(url)!r} names no file")
    rest = url.split("://", 1)[1]
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"url={url!r} cannot have parameters; settings are keywords of embedq.start()")
    if rest in ("", "/") or rest.endswith(":memory:"):
        raise ConfigurationError(f"url={url!r} names no file; jobs must outlive the process, so write sqlite:///app.db")
    if not rest.startswith("/"):
        raise ConfigurationError(f"url={url!r} needs three slashes for a relative path: sqlite:///{rest}")
    return Path(unquote(rest[1:]))

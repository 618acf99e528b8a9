"""What can be set, and what it must be.

embedq.start("sqlite:///app.db", workers=20)       # by keyword
EMBEDQ_URL=sqlite:///app.db EMBEDQ_WORKERS=20      # or from the environment; a keyword wins
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from embedq.clock import SECOND
from embedq.errors import ConfigurationError
from embedq.guard import Guard
from embedq.job import JobState

DEFAULT_URL = "sqlite:///embedq.db"
# The year 9999: kept for ever, and still in the index of ended jobs.
FOR_EVER = 253_402_300_799 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an ended job is kept. None keeps it for ever; zero deletes it at the next pruning."""

    succeeded: timedelta | None = timedelta(days=1)
    dead: timedelta | None = timedelta(days=30)
    cancelled: timedelta | None = timedelta(days=1)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
                raise ConfigurationError(
                    f"retention {item.name}={value!r} must be a timedelta of zero or more, or None to keep for ever"
                )

    def delete_at(self, state: JobState, ended_at: int) -> int:
        """When a job that ended in `state` at `ended_at` may be deleted, in microseconds."""
        kept: timedelta | None = getattr(self, state)
        return FOR_EVER if kept is None else min(FOR_EVER, ended_at + _micros(kept))

    def for_job(self, options: str | None) -> Retention:
        """With the job's own wishes, which stand in its stored options."""
        if options is None or '"retention"' not in options:
            return self
        try:
            own = json.loads(options)["retention"]
            return Retention(**{name: None if kept is None else timedelta(seconds=kept) for name, kept in own.items()})
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            # A row that somebody damaged must not stop the transaction that ends, or rescues, others beside it.
            return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set on an app. Durations are seconds.

    Attributes:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `postgresql://user:password@host/database`, or
            the same with `mysql://` or `mariadb://`.
        connect: a function that returns a new connection of embedq's driver (psycopg 3, PyMySQL) to the server that the
            URL names, or a SQLAlchemy Engine with that driver; None connects by the URL.
        workers: threads that run jobs.
        queues: the queues to work, most urgent first; None works all, by priority.
        durability: "full" (an acknowledged job survives a power cut) or "normal" (it survives a crash of the process).
        async_jobs: how many `async def` jobs run at a time, on one event loop.
        processes: how many jobs with executor="process" run at a time, each in a process; None for as many as this one
            may use cores, 0 to leave such jobs to others.
        process_memory_mb: the most memory that such a process may take, in MiB; None for no limit.
        process_max_jobs: after so many jobs a process gives way to a new one; None for no limit.
        process_idle: a process with nothing to do ends after this long.
        process_nice: how much such a process steps back for others that want the processor, as by `nice`: 0 to 19.
        process_setup: `module:function`, which each process calls before its first job, such as "django:setup".
        timeout: the longest a job may run unless it says otherwise; None for no limit.
        interrupt_grace: how long a job that was interrupted (timeout, cancel, stop) has to yield before it is overdue.
        cancel_grace: how long a cancelled job may watch `current_job().cancelled` before it is interrupted.
        retention: how long ended jobs are kept.
        audit_retention: how long the record of what people did is kept, a timedelta; None for ever.
        max_crashes: a job whose process died under it this many times is dead.
        max_payload_bytes: the most that a job's stored arguments, or its pickled function, may take.
        lease: how long a process is believed alive after its last heartbeat when its file lock cannot be seen.
        poll: how often other processes' writes are looked for.
        busy_timeout: how long a write waits for a locked database before StorageBusyError.
        stop_timeout: how long `stop()` and the interpreter's exit wait for running jobs.
        secret_key: signs functions that are not registered by name; without it a key file is kept beside the database.
        sigterm: drain and exit on SIGTERM, if nobody else handles it.
        allow_network_filesystem: do not refuse a SQLite file on a network disk.
        guard: an `embedq.Guard`, or True for one as it comes: holds jobs back while they slow the app's requests down.
    """

    # It may hold a password.
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
    stop_timeout: float = 30.0
    secret_key: str | None = field(default=None, repr=False)
    sigterm: bool = True
    allow_network_filesystem: bool = False
    guard: Guard | None = None

    def __post_init__(self) -> None:
        self._require(self.durability in ("full", "normal"), "durability", 'must be "full" or "normal"')
        self._require(
            _whole(self.workers) and 1 <= self.workers <= 1000, "workers", "must be a whole number from 1 to 1000"
        )
        self._require(
            _whole(self.async_jobs) and self.async_jobs >= 1, "async_jobs", "must be a whole number, 1 or more"
        )
        self._require(
            self.processes is None or (_whole(self.processes) and 0 <= self.processes <= 1000),
            "processes",
            "must be a whole number from 0 to 1000, or None for as many as there are cores",
        )
        for name, least in (("process_memory_mb", 32), ("process_max_jobs", 1)):
            value = getattr(self, name)
            self._require(
                value is None or (_whole(value) and value >= least),
                name,
                f"must be a whole number, {least} or more, or None for no limit",
            )
        self._require(
            _whole(self.process_nice) and 0 <= self.process_nice <= 19,
            "process_nice",
            "must be a whole number from 0 to 19",
        )
        setup = self.process_setup
        self._require(
            setup is None or (isinstance(setup, str) and all(setup.partition(":"))),
            "process_setup",
            'must be the name of a function such as "django:setup"',
        )
        self._require(
            _whole(self.max_crashes) and self.max_crashes >= 1, "max_crashes", "must be a whole number, 1 or more"
        )
        self._require(
            _whole(self.max_payload_bytes) and self.max_payload_bytes >= 1024,
            "max_payload_bytes",
            "must be 1024 or more",
        )
        for name in ("interrupt_grace", "cancel_grace", "busy_timeout", "stop_timeout", "process_idle"):
            self._require(getattr(self, name) >= 0, name, "must be seconds, 0 or more")
        self._require(0.001 <= self.poll <= 60, "poll", "must be seconds, from 0.001 to 60")
        self._require(self.lease >= 1, "lease", "must be seconds, 1 or more")
        self._require(
            self.timeout is None or self.timeout > 0, "timeout", "must be seconds above 0, or None for no limit"
        )
        self._require(isinstance(self.retention, Retention), "retention", "must be an embedq.Retention")
        audit = self.audit_retention
        self._require(
            audit is None or (isinstance(audit, timedelta) and audit >= timedelta(0)),
            "audit_retention",
            "must be a timedelta of zero or more, or None for ever",
        )
        self._require(self.guard is None or isinstance(self.guard, Guard), "guard", "must be True or an embedq.Guard")
        queues = self.queues
        if queues is not None:
            sound = not isinstance(queues, str) and queues and all(isinstance(q, str) and q for q in queues)
            self._require(
                bool(sound), "queues", 'must be a list of names such as ["critical", "default"], or None for all'
            )
            object.__setattr__(self, "queues", tuple(dict.fromkeys(queues)))
        if scheme_of(self.url) == "sqlite":
            sqlite_path(self.url)
            self._require(
                self.connect is None, "connect", "is for databases on a server; give the url that says which, too"
            )

    @property
    def database(self) -> str:
        """The URL for people and logs: without its password."""
        return without_password(self.url)

    def keywords(self) -> dict[str, Any]:
        """The keywords that make these settings."""
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
        """The settings from keywords, then from EMBEDQ_… variables, then the defaults.

        Raises:
            ConfigurationError: an unknown keyword, or a value that cannot work; it names the setting.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigurationError(f"unknown setting {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
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


_SECONDS = (
    "process_idle", "timeout", "interrupt_grace", "cancel_grace", "lease", "poll", "busy_timeout", "stop_timeout",
)  # fmt: skip
_FROM_ENVIRONMENT: Mapping[str, Any] = {
    "url": str,
    "workers": int,
    "queues": lambda text: tuple(name.strip() for name in text.split(",") if name.strip()),
    "durability": str,
    "processes": int,
    "secret_key": str,
    "guard": lambda text: _yes_or_no(text),
}


@lru_cache(maxsize=64)
def _micros(duration: timedelta) -> int:
    # Remembered, because the end of every job asks.
    return int(duration.total_seconds() * SECOND)


def _yes_or_no(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
    except KeyError:
        raise ValueError("write true or false") from None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Each scheme that a URL may have, and the database that it means.
SCHEMES = {
    "sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql",
}  # fmt: skip
_EXAMPLES = (
    "sqlite:///app.db (relative), sqlite:////var/app.db, postgresql://user:password@host/database or "
    "mysql://user:password@host/database"
)


def scheme_of(url: str) -> str:
    """The database that a URL is for: "sqlite", "postgresql" or "mysql".

    Raises:
        ConfigurationError: no URL, or one of another scheme.
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
            f"leave +{driver} out of the URL: embedq brings its own driver. {scheme}://… is enough"
        )
    if SCHEMES[scheme] != "sqlite" and _is_torn(rest):
        # Nothing of it is shown: anything may be a part of the password.
        raise ConfigurationError(
            f"the {scheme} URL has a /, ? or # in its user or password; write it percent-encoded: "
            "urllib.parse.quote(password, safe='')"
        )
    return SCHEMES[scheme]


def _is_torn(rest: str) -> bool:
    """Whether what stands behind the :// of a server's URL has been cut into parts at a character of its password."""
    where, rest = re.split("(?=[/?#]|$)", rest, maxsplit=1)
    if "#" in rest or "@" in rest.partition("?")[0]:
        return True
    # Without a user there are only hosts: addresses in brackets, and ports, which are numbers.
    return "@" not in where and re.search(r":(?!\d*(,|$))", re.sub(r"\[[^]]*\]", "", where)) is not None


def without_password(url: str) -> str:
    """A URL with *** in place of its password."""
    return re.sub(r"(://[^/?#@]*?:)[^/?#]*(?=@)", r"\1***", re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url))


def sqlite_path(url: str) -> Path:
    """The file that a SQLite URL names.

    Raises:
        ConfigurationError: another scheme, or no file.
    """
    if scheme_of(url) != "sqlite":
        raise ConfigurationError(f"url={without_password(url)!r} names no file")
    rest = url.split("://", 1)[1]
    if "?" in rest or "#" in rest:
        raise ConfigurationError(f"url={url!r} takes no parameters; settings are keywords of embedq.start()")
    if rest in ("", "/") or rest.endswith(":memory:"):
        raise ConfigurationError(f"url={url!r} names no file; jobs must outlive the process, so write sqlite:///app.db")
    if not rest.startswith("/"):
        raise ConfigurationError(f"url={url!r} needs three slashes for a relative path: sqlite:///{rest}")
    return Path(unquote(rest[1:]))

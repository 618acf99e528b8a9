"""embedq: a job scheduler inside your web app's process.

    import embedq

    embedq.start()                                   # worker threads here; jobs in embedq.db
    embedq.enqueue(send_mail, user.id)               # runs in the background, and survives a crash

The functions here act on one default app; `EmbedQ(url)` makes others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from embedq import job_process
from embedq.app import BoundOptions, EmbedQ
from embedq.config import Retention, Settings
from embedq.context import JobContext, current_job
from embedq.errors import (
    ConfigurationError,
    Discard,
    EmbedqError,
    EnqueueError,
    JobCancelled,
    JobCancelledError,
    JobDeadError,
    JobError,
    JobInterrupt,
    JobNotFoundError,
    JobStateError,
    JobStopped,
    JobTimeout,
    NetworkFilesystemError,
    NotStartedError,
    ParkError,
    PayloadTooLargeError,
    PythonVersionError,
    ResultUnavailableError,
    ScheduleError,
    ScheduleNotFoundError,
    SchemaTooNewError,
    SignatureError,
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageMissingError,
    StorageReadOnlyError,
    StorageRefusedError,
    StorageUnavailableError,
    StorageUncertainError,
    TransactionError,
    UnknownTaskError,
    UnknownTypeError,
    UnstorableArgumentError,
    UnstorableFunctionError,
    UntrustedCodeError,
    WaitTimeoutError,
)
from embedq.guard import Guard
from embedq.handle import JobHandle
from embedq.job import TRANSITIONS, Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.middleware import Draft, EnqueueMiddleware, Middleware
from embedq.misfire import Misfire, catch_up
from embedq.options import OptionKeywords, Options
from embedq.recurring import Schedule
from embedq.retry import NO_RETRY, Retry
from embedq.schedule import Cron, Every, every
from embedq.serializers import PARENT_RESULT
from embedq.storage.engines import ApplicationEngine
from embedq.storage.inspect import Occurrence, Server, Stats
from embedq.task import Call, Task
from embedq.transactions import Block
from embedq.version import VERSION as __version__

P = ParamSpec("P")
R = TypeVar("R")

_default: EmbedQ | None = None
_default_lock = threading.Lock()


def default_app() -> EmbedQ:
    """The app that the functions of this module act on."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = EmbedQ(**job_process.default_app()) if job_process.default_app else EmbedQ()
                if not job_process.here():
                    job_process.default_app = _default.keywords
    return _default


def start(url: str | Path | ApplicationEngine | None = None, **settings: Any) -> EmbedQ:
    """Start running jobs in this process: once, where the app starts up. A second call changes nothing.

    Args:
        url: `sqlite:///app.db`, or a SQLAlchemy engine; $EMBEDQ_URL, or `sqlite:///embedq.db`, when not given.
        settings: the fields of `embedq.Settings`, and `clock`, `middleware` and `enqueue_middleware`. Without any, and
            without a URL, those of an earlier `default_app().configure(…)` hold.
    Returns:
        The default app, also a context manager that stops it: `with embedq.start(): …`.
    Raises:
        ConfigurationError: a setting that cannot work, or other settings than the first time.
        StorageError: the database cannot be opened; the message says why and what to do.
    """
    return _configured(url, settings).start()


def connect(url: str | Path | ApplicationEngine | None = None, **settings: Any) -> EmbedQ:
    """Open the database to enqueue and read, in a process that runs no jobs. Arguments and errors as for `start`."""
    return _configured(url, settings).connect()


def _configured(url: str | Path | ApplicationEngine | None, settings: dict[str, Any]) -> EmbedQ:
    """The default app with what is asked for; without anything, as it was configured before."""
    app = default_app()
    return app if app.engine.configured and url is None and not settings else app.configure(url, **settings)


def stop(timeout: float | None = None) -> bool:
    """Stop running jobs here, in good order; see `EmbedQ.stop`."""
    return default_app().stop(timeout)


@overload
def job(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def job(
    *, name: str | None = None, aliases: Sequence[str] = (), **options: Unpack[OptionKeywords]
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def job(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Register a function as a job: `@embedq.job` or `@embedq.job(queue="mail", retry=…)`; see `EmbedQ.job`."""
    return default_app().register(function, options, enqueuer=default_app)


def enqueue(function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
    """Run `function(*args, **kwargs)` in the background; see `EmbedQ.enqueue`."""
    return default_app().enqueue(function, *args, **kwargs)


def enqueue_in(delay: timedelta | float, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
    """Run it `delay` (a timedelta, or seconds) from now."""
    return default_app().enqueue_in(delay, function, *args, **kwargs)


def enqueue_at(moment: datetime, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
    """Run it at `moment`, an aware datetime; ValueError if naive. One that has passed means now."""
    return default_app().enqueue_at(moment, function, *args, **kwargs)


async def aenqueue(function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
    """`enqueue` for `async def` request handlers: the event loop is not blocked by the disk."""
    return await default_app().aenqueue(function, *args, **kwargs)


def enqueue_many(calls: Iterable[Call]) -> list[JobHandle]:
    """Enqueue many calls, made by `embedq.call`, in one transaction: all of them, or none."""
    return default_app().enqueue_many(calls)


def call(function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Call:
    """A call, to hand to `enqueue_many`."""
    return default_app().call(function, *args, **kwargs)


def transaction(connection: Any) -> Block:
    """Enqueue in the application's own transaction: `with embedq.transaction(session): …`; see `EmbedQ.transaction`."""
    return default_app().transaction(connection)


def on_commit(connection: Any) -> Block:
    """Enqueue after the transaction that is open has been committed; see `EmbedQ.on_commit`."""
    return default_app().on_commit(connection)


def hold() -> Block:
    """Hold what is enqueued inside the `with` until that is left; see `EmbedQ.hold`."""
    return default_app().hold()


def options(**given: Unpack[OptionKeywords]) -> BoundOptions:
    """Options for one enqueue: `embedq.options(queue="low", timeout=60).enqueue(f, 1)`."""
    return default_app().options(**given)


def recurring(
    name: str,
    when: str | Cron | Every | timedelta,
    function: Callable[..., Any],
    /,
    *args: Any,
    timezone: str | None = None,
    misfire: str | Misfire = "once",
    grace: timedelta | None = None,
    **kwargs: Any,
) -> None:
    """Add a recurring job, or bring it up to date, in every process at every start; see `EmbedQ.recurring`."""
    default_app().recurring(name, when, function, *args, timezone=timezone, misfire=misfire, grace=grace, **kwargs)


def trigger_recurring(name: str) -> JobHandle:
    """Run a recurring job now, besides its schedule."""
    return default_app().trigger_recurring(name)


def pause_recurring(name: str) -> None:
    """Let a recurring job rest until it is resumed."""
    default_app().pause_recurring(name)


def resume_recurring(name: str) -> None:
    """Let it fire again, from its next occurrence on."""
    default_app().resume_recurring(name)


def remove_recurring(name: str) -> None:
    """Forget a recurring job. Jobs that it has made stay."""
    default_app().remove_recurring(name)


def __getattr__(name: str) -> ModuleType:
    """`embedq.dashboard` without an import of its own; what it needs is loaded when it is first named."""
    if name == "dashboard":
        return import_module("embedq.dashboard")
    raise AttributeError(f"module 'embedq' has no attribute {name!r}")


__all__ = [
    "NO_RETRY",
    "PARENT_RESULT",
    "TRANSITIONS",
    "Attempt",
    "BoundOptions",
    "Call",
    "ConfigurationError",
    "Cron",
    "Discard",
    "Draft",
    "EmbedQ",
    "EmbedqError",
    "Ending",
    "EnqueueError",
    "EnqueueMiddleware",
    "Every",
    "Guard",
    "Job",
    "JobCancelled",
    "JobCancelledError",
    "JobContext",
    "JobDeadError",
    "JobError",
    "JobHandle",
    "JobId",
    "JobInterrupt",
    "JobNotFoundError",
    "JobState",
    "JobStateError",
    "JobStopped",
    "JobTimeout",
    "LogLine",
    "Middleware",
    "Misfire",
    "NetworkFilesystemError",
    "NotStartedError",
    "Occurrence",
    "OptionKeywords",
    "Options",
    "ParkError",
    "PayloadTooLargeError",
    "PythonVersionError",
    "ResultUnavailableError",
    "Retention",
    "Retry",
    "Schedule",
    "ScheduleError",
    "ScheduleNotFoundError",
    "SchemaTooNewError",
    "Server",
    "Settings",
    "SignatureError",
    "Stats",
    "StorageBusyError",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageMissingError",
    "StorageReadOnlyError",
    "StorageRefusedError",
    "StorageUnavailableError",
    "StorageUncertainError",
    "Task",
    "TransactionError",
    "Trigger",
    "UnknownTaskError",
    "UnknownTypeError",
    "UnstorableArgumentError",
    "UnstorableFunctionError",
    "UntrustedCodeError",
    "WaitTimeoutError",
    "__version__",
    "aenqueue",
    "call",
    "catch_up",
    "connect",
    "current_job",
    "default_app",
    "enqueue",
    "enqueue_at",
    "enqueue_in",
    "enqueue_many",
    "every",
    "hold",
    "job",
    "on_commit",
    "options",
    "pause_recurring",
    "recurring",
    "remove_recurring",
    "resume_recurring",
    "start",
    "stop",
    "transaction",
    "trigger_recurring",
]

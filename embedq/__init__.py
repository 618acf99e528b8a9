"""embedq: a job scheduler inside your web app's process.

    import embedq

    embedq.start()                                   # worker threads here; jobs in embedq.db
    embedq.enqueue(send_mail, user.id)               # runs in the background, and survives a crash

The functions here act on one default app; `EmbedQ(url)` makes others.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from embedq.app import BoundOptions, EmbedQ
from embedq.app.verbs import QueueVerbs
from embedq.config import Retention, Settings
from embedq.engine.recurring import Schedule
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
    NoJobError,
    NotStartedError,
    ParkError,
    PayloadTooLargeError,
    PythonVersionError,
    RateLimited,
    ReentryError,
    ResultUnavailableError,
    ScheduleError,
    ScheduleNotFoundError,
    SchemaTooNewError,
    SignatureError,
    Snooze,
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
    UniqueConflictError,
    UnknownTaskError,
    UnknownTypeError,
    UnstorableArgumentError,
    UnstorableFunctionError,
    UntrustedCodeError,
    WaitTimeoutError,
)
from embedq.flow.guard import Guard
from embedq.flow.limits import Limit, Rate, limit
from embedq.flow.unique import Debounce, Throttle, Unique
from embedq.job import TRANSITIONS, Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.process import job_process
from embedq.scheduling.misfire import Misfire, catch_up
from embedq.scheduling.schedule import Cron, Every, every
from embedq.serializers import PARENT_RESULT
from embedq.storage.engines import ApplicationEngine
from embedq.storage.holds import Hold
from embedq.storage.inspect import Occurrence, Server, Stats
from embedq.tasks.context import JobContext, current_job
from embedq.tasks.handle import JobHandle
from embedq.tasks.middleware import Draft, EnqueueMiddleware, Middleware
from embedq.tasks.options import OptionKeywords, Options
from embedq.tasks.retry import NO_RETRY, Retry
from embedq.tasks.task import Call, Task
from embedq.version import VERSION as __version__

_default: EmbedQ | None = None
_default_lock = threading.RLock()


def default_app() -> EmbedQ:
    """Return the app that the functions of this module act on."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                made = EmbedQ(**job_process.default_app()) if job_process.default_app else EmbedQ()
                # A finalizer that ran in the meantime may have made it.
                _default = _default or made
                if not job_process.here():
                    job_process.default_app = _default.keywords
    return _default


def start(url: str | Path | ApplicationEngine | None = None, **settings: Any) -> EmbedQ:
    """Start running jobs in this process: once, where the app starts up. The same call again changes nothing.

    Args:
        url: `sqlite:///app.db`, or a SQLAlchemy engine; $EMBEDQ_URL, or `sqlite:///embedq.db`, when not given.
        settings: the fields of `embedq.Settings`, `default_options`, and `clock`, `middleware` and
            `enqueue_middleware`; see `EmbedQ`. Without any, and without a URL, those of an earlier
            `default_app().configure(…)` apply.
    Returns:
        The default app, also a context manager that stops it: `with embedq.start(): …`.
    Raises:
        ConfigurationError: an invalid setting, or other settings than the first time.
        StorageError: the database cannot be opened; the message states why and what to do.
    """
    return _configured(url, settings).start()


def connect(url: str | Path | ApplicationEngine | None = None, **settings: Any) -> EmbedQ:
    """Open the database to enqueue and read, in a process that runs no jobs. Arguments and errors as for `start`."""
    return _configured(url, settings).connect()


def _configured(url: str | Path | ApplicationEngine | None, settings: dict[str, Any]) -> EmbedQ:
    """Return the default app with these settings; without any, as it was configured before."""
    app = default_app()
    return app if app.engine.configured and url is None and not settings else app.configure(url, **settings)


def stop(timeout: float | timedelta | None = None) -> bool:
    """Stop running jobs here, gracefully; see `EmbedQ.stop`."""
    return default_app().stop(timeout)


class _DefaultApp(QueueVerbs):
    """The verbs of the default app, which is made when one is first used."""

    _app = staticmethod(default_app)

    def __reduce__(self) -> str:
        # So that functions that are stored by value can refer to the verbs.
        return "_verbs"


_verbs = _DefaultApp()
job = _verbs.job
enqueue = _verbs.enqueue
enqueue_in = _verbs.enqueue_in
enqueue_at = _verbs.enqueue_at
aenqueue = _verbs.aenqueue
enqueue_many = _verbs.enqueue_many
call = _verbs.call
by_name = _verbs.by_name
transaction = _verbs.transaction
on_commit = _verbs.on_commit
hold = _verbs.hold
options = _verbs.options
recurring = _verbs.recurring
sync_recurring = _verbs.sync_recurring
trigger_recurring = _verbs.trigger_recurring
pause_recurring = _verbs.pause_recurring
resume_recurring = _verbs.resume_recurring
remove_recurring = _verbs.remove_recurring
set_limit = _verbs.set_limit
limits = _verbs.limits
why_waiting = _verbs.why_waiting
pause = _verbs.pause
resume = _verbs.resume
holds = _verbs.holds


def __getattr__(name: str) -> ModuleType:
    """Load `embedq.dashboard` when it is first used, so that it needs no import of its own."""
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
    "Debounce",
    "Discard",
    "Draft",
    "EmbedQ",
    "EmbedqError",
    "Ending",
    "EnqueueError",
    "EnqueueMiddleware",
    "Every",
    "Guard",
    "Hold",
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
    "Limit",
    "LogLine",
    "Middleware",
    "Misfire",
    "NetworkFilesystemError",
    "NoJobError",
    "NotStartedError",
    "Occurrence",
    "OptionKeywords",
    "Options",
    "ParkError",
    "PayloadTooLargeError",
    "PythonVersionError",
    "Rate",
    "RateLimited",
    "ReentryError",
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
    "Snooze",
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
    "Throttle",
    "TransactionError",
    "Trigger",
    "Unique",
    "UniqueConflictError",
    "UnknownTaskError",
    "UnknownTypeError",
    "UnstorableArgumentError",
    "UnstorableFunctionError",
    "UntrustedCodeError",
    "WaitTimeoutError",
    "__version__",
    "aenqueue",
    "by_name",
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
    "holds",
    "job",
    "limit",
    "limits",
    "on_commit",
    "options",
    "pause",
    "pause_recurring",
    "recurring",
    "remove_recurring",
    "resume",
    "resume_recurring",
    "set_limit",
    "start",
    "stop",
    "sync_recurring",
    "transaction",
    "trigger_recurring",
    "why_waiting",
]

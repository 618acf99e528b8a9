"""What the threads that run jobs share with the rest of their app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedq.clock import Clock
from embedq.config import Settings
from embedq.observability.outage import Outage
from embedq.process.liveness import RunningJobsFile
from embedq.process.registration import Registration
from embedq.storage.base import Database
from embedq.tasks.middleware import Middleware
from embedq.worker.resolving import Resolver
from embedq.worker.runs import Watchdog


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """Made once for each started app, by the runtime.

    Attributes:
        registration: holds this process's number.
        watchdog: enforces the timeouts of runs.
        running_jobs: records which jobs run, in a file that survives this process.
        lock_descriptor: this process's lock file; child processes hold it open too (see `ProcessPool`).
        outage: logs trouble with the database.
        may_run: returns whether jobs may start; False while this process may be cut off from the database.
        ended: called with the ids of jobs whose end is durable, in the dispatcher's thread.
    """

    settings: Settings
    clock: Clock
    database: Database
    registration: Registration
    resolver: Resolver
    middleware: Sequence[Middleware]
    watchdog: Watchdog
    running_jobs: RunningJobsFile
    lock_descriptor: int
    outage: Outage
    may_run: Callable[[], bool]
    ended: Callable[[Sequence[int]], None]

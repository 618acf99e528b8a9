"""The processes that run jobs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from embedq.clock import FIRST_MICROS, to_datetime
from embedq.job import JobId
from embedq.storage.base import Transaction
from embedq.storage.damage import json_or

# Running jobs are read up to so many; the index does not know which began first.
FETCHED = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRestarts:
    """A thread of a process that ended unexpectedly: how often it was started again, the last time why and when."""

    thread: str
    count: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A process that runs jobs.

    Attributes:
        queues: None for all; () where what is stored cannot be read.
        running: how many jobs it holds now.
        leader: whether it fires the schedules.
        restarts: its threads that ended unexpectedly and were started again.
    """

    id: int
    uuid: str
    hostname: str
    pid: int
    version: str
    workers: int
    queues: tuple[str, ...] | None
    started_at: datetime
    heartbeat_at: datetime
    stopping: bool
    running: int
    leader: bool
    restarts: tuple[ThreadRestarts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A job that a process holds: it runs, or is next in the process's own line."""

    id: JobId
    name: str
    queue: str
    executor: str
    server: int
    attempt: int
    started_at: datetime
    progress: float | None
    progress_note: str | None
    cancel_requested: bool
    overdue: bool


def running(tx: Transaction, server: int | None = None, *, limit: int = 500) -> list[RunningJob]:
    """What a process holds, or all do; those that have run longest first."""
    rows = tx.all("running_jobs", (FETCHED,)) if server is None else tx.all("running_jobs_of", (server, FETCHED))
    found = [
        RunningJob(
            id=JobId(job_id),
            name=name,
            queue=queue,
            executor=executor,
            server=held_by or 0,
            attempt=attempt,
            started_at=to_datetime(FIRST_MICROS - 1 if started_at is None else started_at),
            progress=progress if progress is None or math.isfinite(progress) else None,
            progress_note=note,
            cancel_requested=cancel_at is not None,
            overdue=overdue_at is not None,
        )
        for (
            job_id, name, queue, executor, held_by, attempt, started_at, progress, note, cancel_at, overdue_at,
        ) in rows
    ]  # fmt: skip
    return sorted(found, key=lambda job: (job.started_at, job.id))[:limit]


def servers(tx: Transaction) -> list[Server]:
    """Every process that has registered and is not known to be dead."""
    return [
        Server(
            id=server_id,
            uuid=uuid,
            hostname=hostname,
            pid=pid,
            version=version,
            workers=workers,
            queues=None if queues is None else tuple(map(str, json_or(queues, list, ()))),
            started_at=to_datetime(started_at),
            heartbeat_at=to_datetime(heartbeat_at),
            stopping=stopping_at is not None,
            running=running,
            leader=bool(leader),
            restarts=_read_restarts(restarts),
        )
        for (
            server_id, uuid, hostname, pid, version, workers, queues, started_at, heartbeat_at, stopping_at, running,
            leader, restarts,
        ) in tx.all("servers")
    ]  # fmt: skip


def _read_restarts(text: str | None) -> tuple[ThreadRestarts, ...]:
    """None where the row was damaged: it is there to help."""
    try:
        return tuple(
            ThreadRestarts(
                thread=str(name), count=int(count), reason=str(reason), at=datetime.fromtimestamp(float(at), UTC)
            )
            for name, (count, reason, at) in sorted(json.loads(text or "{}").items())
        )
    except (AttributeError, TypeError, ValueError, OverflowError, OSError):
        return ()

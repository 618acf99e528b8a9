"""The processes that run jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from embedq.clock import to_datetime
from embedq.job import JobId
from embedq.storage.base import Transaction

# Running jobs are read up to so many; the index does not know which began first.
FETCHED = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A process that runs jobs.

    Attributes:
        queues: None for all.
        running: how many jobs it holds now.
        leader: whether it fires the schedules.
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
            server=held_by,
            attempt=attempt,
            started_at=to_datetime(started_at),
            progress=progress,
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
            queues=None if queues is None else tuple(json.loads(queues)),
            started_at=to_datetime(started_at),
            heartbeat_at=to_datetime(heartbeat_at),
            stopping=stopping_at is not None,
            running=running,
            leader=bool(leader),
        )
        for (
            server_id, uuid, hostname, pid, version, workers, queues, started_at, heartbeat_at, stopping_at, running,
            leader,
        ) in tx.all("servers")
    ]  # fmt: skip

"""The read model: what people and dashboards look at. The engine reads nothing here but parked needs and due times.

Pages go by key (`before`), and counts stop at a cap, so that a page costs the same at five million rows as at five.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedq.clock import to_datetime
from embedq.errors import JobNotFoundError
from embedq.job import ENDED, Attempt, Ending, Job, JobId, JobState, LogLine, Trigger
from embedq.storage.base import Row, Transaction
from embedq.storage.claims import APART, EXECUTORS, suspects
from embedq.storage.schedules import ScheduleRow

COUNT_CAP = 10_000

# How each state is found without reading the others: the partial index's own condition.
_FOUND_BY = {
    JobState.READY: "state = 'ready'",
    JobState.RUNNING: "state = 'running'",
    JobState.PARKED: "state = 'parked'",
    JobState.AWAITING: "state = 'awaiting'",
    JobState.SCHEDULED: "state IN ('scheduled', 'retrying') AND state = 'scheduled'",
    JobState.RETRYING: "state IN ('scheduled', 'retrying') AND state = 'retrying'",
    **{state: f"delete_at IS NOT NULL AND state = '{state}'" for state in ENDED},
}


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
class Occurrence:
    """One line of a schedule's ledger: an occurrence that was enqueued, or a run of them that was not.

    Attributes:
        outcome: "enqueued", "triggered" (by hand) or "passed".
        count: how many occurrences, from `fire_at` to `last_fire_at`; 1 unless passed.
        job_id: the job it became.
    """

    fire_at: datetime
    last_fire_at: datetime
    outcome: str
    count: int
    job_id: JobId | None
    reason: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The queue at a glance.

    Attributes:
        counts: jobs by state; a count stops at `COUNT_CAP`.
        oldest_ready_seconds: how long the oldest ready job of each queue has been due.
        last_hour: attempts by ending, from the counters.
    """

    counts: dict[JobState, int]
    oldest_ready_seconds: dict[str, float]
    last_hour: dict[Ending, int]


def job(tx: Transaction, job_id: int) -> Job:
    """One job. JobNotFoundError if it is not there."""
    row = tx.one("job", (job_id,))
    if row is None:
        raise JobNotFoundError(f"no job {job_id}; it may have been pruned after its retention time")
    return _job(row)


def jobs(
    tx: Transaction,
    *,
    state: JobState | None = None,
    queue: str | None = None,
    name: str | None = None,
    tag: str | None = None,
    schedule: str | None = None,
    error: str | None = None,
    parent: int | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[Job]:
    """Jobs that match all that is given, newest first; `before` an id for the next page."""
    condition, params = _matching(
        state=state, queue=queue, name=name, tag=tag, schedule=schedule, error=error, parent=parent, before=before
    )
    sql = f"SELECT {{job_columns}} FROM embedq_jobs {condition} ORDER BY id DESC LIMIT ?"
    return [_job(row) for row in tx.select(sql, (*params, limit))]


def count_jobs(tx: Transaction, /, *, cap: int = COUNT_CAP, **filters: Any) -> int:
    """How many jobs match, counted up to `cap`. The filters are those of `jobs`."""
    condition, params = _matching(**filters)
    [(found,)] = tx.select(
        f"SELECT count(*) FROM (SELECT 1 FROM embedq_jobs {condition} LIMIT ?) AS found", (*params, cap)
    )
    return int(found)


def _matching(
    *,
    state: JobState | None = None,
    queue: str | None = None,
    name: str | None = None,
    tag: str | None = None,
    schedule: str | None = None,
    error: str | None = None,
    parent: int | None = None,
    before: int | None = None,
) -> tuple[str, list[Any]]:
    """The WHERE clause of a search, and its parameters."""
    where: list[str] = []
    params: list[Any] = []
    for column, value in (
        ("queue = ?", queue), ("name = ?", name), ("schedule = ?", schedule), ("parent_id = ?", parent),
        ("id < ?", before),
    ):  # fmt: skip
        if value is not None:
            where.append(column)
            params.append(value)
    if state is not None:
        where.append(_FOUND_BY[state])
    if tag is not None:
        where.append("{has_tag}")
        params.append(tag)
    if error is not None:
        where.append("{error_contains}")
        params.append(error)
    return f"WHERE {' AND '.join(where)}" if where else "", params


def attempts(tx: Transaction, job_id: int) -> list[Attempt]:
    """Every attempt that is over, oldest first; a success is the last."""
    found = [
        Attempt(
            number=number,
            ending=Ending(ending),
            started_at=to_datetime(started_at),
            finished_at=to_datetime(finished_at),
            error=error,
            traceback=traceback,
            server=server,
        )
        for number, ending, started_at, finished_at, error, traceback, server in tx.all("attempts", (job_id,))
    ]
    last = job(tx, job_id)
    if last.state is JobState.SUCCEEDED:
        assert last.started_at is not None
        assert last.finished_at is not None
        found.append(
            Attempt(
                number=last.attempt,
                ending=Ending.SUCCEEDED,
                started_at=last.started_at,
                finished_at=last.finished_at,
                error=None,
                traceback=None,
                server=None,
            )
        )
    return found


def logs(tx: Transaction, job_id: int) -> list[LogLine]:
    """What the job wrote, oldest first."""
    return [
        LogLine(at=to_datetime(at), attempt=attempt, message=text) for at, attempt, text in tx.all("logs", (job_id,))
    ]


def children(tx: Transaction, job_id: int) -> list[JobId]:
    """The jobs that continue this one."""
    return [JobId(child) for (child,) in tx.all("children", (job_id,))]


def outcome(tx: Transaction, job_id: int) -> tuple[JobState, str | None, str | None] | None:
    """State, stored result and error of a job; None if it is not there."""
    row = tx.one("outcome", (job_id,))
    return None if row is None else (JobState(row[0]), row[1], row[2])


def last_traceback(tx: Transaction, job_id: int) -> str | None:
    """The traceback of the last attempt that failed."""
    row = tx.one("last_traceback", (job_id,))
    return row[0] if row else None


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


def schedules(tx: Transaction) -> list[ScheduleRow]:
    """Every recurring job, by name."""
    return [ScheduleRow._make(row) for row in tx.all("schedules")]


def occurrences(tx: Transaction, schedule: str, limit: int = 100) -> list[Occurrence]:
    """The latest lines of a schedule's ledger, newest first."""
    return [
        Occurrence(
            fire_at=to_datetime(fire_at),
            last_fire_at=to_datetime(last),
            outcome=outcome,
            count=count,
            job_id=job_id,
            reason=reason,
            recorded_at=to_datetime(recorded_at),
        )
        for fire_at, outcome, last, count, job_id, reason, recorded_at in tx.all("occurrences", (schedule, limit))
    ]


def stats(tx: Transaction, *, now: int) -> Stats:
    """Counts by state, waiting ages by queue and the last hour's endings."""
    return Stats(
        counts={state: count(tx, state) for state in JobState},
        oldest_ready_seconds={
            queue: max(0.0, (now - run_at) / 1e6) for queue, run_at in tx.all("oldest_ready", (COUNT_CAP,))
        },
        last_hour={Ending(row[0]): row[1] for row in tx.all("totals", (now // 60_000_000 - 60,))},
    )


def count(tx: Transaction, state: JobState, cap: int = COUNT_CAP) -> int:
    """How many jobs are in a state, counted up to `cap`."""

    def capped(statement: str, *params: object) -> int:
        row = tx.one(statement, (*params, cap))
        assert row is not None, "a count always has a row"
        return int(row[0])

    if state in ENDED:
        return capped("count_ended", state)
    if state in (JobState.SCHEDULED, JobState.RETRYING):
        return capped("count_scheduled", state)
    if state is JobState.READY:
        return min(cap, capped("count_ready") + capped("count_suspect"))
    return capped(f"count_{state}")


def parked_needs(tx: Transaction) -> list[str]:
    """What the parked jobs wait for."""
    return [needs for (needs,) in tx.all("parked_needs")]


def next_due(tx: Transaction) -> int | None:
    """When the next scheduled job is due, in microseconds; None if there is none."""
    row = tx.one("next_due")
    return row[0] if row else None


def next_executor(tx: Transaction, queues: Sequence[str] | None) -> str | None:
    """Where the most urgent of the ready jobs runs; `queues` as for a claim."""
    for queue in [None] if queues is None else queues:
        condition, params = _matching(state=JobState.READY, queue=queue)
        sql = f"SELECT executor FROM embedq_jobs {condition} ORDER BY priority DESC, id LIMIT 1"
        for (executor,) in tx.select(sql, params):
            return str(executor)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Whether a ready job is there, or a suspect, when the next is due (microseconds), and which running to cancel."""

    ready: bool
    suspect: bool
    next_due: int | None
    cancels: Sequence[tuple[int, int]]


def waiting(tx: Transaction, server_id: int, queues: Sequence[str] | None) -> Waiting:
    """What a dispatcher that works `queues` (None: all) must know after somebody else has written. A few seeks."""
    cancels = tx.all("cancel_requests", (server_id,))
    suspected = suspects(tx, queues)
    return Waiting(
        ready=bool(suspected & APART) or _has_ready(tx, queues),
        suspect=bool(suspected - APART),
        next_due=next_due(tx),
        cancels=[(job_id, claim) for job_id, claim in cancels],
    )


def _has_ready(tx: Transaction, queues: Sequence[str] | None) -> bool:
    if queues is None:
        return tx.one("has_ready") is not None
    found = {queue for executor in EXECUTORS for (queue,) in tx.all("ready_queues", (executor,))}
    return not found.isdisjoint(queues)


def _job(row: Row) -> Job:
    (
        job_id, state, name, payload, code, queue, executor, priority, tags, key, parent_id, trigger, schedule,
        created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes, cancelling, overdue,
        server_id, error, result, progress, note,
    ) = row  # fmt: skip
    return Job(
        id=JobId(job_id),
        state=JobState(state),
        name=name,
        arguments=payload,
        source=_source(code),
        queue=queue,
        executor=executor,
        priority=priority,
        tags=_tags(tags),
        idempotency_key=key,
        parent_id=None if parent_id is None else JobId(parent_id),
        trigger=None if trigger is None else Trigger(trigger),
        schedule=schedule,
        created_at=to_datetime(created_at),
        run_at=to_datetime(run_at),
        expires_at=_moment(expires_at),
        started_at=_moment(started_at),
        finished_at=_moment(finished_at),
        delete_at=_moment(delete_at),
        attempt=attempt,
        crashes=crashes,
        cancel_requested=bool(cancelling),
        overdue=bool(overdue),
        server=server_id,
        error=error,
        result=result,
        progress=progress,
        progress_note=note,
    )


def _source(code: str | None) -> str | None:
    """The source text that is stored with a function. Nothing in a damaged row may keep people from looking at it."""
    try:
        source = json.loads(code).get("source") if code else None
    except (ValueError, AttributeError, RecursionError):
        return None
    return source if isinstance(source, str) else None


def _tags(tags: str | None) -> tuple[str, ...]:
    try:
        return tuple(str(tag) for tag in json.loads(tags)) if tags else ()
    except (ValueError, TypeError, RecursionError):
        return ()


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else to_datetime(micros)

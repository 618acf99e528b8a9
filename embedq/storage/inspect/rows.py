"""Rows of embedq_jobs as the snapshots that the read side hands out."""

from __future__ import annotations

import json
from datetime import datetime

from embedq.clock import to_datetime
from embedq.job import Job, JobId, JobState, Trigger
from embedq.storage.base import Row


def job_from_row(row: Row) -> Job:
    """A row of `job_columns`."""
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
        expires_at=moment(expires_at),
        started_at=moment(started_at),
        finished_at=moment(finished_at),
        delete_at=moment(delete_at),
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


def moment(micros: int | None) -> datetime | None:
    """Microseconds as a datetime; None for None."""
    return None if micros is None else to_datetime(micros)

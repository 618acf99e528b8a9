"""Rows of embedq_jobs as the snapshots that the read side hands out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime

from embedq.clock import to_datetime
from embedq.flow.lanes import unlaned
from embedq.job import ENDED, Job, JobId, JobState, Trigger
from embedq.storage.base import Row
from embedq.storage.damage import is_damaged, member

_MAY_BE = ("state", "trigger", "created_at", "run_at", "expires_at", "started_at", "finished_at", "delete_at")


def job_from_row(row: Row) -> Job:
    """A row of `job_columns`."""
    (
        job_id, state, name, payload, code, queue, executor, priority, tags, key, parent_id, trigger, schedule,
        created_at, run_at, expires_at, started_at, finished_at, delete_at, attempt, crashes, cancelling, overdue,
        server_id, error, result, progress, note,
    ) = row  # fmt: skip
    job = Job(
        id=JobId(job_id),
        state=member(JobState, state),
        name=name,
        arguments=payload,
        source=_source(code),
        queue=queue,
        executor=unlaned(executor),
        priority=priority,
        tags=_tags(tags),
        idempotency_key=key,
        parent_id=None if parent_id is None else JobId(parent_id),
        trigger=None if trigger is None else member(Trigger, trigger),
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
        progress=progress if progress is None or math.isfinite(progress) else None,
        progress_note=note,
    )
    lost = _lost(job, tags=tags, progress=progress)
    return replace(job, damaged=lost) if lost else job


def _lost(job: Job, *, tags: str | None, progress: float | None) -> tuple[str, ...]:
    """What of the row cannot be shown, by the names of the job's attributes."""
    found = [name for name in _MAY_BE if is_damaged(getattr(job, name))]
    if progress is not None and job.progress is None:
        found.append("progress")
    if tags and not job.tags and tags != "[]":
        found.append("tags")
    if job.state in ENDED:
        found += [name for name in ("finished_at", "delete_at") if getattr(job, name) is None]
    if job.state is JobState.RUNNING or job.state is JobState.SUCCEEDED:
        found += ["started_at"] if job.started_at is None else []
    return tuple(found)


def _source(code: str | None) -> str | None:
    """The source text that is stored with a function. Nothing in a damaged row may keep people from looking at it."""
    try:
        source = json.loads(code).get("source") if code else None
    except (ValueError, AttributeError, RecursionError):
        return None
    return source if isinstance(source, str) else None


def _tags(tags: str | None) -> tuple[str, ...]:
    try:
        found = json.loads(tags) if tags else []
        return tuple(str(tag) for tag in found) if isinstance(found, list) else ()
    except (ValueError, TypeError, RecursionError):
        return ()


def moment(micros: int | None) -> datetime | None:
    """Microseconds as a datetime; None for None."""
    return None if micros is None else to_datetime(micros)

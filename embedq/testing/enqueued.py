"""The jobs that were enqueued, for tests to read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from embedq.clock import to_datetime
from embedq.errors import JobNotFoundError
from embedq.flow.unique import rule_of
from embedq.job import Job, JobId, JobState
from embedq.serializers import PARENT_RESULT, loads_call
from embedq.storage import inspect
from embedq.storage.base import Database
from embedq.storage.rows import NewJob
from embedq.tasks.handle import JobHandle

SMALLEST_PAGE, LARGEST_PAGE = 2, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedJob:
    """A job that was enqueued during the test, in any state now.

    Attributes:
        name: the function's registered name, `module:qualname` unless it was given another.
        args, kwargs: its arguments, as the job receives them.
        run_at: when it was due as it was enqueued.
        schedule: the recurring job that made it.
        parent_id: its parent job.
        handle: as `enqueue` returned it.
    """

    id: JobId
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    priority: int
    tags: tuple[str, ...]
    idempotency_key: str | None
    enqueued_at: datetime
    run_at: datetime
    schedule: str | None
    parent_id: JobId | None
    handle: JobHandle = field(repr=False)

    @property
    def state(self) -> JobState:
        """Its present state. JobNotFoundError once its retention is over."""
        return self.handle.state

    @property
    def call(self) -> str:
        """The call, for people: `send_mail(7, template='invoice')`."""
        return call_text(self.name, self.args, self.kwargs)

    def __str__(self) -> str:
        notes = [self.call]
        if self.queue != "default":
            notes.append(f"queue {self.queue!r}")
        if self.priority:
            notes.append(f"priority {self.priority}")
        if self.tags:
            notes.append(f"tags {', '.join(self.tags)}")
        if self.run_at > self.enqueued_at:
            notes.append(f"due {self.run_at - self.enqueued_at} later, at {self.run_at:%Y-%m-%d %H:%M:%S} UTC")
        if self.schedule is not None:
            notes.append(f"by the recurring job {self.schedule!r} for {self.run_at:%Y-%m-%d %H:%M:%S} UTC")
        if self.parent_id is not None:
            notes.append(f"after job {self.parent_id}")
        return "  ".join(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutCall:
    """A call that made no job of its own, since an earlier job stands for it: by its unique or its idempotency key.

    Attributes:
        name, args, kwargs, queue, priority, tags, idempotency_key, run_at: those that a job of its own would have had.
        enqueued_at: when it was called.
        on_conflict: "keep" where nothing changed, "replace" where the earlier job got the new arguments, "raise" where
            the caller got a UniqueConflictError.
        job: the earlier job, as it is now.
    """

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    priority: int
    tags: tuple[str, ...]
    idempotency_key: str | None
    enqueued_at: datetime
    run_at: datetime
    on_conflict: str
    job: EnqueuedJob = field(repr=False)

    def __str__(self) -> str:
        how = {"replace": "job {} got its arguments", "raise": "refused, for job {}"}
        told = how.get(self.on_conflict, "job {} stands for it").format(self.job.id)
        return f"{call_text(self.name, self.args, self.kwargs)}: {told}"


def call_text(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call as it is written in code, by the function's name without its module."""
    given = [*map(_brief, args), *(f"{key}={_brief(value)}" for key, value in kwargs.items())]
    return f"{name.rpartition(':')[2]}({', '.join(given)})"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


class Journal:
    """Every job that was enqueued, read from the database before its retention is over; and calls that made none.

    Args:
        handle: makes a handle for a job's id.
    """

    def __init__(self, database: Database, handle: Callable[[int], JobHandle]) -> None:
        self._database = database
        self._handle = handle
        self._jobs: dict[int, EnqueuedJob] = {}
        self._last = 0
        self._kept_out: list[tuple[NewJob, int, object]] = []
        # Those that may get other arguments, as they have a unique key: their entries follow.
        self._replaced: set[int] = set()
        self._lock = threading.Lock()

    def read(self) -> list[EnqueuedJob]:
        """All of them, in the order in which they were enqueued."""
        with self._lock:
            fresh: list[Job] = []
            before, limit = None, SMALLEST_PAGE
            while True:
                page = self._database.read(inspect.jobs, before=before, limit=limit)
                unread = [job for job in page if job.id > self._last]
                fresh += unread
                if len(unread) < limit:
                    break
                before, limit = page[-1].id, LARGEST_PAGE
            for job in reversed(fresh):
                self._jobs[job.id] = self._entry(job)
            self._last = max(self._last, *(job.id for job in fresh)) if fresh else self._last
            for job_id in sorted(self._replaced & self._jobs.keys()):
                self._follow(job_id)
            return list(self._jobs.values())

    def forget(self, job_ids: Sequence[int], block: object) -> None:
        """Remove jobs that were rolled back, whose ids may be used again, and calls in that block."""
        with self._lock:
            self._kept_out = [one for one in self._kept_out if one[2] is not block]
            for job_id in job_ids:
                self._jobs.pop(job_id, None)
            self._last = min([self._last, *(job_id - 1 for job_id in job_ids)])

    def keep_out(self, row: NewJob, job_id: int, block: object) -> None:
        """Record a call that made no job of its own."""
        with self._lock:
            self._kept_out.append((row, job_id, block))
            if _on_conflict(row) == "replace":
                self._replaced.add(job_id)

    def kept_out(self) -> list[KeptOutCall]:
        """Those calls, in order. One whose job is not committed is left out."""
        self.read()
        return [_call(row, self._jobs[job_id]) for row, job_id, _ in self._kept_out if job_id in self._jobs]

    def _follow(self, job_id: int) -> None:
        """Take over arguments that were replaced, and the time if the job has not run."""
        try:
            job = self._database.read(inspect.job, job_id)
        except JobNotFoundError:
            self._replaced.discard(job_id)
            return
        if job.state.ended:
            self._replaced.discard(job_id)
        now, entry = self._entry(job), self._jobs[job_id]
        waits = job.state is JobState.SCHEDULED and job.started_at is None
        self._jobs[job_id] = replace(
            entry, args=now.args, kwargs=now.kwargs, run_at=now.run_at if waits else entry.run_at
        )

    def entry(self, job_id: int) -> EnqueuedJob:
        """One of them."""
        if job_id not in self._jobs:
            self.read()
        return self._jobs[job_id]

    def _entry(self, job: Job) -> EnqueuedJob:
        args, kwargs = _arguments(job.arguments)
        return EnqueuedJob(
            id=job.id,
            name=job.name,
            args=args,
            kwargs=kwargs,
            queue=job.queue,
            priority=job.priority,
            tags=job.tags,
            idempotency_key=job.idempotency_key,
            enqueued_at=job.created_at,
            run_at=job.run_at,
            schedule=job.schedule,
            parent_id=job.parent_id,
            handle=self._handle(job.id),
        )


def _arguments(payload: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = loads_call(payload, parent_result=lambda: PARENT_RESULT)
    return tuple(args), kwargs


def _on_conflict(row: NewJob) -> str:
    rule = rule_of(row.options)
    return "keep" if rule is None else rule.on_conflict


def _call(row: NewJob, job: EnqueuedJob) -> KeptOutCall:
    args, kwargs = _arguments(row.payload)
    return KeptOutCall(
        name=row.name,
        args=args,
        kwargs=kwargs,
        queue=row.queue,
        priority=row.priority,
        tags=tuple(json.loads(row.tags or "[]")),
        idempotency_key=row.idempotency_key,
        enqueued_at=to_datetime(row.created_at),
        run_at=to_datetime(row.run_at),
        on_conflict=_on_conflict(row),
        job=job,
    )

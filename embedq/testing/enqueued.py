"""The jobs that were enqueued, for tests to read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from embedq.job import Job, JobId, JobState
from embedq.serializers import PARENT_RESULT, loads_call
from embedq.storage import inspect
from embedq.storage.base import Database
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


def call_text(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call as it is written in code, by the function's name without its module."""
    given = [*map(_brief, args), *(f"{key}={_brief(value)}" for key, value in kwargs.items())]
    return f"{name.rpartition(':')[2]}({', '.join(given)})"


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:199]}…"


class Journal:
    """Every job that was enqueued, read from the database before its retention is over.

    Args:
        handle: makes a handle for a job's id.
    """

    def __init__(self, database: Database, handle: Callable[[int], JobHandle]) -> None:
        self._database = database
        self._handle = handle
        self._jobs: dict[int, EnqueuedJob] = {}
        self._last = 0
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
            return list(self._jobs.values())

    def forget(self, job_ids: Sequence[int]) -> None:
        """Remove jobs that were rolled back. Their ids may be used again."""
        with self._lock:
            for job_id in job_ids:
                self._jobs.pop(job_id, None)
            self._last = min(self._last, min(job_ids) - 1)

    def entry(self, job_id: int) -> EnqueuedJob:
        """One of them."""
        if job_id not in self._jobs:
            self.read()
        return self._jobs[job_id]

    def _entry(self, job: Job) -> EnqueuedJob:
        args, kwargs = loads_call(job.arguments, parent_result=lambda: PARENT_RESULT)
        return EnqueuedJob(
            id=job.id,
            name=job.name,
            args=tuple(args),
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

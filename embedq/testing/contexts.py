"""Calling a job's function directly in a test, if it uses `current_job()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from embedq.job import JobId
from embedq.tasks.context import JobContext, enter_job, leave_job


class RecordedContext(JobContext):
    """A job that is only a context, and is stored nowhere.

    Attributes:
        logs: what the function logged, in order.
        reports: its reports of progress, as (fraction, note).
    """

    logs: list[str]
    reports: list[tuple[float, str | None]]


@contextmanager
def job_context(
    *,
    name: str = "test",
    attempt: int = 1,
    queue: str = "default",
    tags: Sequence[str] = (),
    meta: Mapping[str, Any] | None = None,
    parent_result: Any = None,
    cancelled: bool = False,
) -> Iterator[RecordedContext]:
    """Inside, `current_job()` is a job that is not stored: `with job_context() as job: resize(["a.png"])`.

    Args:
        cancelled: the job is requested to stop; `job.request_cancel()` does it later.
    """
    logs: list[str] = []
    reports: list[tuple[float, str | None]] = []
    context = RecordedContext(
        id=JobId(0),
        claim=1,
        attempt=attempt,
        name=name,
        queue=queue,
        tags=tuple(tags),
        meta=dict(meta or {}),
        save_log=lambda _, message: logs.append(message),
        save_progress=lambda _, fraction, note: reports.append((fraction, note)),
        load_parent=lambda _: parent_result,
        save_meta=lambda context, row, changed: None,
    )
    context.logs, context.reports = logs, reports
    if cancelled:
        context.request_cancel()
    token = enter_job(context)
    try:
        yield context
    finally:
        leave_job(token)

"""Two hooks: around the enqueue of a job, and around its run.

    def stamp(draft: Draft) -> Draft:                      # around enqueue: change the draft, or raise to refuse it
        draft.meta["request_id"] = request_id.get()
        return draft

    @contextmanager
    def app_context(job: JobContext) -> Iterator[None]:    # around execution: the job runs at the yield
        with flask_app.app_context():
            yield

    embedq.start(enqueue_middleware=[stamp], middleware=[app_context])

The first of a list is the outermost. An exception that a job raises passes through the context managers; one that a
context manager raises counts as the job's own. For an `async def` job they are entered on the event loop, so they must
not block; one that is also an asynchronous context manager is entered as such.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from embedq.tasks.context import JobContext


@dataclass(slots=True, kw_only=True)
class Draft:
    """A job about to be enqueued.

    Attributes:
        run_at: microseconds since the epoch.
        expires_at: it is cancelled if it has not started by then. For a continuation the time until its parent ends is
            added.
        timeout: seconds; None for the app's default, 0 for no limit.
        meta: JSON values for the job, which reads them as `current_job().meta`.
        schedule: the recurring job that this is an occurrence of.
        parent_id, trigger: its parent job, and the end of that which starts it.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    priority: int
    run_at: int
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    expires_at: int | None = None
    timeout: float | None = None
    schedule: str | None = None
    parent_id: int | None = None
    trigger: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)


class EnqueueMiddleware(Protocol):
    """Called in the enqueuing thread, before the arguments are stored."""

    def __call__(self, draft: Draft, /) -> Draft:
        """Return the draft to enqueue. An exception refuses the job and reaches the caller of enqueue."""


class Middleware(Protocol):
    """Called in the thread, or on the event loop, that runs the job."""

    def __call__(self, job: JobContext, /) -> AbstractContextManager[Any]:
        """Return a context manager in which the job runs."""

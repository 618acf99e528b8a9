"""The context of a running job: `embedq.current_job()`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import Context, ContextVar
from datetime import datetime
from typing import Any, Self, TypeVar, overload

from embedq.errors import NoJobError
from embedq.job import JobId

T = TypeVar("T")
_NO_DEFAULT: Any = object()

# The most bytes of a job's meta as JSON: the whole text is written each time that it changes.
MAX_META_BYTES = 65_536


class JobMeta(dict[str, Any]):
    """A job's meta. A value that is set is stored within about a second, and with the outcome at the latest.

    The job's handle shows it (`handle.meta`), and so does the job's next run. A change inside a value is not noticed:
    set the value again.
    """

    def __init__(self, values: Mapping[str, Any], save: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__(values)
        self._save = save

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value. TypeError or ValueError if JSON cannot hold it, or the meta exceeds `MAX_META_BYTES`."""
        if not isinstance(key, str):
            raise TypeError(f"meta[{key!r}]: the keys of a job's meta are strings")
        try:
            size = len(json.dumps({**self, key: value}, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"meta[{key!r}] must be a JSON value: {error}") from None
        if size > MAX_META_BYTES:
            raise ValueError(
                f"with meta[{key!r}] the job's meta takes {size:,} bytes, over the limit of {MAX_META_BYTES:,}; put "
                "large data in a file or a table, and its path or id here"
            )
        super().__setitem__(key, value)
        self._save(self)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._save(self)

    # These call the two methods above.
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    clear = MutableMapping.clear

    def __reduce__(self) -> Any:
        # In another process a plain dict, whose changes are not stored.
        return dict, (dict(self),)

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self


class JobContext:
    """The job that is running here. Safe to use from threads and tasks that the job itself started.

    Attributes:
        id: the job's id.
        claim: the fencing token of this run: it grows with each run, crashed ones included. Pass it to systems that
            must refuse writes of a run that lost its claim.
        attempt: 1 on the first run.
        name, queue, tags: as it was enqueued.
        scheduled_for: the time of the occurrence that a recurring job's run is for, aware, in UTC; the same on every
            attempt, however late it runs. For a run by hand, when that was requested. None for other jobs, and for
            those that an earlier version enqueued.
        meta: values that enqueue middleware, earlier runs and this one have set; JSON values by name. See
            `JobMeta`.
    """

    __slots__ = (
        "_cancelled", "_load_parent", "_meta", "_row", "_save_log", "_save_meta", "_save_progress", "attempt", "claim",
        "id", "interrupted", "name", "queue", "saw_stop", "scheduled_for", "stopping", "tags",
    )  # fmt: skip

    def __init__(
        self,
        *,
        id: JobId,
        claim: int,
        attempt: int,
        name: str,
        queue: str,
        tags: tuple[str, ...],
        meta: Mapping[str, Any],
        scheduled_for: datetime | None = None,
        save_log: Callable[[JobContext, str], None],
        save_progress: Callable[[JobContext, float, str | None], None],
        row: Any = None,
        load_parent: Callable[[Any], Any],
        save_meta: Callable[[JobContext, Any, Mapping[str, Any]], None],
    ) -> None:
        self.id = id
        self.claim = claim
        self.attempt = attempt
        self.name = name
        self.queue = queue
        self.tags = tags
        self.scheduled_for = scheduled_for
        self._meta = meta
        self.stopping = False
        # Set by the engine when it interrupts the run, for any reason.
        self.interrupted = False
        self.saw_stop = False
        self._cancelled = False
        # The engine's own word for the job, handed back to it.
        self._row = row
        self._save_log = save_log
        self._save_progress = save_progress
        self._load_parent = load_parent
        self._save_meta = save_meta

    @property
    def meta(self) -> JobMeta:
        """Values that are attached to the job: JSON values by name."""
        # Made when it is first read: most jobs never read it.
        if not isinstance(self._meta, JobMeta):
            self._meta = JobMeta(self._meta, lambda meta: self._save_meta(self, self._row, meta))
        return self._meta

    @property
    def cancelled(self) -> bool:
        """Whether this job was cancelled, or the process is stopping.

        A long job that checks it regularly can end cleanly; one that does not is interrupted a little later. A job that
        has read True here and returns counts as stopped: it is cancelled, or goes back to the queue.
        """
        if self._cancelled or self.stopping:
            self.saw_stop = True
            return True
        return False

    def request_cancel(self) -> None:
        """Called by the engine."""
        self._cancelled = True

    @property
    def cancel_requested(self) -> bool:
        """Whether this job itself was cancelled, rather than the process stopped."""
        return self._cancelled

    def log(self, message: str) -> None:
        """Store a log line with the job, within about a second, and with the outcome at the latest."""
        self._save_log(self, str(message))

    def progress(self, fraction: float, note: str | None = None) -> None:
        """Report how far the job is, from 0.0 to 1.0, and what it is doing. Only the latest report is kept.

        Raises:
            ValueError: the fraction is not between 0 and 1.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress({fraction!r}): the fraction goes from 0.0 to 1.0")
        self._save_progress(self, float(fraction), note)

    @property
    def parent_result(self) -> Any:
        """The result of the job that this one is a continuation of.

        Raises:
            EmbedqError: this job is not a continuation, or the parent has no result.
        """
        return self._load_parent(self._row)

    def __repr__(self) -> str:
        return f"<JobContext {self.id} {self.name} attempt {self.attempt}>"


_current: ContextVar[JobContext] = ContextVar("embedq_job")
enter_job = _current.set
leave_job = _current.reset


def job_in(context: Context) -> JobContext | None:
    """Return the job that code with these context variables belongs to."""
    return context.get(_current)


def job_here() -> JobContext | None:
    """Return the job that is running here, or None."""
    return _current.get(None)


@overload
def current_job() -> JobContext: ...
@overload
def current_job(default: T) -> JobContext | T: ...
def current_job(default: Any = _NO_DEFAULT) -> Any:
    """Return the job that is running here.

    Args:
        default: returned if none is, as in a plain call of the function; `current_job(None)`.
    Raises:
        NoJobError: no job is running here, and no default was given.
    """
    job = _current.get(None)
    if job is not None:
        return job
    if default is _NO_DEFAULT:
        raise NoJobError(
            "no job is running here; current_job() works inside a job's own function. If that may also be called "
            "directly, current_job(None) returns None; a test calls it in embedq.testing.job_context()"
        )
    return default

"""What a running job can know and say: `embedq.current_job()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from embedq.errors import EmbedqError
from embedq.job import JobId


class JobContext:
    """The job that is running here. Safe to use from threads and tasks that the job itself started.

    Attributes:
        id: the job's id.
        claim: the fencing token of this run: it grows with each, crashes included. Pass it on to whatever must refuse
            a run that was given up on.
        attempt: 1 on the first run.
        name, queue, tags: as it was enqueued.
        meta: what enqueue middleware attached; JSON values by name.
    """

    __slots__ = (
        "_cancelled", "_load_parent", "_save_log", "_save_progress", "attempt", "claim", "id",
        "meta", "name", "queue", "saw_stop",
        "stopping", "tags",
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
        save_log: Callable[[JobContext, str], None],
        save_progress: Callable[[JobContext, float, str | None], None],
        load_parent: Callable[[JobContext], Any],
    ) -> None:
        self.id = id
        self.claim = claim
        self.attempt = attempt
        self.name = name
        self.queue = queue
        self.tags = tags
        self.meta = meta
        self.stopping = False
        self.saw_stop = False
        self._cancelled = False
        self._save_log = save_log
        self._save_progress = save_progress
        self._load_parent = load_parent

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants this job to stop, or the process is stopping.

        A long job that looks now and then can end in good order; one that does not is interrupted a little later. A
        job that has seen True here and returns counts as stopped: it is cancelled, or goes back to the queue.
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
        """Whether somebody asked for this job itself to be cancelled, rather than the process to stop."""
        return self._cancelled

    def log(self, message: str) -> None:
        """Keep a line with the job. Stored within about a second, and with the outcome at the latest."""
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
        """What the job returned that this one continues.

        Raises:
            EmbedqError: this job continues none, or the parent left no result.
        """
        return self._load_parent(self)

    def __repr__(self) -> str:
        return f"<JobContext {self.id} {self.name} attempt {self.attempt}>"


_current: ContextVar[JobContext] = ContextVar("embedq_job")
enter_job = _current.set
leave_job = _current.reset


def job_here() -> JobContext | None:
    """The job that is running here, if one is."""
    return _current.get(None)


def current_job() -> JobContext:
    """The job that is running here.

    Raises:
        EmbedqError: no job is running here.
    """
    try:
        return _current.get()
    except LookupError:
        raise EmbedqError("no job is running here; current_job() works inside a job's own function") from None

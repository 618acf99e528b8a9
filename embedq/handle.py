"""A handle on one stored job: what `enqueue` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from embedq.job import Attempt, Job, JobId, JobState, LogLine


class JobOwner(Protocol):
    """What a handle needs of an app."""

    def job_snapshot(self, job_id: JobId) -> Job: ...
    def job_state(self, job_id: JobId) -> JobState: ...
    def job_attempts(self, job_id: JobId) -> list[Attempt]: ...
    def job_logs(self, job_id: JobId) -> list[LogLine]: ...
    def wait_for(self, job_id: JobId, timeout: float | None) -> JobState: ...
    def result_of(self, job_id: JobId, timeout: float | None) -> Any: ...
    async def aresult_of(self, job_id: JobId, timeout: float | None) -> Any: ...
    def cancel_job(self, job_id: JobId) -> JobState: ...
    def retry_job(self, job_id: JobId) -> None: ...
    def continue_job(
        self, job_id: JobId, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle: ...


class JobHandle:
    """One job, wherever it runs. It holds an id; everything else is read when asked for.

    Attributes:
        id: the job's id.
        created: False when an idempotency key led to a job that was there already.
    """

    __slots__ = ("_owner", "created", "id")

    def __init__(self, owner: JobOwner, job_id: JobId, *, created: bool = True) -> None:
        self._owner = owner
        self.id = job_id
        self.created = created

    @property
    def state(self) -> JobState:
        """Where the job is now. Raises JobNotFoundError once it has been pruned."""
        return self._owner.job_state(self.id)

    def snapshot(self) -> Job:
        """Everything that is stored of the job."""
        return self._owner.job_snapshot(self.id)

    def attempts(self) -> list[Attempt]:
        """Its finished runs, oldest first, with their tracebacks."""
        return self._owner.job_attempts(self.id)

    def logs(self) -> list[LogLine]:
        """What it wrote with `current_job().log(...)`."""
        return self._owner.job_logs(self.id)

    def wait(self, timeout: float | None = None) -> JobState:
        """Wait until it has ended, and return how.

        Args:
            timeout: seconds; None waits for as long as it takes.
        Raises:
            WaitTimeoutError: it had not ended by then.
            JobNotFoundError: it is not there.
        """
        return self._owner.wait_for(self.id, timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until it has ended, and return what it returned.

        Raises:
            JobDeadError: it failed for good; the message has the error, `.traceback` the traceback.
            JobCancelledError: it was cancelled.
            ResultUnavailableError: what it returned could not be stored.
            WaitTimeoutError, JobNotFoundError: as for `wait`.
        """
        return self._owner.result_of(self.id, timeout)

    async def aresult(self, timeout: float | None = None) -> Any:
        """`result` without blocking the event loop."""
        return await self._owner.aresult_of(self.id, timeout)

    def cancel(self) -> JobState:
        """Cancel it, and return the state it is in now.

        A waiting job is cancelled at once. A running one is asked to stop (`current_job().cancelled`), and interrupted
        a second later; it stays `running` until it has yielded. An ended one stays as it is.
        """
        return self._owner.cancel_job(self.id)

    def retry(self) -> None:
        """Run it now: a dead or cancelled job again, a delayed one early. JobStateError where that makes no sense."""
        self._owner.retry_job(self.id)

    def then(self, function: Callable[..., Any], /, *args: Any, on: str = "success", **kwargs: Any) -> JobHandle:
        """Enqueue a continuation: a job that starts when this one has ended, or at once if it has.

        Args:
            function: a function, a task, or `task.options(...)`. `embedq.PARENT_RESULT` among its arguments stands for
                what this job returned.
            on: "success", "failure" (this job is dead) or "finished" (any end). A continuation whose time can no longer
                come is cancelled.
        """
        return self._owner.continue_job(self.id, function, args, kwargs, on)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and (self.id, self._owner) == (other.id, other._owner)

    def __hash__(self) -> int:
        return hash((JobHandle, self.id))

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

"""A handle on one stored job: what `enqueue` returns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from embedq.job import Attempt, Job, JobId, JobState, LogLine
from embedq.tasks.arguments import own_keywords

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    # What the job returns. With a default, so that a plain `JobHandle` is a `JobHandle[Any]`.
    T_co = TypeVarWithDefault("T_co", covariant=True, default=Any)
else:
    T_co = TypeVar("T_co", covariant=True)

P = ParamSpec("P")
R = TypeVar("R")


class JobOwner(Protocol):
    """The part of an app that handles read and act through."""

    def job_snapshot(self, job_id: JobId) -> Job: ...
    def job_state(self, job_id: JobId) -> JobState: ...
    def job_attempts(self, job_id: JobId) -> list[Attempt]: ...
    def job_logs(self, job_id: JobId) -> list[LogLine]: ...
    def job_meta(self, job_id: JobId) -> dict[str, Any]: ...
    def wait_for(self, job_id: JobId, timeout: float | timedelta | None) -> JobState: ...
    def result_of(self, job_id: JobId, timeout: float | timedelta | None) -> Any: ...
    async def aresult_of(self, job_id: JobId, timeout: float | timedelta | None) -> Any: ...
    async def away(self, function: Callable[[], R]) -> R: ...
    def cancel_job(self, job_id: JobId) -> JobState: ...
    def retry_job(self, job_id: JobId) -> None: ...
    def reschedule_job(
        self, job_id: JobId, when: datetime | timedelta | float | None, queue: str | None, priority: int | None
    ) -> JobState: ...
    def continue_job(
        self, job_id: JobId, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle[Any]: ...


class JobHandle(Generic[T_co]):
    """One job, wherever it runs. A handle holds an id; everything else is read from the database when requested.

    `JobHandle[str]` is a handle on a job that returns a `str`.

    Attributes:
        id: the job's id.
        created: False when a unique or an idempotency key led to a job that existed already.
    """

    __slots__ = ("_owner", "created", "id")

    def __init__(self, owner: JobOwner, job_id: JobId, *, created: bool = True) -> None:
        self._owner = owner
        self.id = job_id
        self.created = created

    @property
    def state(self) -> JobState:
        """The job's current state. Raises JobNotFoundError once it has been pruned."""
        return self._owner.job_state(self.id)

    def snapshot(self) -> Job:
        """Return everything that is stored about the job."""
        return self._owner.job_snapshot(self.id)

    def attempts(self) -> list[Attempt]:
        """Return its finished runs, oldest first, with their tracebacks."""
        return self._owner.job_attempts(self.id)

    def logs(self) -> list[LogLine]:
        """Return the lines that it wrote with `current_job().log(...)`."""
        return self._owner.job_logs(self.id)

    @property
    def meta(self) -> dict[str, Any]:
        """JSON values by name that enqueue middleware and the job itself have put in `current_job().meta`."""
        return self._owner.job_meta(self.id)

    def wait(self, timeout: float | timedelta | None = None) -> JobState:
        """Wait until it has ended, and return its final state.

        Args:
            timeout: seconds, or a timedelta; None waits for as long as it takes.
        Raises:
            WaitTimeoutError: it had not ended by then.
            JobNotFoundError: there is no such job.
            StorageError: the database cannot be reached when the wait begins. A later outage does not end the wait.
        """
        return self._owner.wait_for(self.id, timeout)

    def result(self, timeout: float | timedelta | None = None) -> T_co:
        """Wait until it has ended, and return what it returned.

        Raises:
            JobDeadError: it failed for good; the message contains the error, `.traceback` the traceback.
            JobCancelledError: it was cancelled.
            ResultUnavailableError: what it returned could not be stored.
            WaitTimeoutError, JobNotFoundError, StorageError: as for `wait`.
        """
        result: T_co = self._owner.result_of(self.id, timeout)
        return result

    async def aresult(self, timeout: float | timedelta | None = None) -> T_co:
        """`result` without blocking the event loop."""
        result: T_co = await self._owner.aresult_of(self.id, timeout)
        return result

    def cancel(self) -> JobState:
        """Cancel it, and return its state after that.

        A waiting job is cancelled at once. A running job is requested to stop (`current_job().cancelled`), and is
        interrupted a second later; it stays `running` until it has stopped. A job that has ended stays as it is.
        """
        return self._owner.cancel_job(self.id)

    async def acancel(self) -> JobState:
        """`cancel` without blocking the event loop."""
        return await self._owner.away(self.cancel)

    async def astate(self) -> JobState:
        """`state` without blocking the event loop."""
        return await self._owner.away(lambda: self.state)

    async def asnapshot(self) -> Job:
        """`snapshot` without blocking the event loop."""
        return await self._owner.away(self.snapshot)

    async def aretry(self) -> None:
        """`retry` without blocking the event loop."""
        await self._owner.away(self.retry)

    def retry(self) -> None:
        """Run it now: a dead or cancelled job again, a delayed one early. JobStateError in any other state."""
        self._owner.retry_job(self.id)

    def reschedule(
        self,
        when: datetime | timedelta | float | None = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
    ) -> JobState:
        """Give it another time, queue or priority while it waits; return its state. Its attempts stay as they are.

        Args:
            when: an aware datetime, or a timedelta or seconds from now; a moment in the past means now. A job that
                waits for its parent starts no earlier.
            queue, priority: None keeps what it has.
        Raises:
            JobStateError: it is running or has ended, or it is parked and is given a time.
        """
        return self._owner.reschedule_job(self.id, when, queue, priority)

    async def areschedule(
        self,
        when: datetime | timedelta | float | None = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
    ) -> JobState:
        """`reschedule` without blocking the event loop."""
        return await self._owner.away(lambda: self.reschedule(when, queue=queue, priority=priority))

    # With `on`, arguments cannot be checked: no type has keywords of its own beside those of a ParamSpec.
    # `then(embedq.call(function, 1), on="failure")` is checked.
    @overload
    def then(
        self, function: Callable[..., Coroutine[Any, Any, R]], /, *args: Any, on: str, **kwargs: Any
    ) -> JobHandle[R]: ...
    @overload
    def then(self, function: Callable[..., R], /, *args: Any, on: str, **kwargs: Any) -> JobHandle[R]: ...
    @overload
    def then(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> JobHandle[R]: ...
    @overload
    def then(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]: ...
    def then(self, function: Callable[..., Any], /, *args: Any, on: Any = "success", **kwargs: Any) -> JobHandle[Any]:
        """Enqueue a continuation: a job that starts when this one has ended, or at once if it has.

        Args:
            function: a function, a task, `task.options(...)`, or an `embedq.call`. `embedq.PARENT_RESULT` among its
                arguments stands for what this job returned.
            on: "success", "failure" (this job is dead) or "finished" (any end). A continuation whose condition can no
                longer be met is cancelled; one on a failure is deleted when this job has succeeded (JobNotFoundError).
        """
        with own_keywords("then", function, "on"):
            return self._continue(function, args, kwargs, on)

    def _continue(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle[Any]:
        return self._owner.continue_job(self.id, function, args, kwargs, on)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and (self.id, self._owner) == (other.id, other._owner)

    def __hash__(self) -> int:
        return hash((JobHandle, self.id))

    def __repr__(self) -> str:
        return f"<JobHandle {self.id}>"

"""What can be asked of stored jobs: their state and result, to be cancelled or retried, one or all that match."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack

from embedq.engine import Engine
from embedq.errors import (
    ConfigurationError,
    JobCancelledError,
    JobDeadError,
    JobNotFoundError,
    ResultUnavailableError,
    WaitTimeoutError,
)
from embedq.handle import JobHandle
from embedq.job import ENDED, Attempt, Job, JobId, JobState, LogLine, Trigger
from embedq.serializers import loads_value
from embedq.storage import inspect, jobs

# How often a waiter looks for itself, when the job runs in another process.
WAIT_POLL_SECONDS = 0.03
# retry_all and cancel_all take this many jobs at a time.
PAGE = 500
# The order in which jobs move, so that one that moves while cancel_all is at work is met further on.
CANCEL_ORDER = (
    JobState.AWAITING, JobState.SCHEDULED, JobState.RETRYING, JobState.PARKED, JobState.READY, JobState.RUNNING,
)  # fmt: skip

Continue = Callable[[JobId, Callable[..., Any], tuple[Any, ...], dict[str, Any], Trigger], JobHandle]
Progress = Callable[[int], None]


class Filters(TypedDict, total=False):
    """Which jobs; all that is given must match.

    Attributes:
        error: a part of the last error's text.
        argument: a part of the stored arguments' JSON text.
        parent: the id of the job that they continue.
        created_from, created_to, finished_from, finished_to: aware; from this moment on, and before that one.
    """

    queue: str | None
    name: str | None
    tag: str | None
    schedule: str | None
    error: str | None
    argument: str | None
    parent: int | None
    created_from: datetime | None
    created_to: datetime | None
    finished_from: datetime | None
    finished_to: datetime | None


class JobControl:
    """Answers for the stored jobs of one app; the owner of its handles.

    Args:
        enqueue_continuation: enqueues a function that continues a job.
    """

    def __init__(self, engine: Engine, enqueue_continuation: Continue) -> None:
        self._engine = engine
        self._enqueue_continuation = enqueue_continuation

    def handle(self, job_id: int, *, created: bool = True) -> JobHandle:
        """A handle on the job of that id, without looking whether there is one."""
        return JobHandle(self, JobId(job_id), created=created)

    # -- one job -------------------------------------------------------------------------------------------------------

    def job_snapshot(self, job_id: JobId) -> Job:
        return self._engine.database.read(inspect.job, job_id)

    def job_state(self, job_id: JobId) -> JobState:
        return self._outcome(job_id)[0]

    def job_attempts(self, job_id: JobId) -> list[Attempt]:
        return self._engine.database.read(inspect.attempts, job_id)

    def job_logs(self, job_id: JobId) -> list[LogLine]:
        return self._engine.database.read(inspect.logs, job_id)

    def _outcome(self, job_id: JobId) -> tuple[JobState, str | None, str | None]:
        found = self._engine.database.read(inspect.outcome, job_id)
        if found is None:
            raise JobNotFoundError(
                f"no job {job_id}; it may have been pruned after its retention time, or be part of a transaction that "
                "was not committed"
            )
        return found

    def wait_for(self, job_id: JobId, timeout: float | None) -> JobState:
        deadline = None if timeout is None else time.monotonic() + timeout
        runtime = self._engine.runtime
        wake = None if runtime is None else runtime.waiters.add(job_id)
        try:
            while True:
                state = self.job_state(job_id)
                if state in ENDED:
                    return state
                left = WAIT_POLL_SECONDS if deadline is None else min(WAIT_POLL_SECONDS, deadline - time.monotonic())
                if left <= 0:
                    raise WaitTimeoutError(f"job {job_id} is still {state.value} after {timeout:g} s")
                if wake is not None:
                    wake.sleep(left)
                else:
                    time.sleep(left)
        finally:
            if runtime is not None and wake is not None:
                runtime.waiters.remove(job_id, wake)

    def result_of(self, job_id: JobId, timeout: float | None) -> Any:
        self.wait_for(job_id, timeout)
        state, result, error = self._outcome(job_id)
        if state is JobState.DEAD:
            raise JobDeadError(
                f"job {job_id} failed for good: {error}",
                traceback=self._engine.database.read(inspect.last_traceback, job_id),
            )
        if state is JobState.CANCELLED:
            raise JobCancelledError(f"job {job_id} was cancelled: {error}")
        if result is None and error is not None:
            raise ResultUnavailableError(f"job {job_id} succeeded, but {error}")
        return None if result is None else loads_value(result)

    async def aresult_of(self, job_id: JobId, timeout: float | None) -> Any:
        import asyncio

        deadline = None if timeout is None else time.monotonic() + timeout
        while (state := await self._engine.offload.run(self.job_state, job_id)) not in ENDED:
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(f"job {job_id} is still {state.value} after {timeout:g} s")
            await asyncio.sleep(WAIT_POLL_SECONDS)
        return await self._engine.offload.run(self.result_of, job_id, None)

    def cancel_job(self, job_id: JobId) -> JobState:
        engine = self._engine
        state = engine.database.write(jobs.cancel, job_id, now=engine.clock.now(), retention=engine.settings.retention)
        self.tell([job_id])
        return state

    def retry_job(self, job_id: JobId) -> None:
        self._engine.database.write(jobs.retry, job_id, now=self._engine.clock.now())
        self._engine.notify(0)

    def continue_job(
        self, job_id: JobId, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle:
        try:
            trigger = Trigger(on)
        except ValueError:
            raise ConfigurationError(f'on={on!r} must be "success", "failure" or "finished"') from None
        return self._enqueue_continuation(job_id, function, args, kwargs, trigger)

    # -- all that match ------------------------------------------------------------------------------------------------

    def find(
        self, state: JobState | str | None, *, before: int | None, limit: int, **filters: Unpack[Filters]
    ) -> list[Job]:
        """Matching jobs, newest first; see `EmbedQ.jobs`."""
        return self._engine.database.read(inspect.jobs, state=as_state(state), before=before, limit=limit, **filters)

    def count(self, state: JobState | str | None, *, cap: int, **filters: Unpack[Filters]) -> int:
        """How many jobs match, up to `cap`."""
        return self._engine.database.read(inspect.count_jobs, state=as_state(state), cap=cap, **filters)

    def retry_all(self, state: JobState | str, progress: Progress | None, **filters: Unpack[Filters]) -> int:
        """See `EmbedQ.retry_all`."""

        def retry(job_ids: Sequence[JobId]) -> int:
            return self._engine.database.write(jobs.retry_many, job_ids, now=self._engine.clock.now())

        return self._page_by_page(retry, [state], progress, filters)

    def cancel_all(self, state: JobState | str | None, progress: Progress | None, **filters: Unpack[Filters]) -> int:
        """See `EmbedQ.cancel_all`."""
        engine = self._engine

        def cancel(job_ids: Sequence[JobId]) -> int:
            return engine.database.write(
                jobs.cancel_many, job_ids, now=engine.clock.now(), retention=engine.settings.retention
            )

        return self._page_by_page(cancel, CANCEL_ORDER if state is None else [state], progress, filters)

    def _page_by_page(
        self,
        act: Callable[[Sequence[JobId]], int],
        states: Iterable[JobState | str],
        progress: Progress | None,
        filters: Filters,
    ) -> int:
        """Do something to all that match, in transactions short enough for everybody else."""
        done = 0
        for state in states:
            before = None
            while page := self.find(state, before=before, limit=PAGE, **filters):
                job_ids = [job.id for job in page]
                done += act(job_ids)
                before = job_ids[-1]
                self.tell(job_ids)
                if progress is not None:
                    progress(len(page))
        return done

    def tell(self, job_ids: Sequence[int]) -> None:
        """These jobs may have ended, or be ready: let those who wait for them look."""
        runtime = self._engine.runtime
        if runtime is not None:
            runtime.waiters.ended(job_ids)
            runtime.dispatcher.notify(0)


def as_state(state: JobState | str | None) -> JobState | None:
    """The state of that name; None for None. ConfigurationError if there is none."""
    try:
        return None if state is None else JobState(state)
    except ValueError:
        raise ConfigurationError(f"state={state!r} must be one of: {', '.join(JobState)}") from None

"""Reads, cancels, retries and reschedules stored jobs: one, or all that match a filter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack

from embedq.clock import later, patience, to_micros
from embedq.config import check_limit, refuse_unknown
from embedq.engine.job_builder import check_text
from embedq.engine.lifecycle import Engine
from embedq.errors import (
    ConfigurationError,
    JobCancelledError,
    JobDeadError,
    JobNotFoundError,
    ResultUnavailableError,
    StorageError,
    WaitTimeoutError,
)
from embedq.job import ENDED, Attempt, Job, JobId, JobState, LogLine, Trigger
from embedq.process.own_threads import refuse_to_wait
from embedq.serializers import loads_value
from embedq.storage import inspect, jobs, rescheduling, search_batches
from embedq.storage.inspect.details import StoredOutcome
from embedq.storage.inspect.filters import Search
from embedq.tasks.handle import JobHandle
from embedq.tasks.options import Options, meta_of

# How long a waiting thread sleeps at a time: no interrupt reaches it while it sleeps.
WAIT_SLICE_SECONDS = 0.1
# How long a coroutine waits for the first read of its job, if its timeout is shorter.
FIRST_LOOK_SECONDS = 1.0
# retry_all and cancel_all take this many jobs at a time.
PAGE = 500
# The states that can be cancelled, in the order in which jobs move through them.
UNENDED = tuple(state for state in search_batches.ORDER if state not in ENDED)

T = TypeVar("T")
Continue = Callable[[JobId, Callable[..., Any], tuple[Any, ...], dict[str, Any], Trigger], JobHandle[Any]]
Progress = Callable[[int], None]


class JobFilters(TypedDict, total=False):
    """Filters of jobs; all that are given must match.

    Attributes:
        error: a part of the last error's text.
        argument: a part of the stored arguments' JSON text.
        parent: the id of the job that they are continuations of.
        created_from, created_to, finished_from, finished_to: aware; from the first moment on, and before the second.
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


class StoredJobs:
    """The stored jobs of one app: reads, cancels and retries them. Its job handles act through it.

    Args:
        enqueue_continuation: enqueues a continuation of a job.
    """

    def __init__(self, engine: Engine, enqueue_continuation: Continue) -> None:
        self._engine = engine
        self._enqueue_continuation = enqueue_continuation

    def handle(self, job_id: int, *, created: bool = True) -> JobHandle[Any]:
        """Return a handle on the job of that id, without checking that there is one."""
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

    def job_meta(self, job_id: JobId) -> dict[str, Any]:
        return meta_of(self._engine.database.read(inspect.options, job_id))

    def _outcome(self, job_id: JobId) -> tuple[JobState, str | None, str | None]:
        found = self._engine.database.read(inspect.outcome, job_id)
        if found is None:
            raise _not_found(job_id)
        return found

    def wait_for(self, job_id: JobId, timeout: float | timedelta | None) -> JobState:
        return self._ended(job_id, patience(timeout))[0]

    def _ended(self, job_id: JobId, timeout: float | None) -> tuple[JobState, str | None, str | None]:
        """Wait until a job has ended; return its state, result and error."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._engine.waiting.thread(job_id, deadline) as wait:
            while True:
                try:
                    found = self._outcome(job_id)
                    if found[0] in ENDED:
                        return found
                    refuse_to_wait()
                    wait.seen(found[0].value)
                except StorageError:
                    # An outage is an error for a wait that begins in it, and for no other.
                    if wait.state is None:
                        raise
                called = False
                while not called:
                    left = WAIT_SLICE_SECONDS if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        raise _still(job_id, wait.state, timeout)
                    called = wait.wake.sleep(min(left, WAIT_SLICE_SECONDS)) or wait.alone

    def result_of(self, job_id: JobId, timeout: float | timedelta | None) -> Any:
        state, result, error = self._ended(job_id, patience(timeout))
        traceback = self._engine.database.read(inspect.last_traceback, job_id) if state is JobState.DEAD else None
        return _value(job_id, StoredOutcome(state.value, result, error, traceback))

    async def aresult_of(self, job_id: JobId, timeout: float | timedelta | None) -> Any:
        import asyncio

        timeout = patience(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        loop = asyncio.get_running_loop()
        with self._engine.waiting.coroutine(job_id, deadline, loop, partial(_value, job_id)) as wait:
            # A result that is stored already is returned, however short the timeout.
            first = None if timeout is None else max(timeout, FIRST_LOOK_SECONDS)
            await asyncio.wait([wait.was_read], timeout=first)
            if not wait.result.done():
                left = None if deadline is None else deadline - time.monotonic()
                if left is None or left > 0:
                    await asyncio.wait([wait.result], timeout=left)
            if not wait.result.done():
                raise _still(job_id, wait.state, timeout)
            return wait.result.result()

    async def away(self, function: Callable[[], T]) -> T:
        """Call a function that waits for the database without blocking the event loop."""
        return await self._engine.offload.run(function)

    def cancel_job(self, job_id: JobId) -> JobState:
        engine = self._engine
        state = engine.database.write(jobs.cancel, job_id, now=engine.clock.now(), retention=engine.settings.retention)
        self.notify([job_id])
        return state

    def retry_job(self, job_id: JobId) -> None:
        self._engine.database.write(jobs.retry, job_id, now=self._engine.clock.now())
        self._engine.notify(0)

    def reschedule_job(
        self, job_id: JobId, when: datetime | timedelta | float | None, queue: str | None, priority: int | None
    ) -> JobState:
        if when is None and queue is None and priority is None:
            raise ConfigurationError("reschedule requires a time, a queue or a priority")
        # Applies the checks of an enqueue.
        Options.parse(queue=queue, priority=priority)
        check_text("queue", queue)
        engine = self._engine
        now = engine.clock.now()
        run_at = None if when is None else to_micros(when) if isinstance(when, datetime) else later(now, when)
        state: JobState = engine.database.write(
            rescheduling.reschedule, job_id, run_at=run_at, queue=queue, priority=priority, now=now
        )
        engine.notify(0)
        return state

    def continue_job(
        self, job_id: JobId, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], on: str
    ) -> JobHandle[Any]:
        try:
            trigger = Trigger(on)
        except ValueError:
            raise ConfigurationError(f'on={on!r} must be "success", "failure" or "finished"') from None
        return self._enqueue_continuation(job_id, function, args, kwargs, trigger)

    # -- all that match ------------------------------------------------------------------------------------------------

    def find(
        self, state: JobState | str | None, *, before: int | None, limit: int, **filters: Unpack[JobFilters]
    ) -> list[Job]:
        """Return matching jobs, newest first; see `EmbedQ.jobs`."""
        refuse_unknown("filter", filters, JobFilters.__annotations__)
        limit = check_limit("jobs", limit)
        return self._engine.database.read(inspect.jobs, state=as_state(state), before=before, limit=limit, **filters)

    def count(self, state: JobState | str | None, *, cap: int, **filters: Unpack[JobFilters]) -> int:
        """Return how many jobs match, up to `cap`."""
        refuse_unknown("filter", filters, JobFilters.__annotations__)
        return self._engine.database.read(inspect.count_jobs, state=as_state(state), cap=cap, **filters)

    def retry_all(self, state: JobState | str, progress: Progress | None, **filters: Unpack[JobFilters]) -> int:
        """See `EmbedQ.retry_all`."""

        def retry(job_ids: Sequence[int]) -> int:
            return self._engine.database.write(jobs.retry_many, job_ids, now=self._engine.clock.now())

        return self._page_by_page(retry, [state], progress, filters)

    def cancel_all(self, state: JobState | str | None, progress: Progress | None, **filters: Unpack[JobFilters]) -> int:
        """See `EmbedQ.cancel_all`."""
        engine = self._engine

        def cancel(job_ids: Sequence[int]) -> int:
            return engine.database.write(
                jobs.cancel_many, job_ids, now=engine.clock.now(), retention=engine.settings.retention
            )

        return self._page_by_page(cancel, UNENDED if state is None else [state], progress, filters)

    def _page_by_page(
        self,
        act: Callable[[Sequence[int]], int],
        states: Iterable[JobState | str],
        progress: Progress | None,
        filters: JobFilters,
    ) -> int:
        """Act on all jobs that match, in transactions short enough not to delay other writers."""
        refuse_unknown("filter", filters, JobFilters.__annotations__)
        given: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        search = Search(states=tuple(state for state in map(as_state, states) if state is not None), **given)
        done = 0
        cursor: search_batches.BatchCursor | None = search_batches.BatchCursor()
        while cursor is not None:
            job_ids, cursor = self._engine.database.read(search_batches.next_batch, search, cursor, limit=PAGE)
            if job_ids:
                done += act(job_ids)
                self.notify(job_ids)
                if progress is not None:
                    progress(len(job_ids))
        return done

    def notify(self, job_ids: Sequence[int]) -> None:
        """Wake the threads that wait for these jobs, which may have ended, and the dispatcher, as they may be ready."""
        self._engine.waiting.ended(job_ids)
        self._engine.notify(0)


def _not_found(job_id: JobId) -> JobNotFoundError:
    return JobNotFoundError(
        f"no job {job_id}; it may have been pruned after its retention time, be part of a transaction that was not "
        "committed, or was a continuation on a failure that did not happen"
    )


def _still(job_id: JobId, state: str | None, timeout: float | None) -> WaitTimeoutError:
    if state is None:
        return WaitTimeoutError(f"the state of job {job_id} could not be read within {timeout:g} s")
    return WaitTimeoutError(f"job {job_id} is still {state} after {timeout:g} s")


def _value(job_id: JobId, outcome: StoredOutcome | None) -> Any:
    """Return what an ended job returned. Raises as `JobHandle.result` does."""
    if outcome is None:
        raise _not_found(job_id)
    state, result, error, traceback = outcome
    if state == JobState.DEAD:
        raise JobDeadError(f"job {job_id} failed for good: {error}", traceback=traceback)
    if state == JobState.CANCELLED:
        raise JobCancelledError(f"job {job_id} was cancelled: {error}")
    if result is None and error is not None:
        raise ResultUnavailableError(f"job {job_id} succeeded, but {error}")
    return None if result is None else loads_value(result)


def as_state(state: JobState | str | None) -> JobState | None:
    """Return the state of that name; None for None. ConfigurationError if there is none."""
    try:
        return None if state is None else JobState(state)
    except ValueError:
        raise ConfigurationError(f"state={state!r} must be one of: {', '.join(JobState)}") from None

"""Running one job: resolve the call, run it in its context, and classify how it went.

    prepare     resolve the function and its arguments; may find that it cannot run here (parked) or ever (dead)
    watch       set its deadline
    run         the function, in its context, inside the middleware (`event_loop.py` has the async twin)
    classify    what was returned or raised, as an Outcome

Nothing here touches the database, and nothing here raises: every way a job can end is an `Outcome`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from embedq.clock import SECOND, Clock
from embedq.config import Settings
from embedq.context import JobContext, enter_job, leave_job
from embedq.errors import (
    JobCancelled,
    JobInterrupt,
    JobStopped,
    JobTimeout,
    ParkError,
    PayloadTooLargeError,
    UnstorableArgumentError,
)
from embedq.interrupts import Interruptible
from embedq.job import Ending, JobId, JobState
from embedq.middleware import Middleware
from embedq.options import StoredOptions
from embedq.retry import Retry, decide
from embedq.serializers import dumps_value, loads_call
from embedq.storage.rows import ClaimedJob, Outcome, storable
from embedq.worker.cpu import ThreadCpu
from embedq.worker.resolving import Resolved, Resolves
from embedq.worker.runs import Interrupter, Run, Watchdog
from embedq.worker.wording import headline, traceback_text

logger = logging.getLogger("embedq")

MISSING: Any = object()
DEFAULT_RETRY = Retry()


class PreparedCall:
    """A claimed job with everything that is needed to run it."""

    __slots__ = ("args", "context", "job", "kwargs", "options", "resolved")

    def __init__(
        self,
        job: ClaimedJob,
        resolved: Resolved,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: StoredOptions,
        context: JobContext,
    ) -> None:
        self.job = job
        self.resolved = resolved
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.context = context


class Execution:
    """Runs jobs.

    Args:
        server_id: gives this process's number.
        save_log, save_progress, load_parent: what the job's context calls.
        on_overdue: called by the watchdog with a run that does not yield.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        resolver: Resolves,
        middleware: Sequence[Middleware],
        watchdog: Watchdog,
        server_id: Callable[[], int],
        save_log: Callable[[JobContext, str], None],
        save_progress: Callable[[JobContext, float, str | None], None],
        load_parent: Callable[[int], Any],
        on_overdue: Callable[[Run], None],
    ) -> None:
        self._settings = settings
        self.clock = clock
        self._resolver = resolver
        self.middleware = tuple(middleware)
        self.watchdog = watchdog
        self.server_id = server_id
        self._save_log = save_log
        self._save_progress = save_progress
        self._load_parent = load_parent
        self._on_overdue = on_overdue

    # -- on a thread -----------------------------------------------------------------------------------------------

    def run(self, job: ClaimedJob, interruptible: Interruptible, cpu: ThreadCpu | None = None) -> Outcome:
        """Run a job in this thread; with `cpu`, its processor time is told."""
        started = self.clock.now()
        call = self.prepare(job, started)
        if isinstance(call, Outcome):
            return call
        run = self.watch(call, interruptible.next_run())
        try:
            result, error = self._guarded(call, interruptible)
        except JobInterrupt as second:
            # It is sent once more to who seems not to yield, and came while the first was being dealt with.
            interruptible.disarm_for_good()
            result, error = MISSING, second
        finally:
            self.watchdog.remove(run)
        outcome = self.classify(call, run, started, result, error)
        if cpu is not None:
            outcome.cpu_us = cpu.of_run(started, outcome.finished_at)
        return outcome

    def _guarded(self, call: PreparedCall, interruptible: Interruptible) -> tuple[Any, BaseException | None]:
        """Call the function where it may be interrupted; what it returned counts even if that came just then."""
        result: Any = MISSING
        error: BaseException | None = None
        try:
            try:
                interruptible.arm()
                result = self._call(call)
            except BaseException as raised:
                error = raised
            interruptible.disarm()
        except JobInterrupt as late:
            interruptible.disarm_for_good()
            error = error or late
        return result, None if result is not MISSING else error

    def _call(self, call: PreparedCall) -> Any:
        token = enter_job(call.context)
        try:
            if not self.middleware:
                return self._invoke(call)
            with ExitStack() as stack:
                for middleware in self.middleware:
                    stack.enter_context(middleware(call.context))
                return self._invoke(call)
        finally:
            leave_job(token)

    def _invoke(self, call: PreparedCall) -> Any:
        result = call.resolved.function(*call.args, **call.kwargs)
        if call.resolved.is_async:
            # It became a coroutine function after it was enqueued; it still runs.
            import asyncio

            return asyncio.run(result)
        return result

    # -- before ----------------------------------------------------------------------------------------------------

    def prepare(self, job: ClaimedJob, started: int) -> PreparedCall | Outcome:
        """What to call, or why it cannot be called."""
        policy = DEFAULT_RETRY
        try:
            resolved = self._resolver.resolve(job)
            options = StoredOptions.read(job.options)
            # Before the arguments, which may fail for want of the parent's result: then the job's own policy holds.
            policy = options.retry or resolved.defaults.retry or policy
            args, kwargs = loads_call(job.payload, parent_result=lambda: self.parent_result(job))
            context = self.context(job, options)
        except BaseException as error:
            return self.unprepared(job, started, error, policy)
        return PreparedCall(job, resolved, args, kwargs, options, context)

    def unprepared(self, job: ClaimedJob, started: int, error: BaseException, policy: Retry) -> Outcome:
        """The outcome of a job that cannot be called: it cannot run here, or cannot be read."""
        if isinstance(error, ParkError):
            logger.warning("job %s (%s) is parked: %s", job.id, job.name, error)
            return self._outcome(
                job, JobState.PARKED, Ending.PARKED, started, error=str(error), needs=error.needs, gives_back=1
            )
        logger.error("job %s (%s) cannot be read", job.id, job.name, exc_info=error)
        return self._failed(job, started, error, Ending.FAILED, policy)

    def context(
        self, job: ClaimedJob, options: StoredOptions, make: Callable[..., JobContext] = JobContext
    ) -> JobContext:
        """What the job may know and say. ValueError if its row was damaged."""
        return make(
            id=JobId(job.id),
            claim=job.claim,
            attempt=job.attempt,
            name=job.name,
            queue=job.queue,
            tags=tuple(json.loads(job.tags)) if job.tags else (),
            meta=options.meta,
            save_log=self._save_log,
            save_progress=self._save_progress,
            load_parent=lambda _: self.parent_result(job),
        )

    def parent_result(self, job: ClaimedJob) -> Any:
        """What the job returned that this one continues; EmbedqError or LookupError if there is nothing."""
        if job.parent_id is None:
            raise LookupError(f"job {job.id} continues no other job, so it has no parent's result")
        return self._load_parent(job.parent_id)

    def watch(self, call: PreparedCall, interrupter: Interrupter) -> Run:
        """Start the job's clock."""
        run = Run(
            call.job,
            call.context,
            timeout=self.timeout(call),
            interrupter=interrupter,
            on_overdue=self._on_overdue,
        )
        self.watchdog.add(run)
        return run

    def timeout(self, call: PreparedCall) -> float | None:
        """How long the job may run, in seconds; None for no limit."""
        timeout = call.options.timeout
        if timeout is None:
            timeout = call.resolved.defaults.timeout
        if timeout is None:
            timeout = self._settings.timeout
        return timeout or None

    # -- after -----------------------------------------------------------------------------------------------------

    def classify(self, call: PreparedCall, run: Run, started: int, result: Any, error: BaseException | None) -> Outcome:
        """How the job ended. `result` counts when `error` is None."""
        try:
            return self._classify(call, run, started, result, error)
        except BaseException as fault:
            # What a job returns or raises is of its own making, and so may fail in any way when it is looked at.
            logger.exception("job %s (%s): how it ended cannot be told", call.job.id, call.job.name)
            return self._failed(call.job, started, fault, Ending.FAILED, DEFAULT_RETRY)

    def _classify(
        self, call: PreparedCall, run: Run, started: int, result: Any, error: BaseException | None
    ) -> Outcome:
        job, context = call.job, call.context
        if run.overdue and not isinstance(error, JobInterrupt):
            # It outran its interrupt: what it returned or raised since is refused.
            assert run.interrupted is not None
            error = run.interrupted()
        if error is None:
            if not context.saw_stop:
                return self._succeeded(job, started, result)
            # It looked, saw that it should stop, and returned: it did stop.
            error = JobCancelled() if context.cancel_requested else JobStopped()
        if isinstance(error, JobCancelled):
            return self._outcome(job, JobState.CANCELLED, Ending.CANCELLED, started, error="cancelled while it ran")
        if isinstance(error, JobStopped) and (context.stopping or run.interrupted is not None):
            return self._outcome(job, JobState.READY, Ending.RELEASED, started, gives_back=1)
        if isinstance(error, JobTimeout) and run.interrupted is not None:
            named = TimeoutError(f"the job ran longer than its timeout of {self.timeout(call) or 0:g} s")
            return self.failed(call, started, named.with_traceback(error.__traceback__), Ending.TIMED_OUT)
        return self.failed(call, started, error)

    def failed(self, call: PreparedCall, started: int, error: BaseException, ending: Ending = Ending.FAILED) -> Outcome:
        """The outcome of a job that ended with this error: tried again, or dead, as its policy says."""
        policy = call.options.retry or call.resolved.defaults.retry or DEFAULT_RETRY
        return self._failed(call.job, started, error, ending, policy)

    def crashed(self, job: ClaimedJob, started: int, how: str, trace: str | None) -> Outcome:
        """The outcome of a job whose own process died: as if this process had, for this job alone."""
        dead = job.crashes + 1 >= self._settings.max_crashes
        outcome = self._outcome(
            job,
            JobState.DEAD if dead else JobState.READY,
            Ending.CRASHED,
            started,
            error=how + (f", {job.crashes + 1} times in all; set aside" if dead else ""),
            gives_back=int(not dead),
        )
        outcome.crashed = 1
        outcome.traceback = trace
        return outcome

    def _succeeded(self, job: ClaimedJob, started: int, result: Any) -> Outcome:
        outcome = self._outcome(job, JobState.SUCCEEDED, Ending.SUCCEEDED, started)
        if result is not None:
            try:
                outcome.result = dumps_value(result, limit=self._settings.max_payload_bytes)
            except (UnstorableArgumentError, PayloadTooLargeError) as error:
                # The work is done; only its result is of no use to anybody else.
                outcome.error = storable(f"the result was not stored: {error}")
            except Exception as error:
                outcome.error = storable(f"the result was not stored: {headline(error)}")
        return outcome

    def _failed(
        self,
        job: ClaimedJob,
        started: int,
        error: BaseException,
        ending: Ending,
        policy: Retry,
    ) -> Outcome:
        now = self.clock.now()
        first = job.first_started_at or started
        decision = decide(
            policy,
            attempt=job.attempt,
            first_started_at=first,
            now=now,
            error=error,
            slept=max(0.0, (started - first) / SECOND),
        )
        state = JobState.DEAD if decision.retry_at is None else JobState.RETRYING
        outcome = self._outcome(job, state, ending, started, error=headline(error))
        outcome.retry_at = decision.retry_at
        outcome.traceback = traceback_text(error)
        outcome.note = decision.reason
        return outcome

    def _outcome(
        self,
        job: ClaimedJob,
        state: JobState,
        ending: Ending,
        started: int,
        *,
        error: str | None = None,
        needs: str | None = None,
        gives_back: int = 0,
    ) -> Outcome:
        # Never before it started, whatever the clock did meanwhile.
        finished = max(started, self.clock.now())
        return Outcome(
            job_id=job.id,
            claim=job.claim,
            attempt=job.attempt,
            name=job.name,
            queue=job.queue,
            state=state,
            ending=ending,
            run_at=job.run_at,
            started_at=started,
            finished_at=finished,
            server_id=self.server_id(),
            error=None if error is None else storable(error),
            delete_at=self._settings.retention.for_job(job.options).delete_at(state, finished) if state.ended else None,
            needs=None if needs is None else storable(needs),
            gives_back=gives_back,
        )

    def released(self, job: ClaimedJob) -> Outcome:
        """The outcome of a claim that is given back before it began."""
        return self._outcome(job, JobState.READY, Ending.RELEASED, self.clock.now(), gives_back=1)

    def cancelled(self, job: ClaimedJob) -> Outcome:
        """The outcome of a claim that was cancelled before it began: no attempt was made."""
        return self._outcome(
            job, JobState.CANCELLED, Ending.RELEASED, self.clock.now(), error="cancelled", gives_back=1
        )

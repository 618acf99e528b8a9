"""Runs one job: finds its function, calls it in its context, and turns the result into an outcome.

    prepare     find the function and read its arguments; the job may turn out to be unable to run here (parked) or
                anywhere (dead)
    watch       set its deadline
    run         call the function, in its context, inside the middleware (`async_execution.py` for `async def`)
    classify    turn what was returned or raised into an Outcome

Nothing here touches the database, and nothing here raises: every way a job can end is an `Outcome`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from inspect import isawaitable
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Protocol

from embedq.clock import Clock, to_datetime
from embedq.config import Settings
from embedq.errors import JobCancelled, JobInterrupt, JobStopped, JobTimeout
from embedq.job import Ending, JobId
from embedq.observability.log import get_logger
from embedq.process import faults
from embedq.process.interrupts import Interruptible
from embedq.process.registration import Registration
from embedq.serializers import loads_call
from embedq.storage.rows import ClaimedJob, Outcome, storable
from embedq.tasks.context import JobContext, enter_job, leave_job
from embedq.tasks.middleware import Middleware
from embedq.tasks.options import StoredOptions, with_meta
from embedq.worker import forked
from embedq.worker.contexts import Contexts
from embedq.worker.cpu import ThreadCpu
from embedq.worker.error_text import clear_frames, headline, traceback_text
from embedq.worker.outcomes import OutcomeBuilder
from embedq.worker.records import log_step
from embedq.worker.resolving import Resolved, Resolves
from embedq.worker.runs import Interrupter, Run, Watchdog

logger = get_logger()

MISSING: Any = object()

# A returned object of these types has not run yet, and nothing would run it.
NOT_RUN = (GeneratorType, AsyncGeneratorType, map, filter)


def completed(result: Any) -> Any:
    """Return what a function returned. TypeError if that is something whose work is yet to be done."""
    # By its type: `isinstance` would read `__class__`, which may be anything, or raise.
    if issubclass(type(result), NOT_RUN):
        raise TypeError(
            f"the function returned a {type(result).__name__.replace('_', ' ')}, of which nothing has run yet; let it "
            "do the work itself: iterate inside it, for example with list(…), and return the result"
        )
    return result


class JobNotes(Protocol):
    """Takes what running jobs write with their context."""

    def log(self, context: JobContext, message: str) -> None: ...
    def progress(self, context: JobContext, fraction: float, note: str | None) -> None: ...
    def options(self, context: JobContext, text: str) -> None:
        """Store a job's options, which hold what it has put in its meta."""


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


def keeps_on(call: PreparedCall) -> bool:
    """Whether the job continues, rather than being interrupted, when its process may have been cut off."""
    return (call.options.on_lost_contact or call.resolved.defaults.on_lost_contact) == "keep"


class Execution:
    """Runs jobs.

    Args:
        load_parent: returns the result of the job of that id.
        on_overdue: called by the watchdog with a run that does not yield.
        logs_failures: failures are logged here, where they happen, rather than when they are recorded.
        contexts: makes the context variables that each job begins with; by default, from those of the caller.
    Attributes:
        outcomes: makes the outcomes of these jobs.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        registration: Registration,
        resolver: Resolves,
        middleware: Sequence[Middleware],
        watchdog: Watchdog,
        notes: JobNotes,
        load_parent: Callable[[int], Any],
        on_overdue: Callable[[Run], None],
        logs_failures: bool = False,
        contexts: Contexts | None = None,
    ) -> None:
        self._settings = settings
        self.clock = clock
        self.registration = registration
        self._resolver = resolver
        self.middleware = tuple(middleware)
        self.watchdog = watchdog
        self.notes = notes
        self._load_parent = load_parent
        self._on_overdue = on_overdue
        self.contexts = contexts or Contexts()
        self.outcomes = OutcomeBuilder(
            settings=settings, clock=clock, registration=registration, resolver=resolver, logs_failures=logs_failures
        )

    # -- on a thread -----------------------------------------------------------------------------------------------

    def run(self, job: ClaimedJob, interruptible: Interruptible, cpu: ThreadCpu | None = None) -> Outcome:
        """Run a job in this thread, in a context of its own; with `cpu`, the outcome has its processor time."""
        return self.contexts.fresh().run(self._run, job, interruptible, cpu)

    def _run(self, job: ClaimedJob, interruptible: Interruptible, cpu: ThreadCpu | None) -> Outcome:
        started = self.clock.now()
        call = self.prepare(job, started)
        if isinstance(call, Outcome):
            return call
        run = self.watch(call, interruptible.next_run())
        try:
            result, error = self._guarded(call, interruptible)
        except JobInterrupt as second:
            # A run that seems not to yield is interrupted once more; this came while the first was being handled.
            interruptible.disarm_for_good()
            result, error = MISSING, second
        finally:
            self.watchdog.remove(run)
        outcome = self.classify(call, run, started, result, error)
        # The error's frames lead here: they would keep all that this frame holds, the error included.
        del call, run, result, error
        if cpu is not None:
            outcome.cpu_us = cpu.of_run(started, outcome.finished_at)
        return outcome

    def _guarded(self, call: PreparedCall, interruptible: Interruptible) -> tuple[Any, BaseException | None]:
        """Call the function where it may be interrupted. What it returned counts even if an interrupt comes then."""
        result: Any = MISSING
        error: BaseException | None = None
        forks = forked.forks
        try:
            try:
                interruptible.arm()
                result = self._call(call)
            except BaseException as raised:
                error = raised
            if forked.forks != forks:
                forked.end_child(error)
            interruptible.disarm()
        except JobInterrupt as late:
            interruptible.disarm_for_good()
            error = error or late
        try:
            return result, None if result is not MISSING else error
        finally:
            # This frame is one of the error's.
            result = error = None

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
        if result is None:
            return None
        if awaitable(result):
            # A lambda or a wrapper around an `async def`, or a function that became one after it was enqueued.
            from embedq.worker.loops import run_here

            result = run_here(result)
        return completed(result)

    # -- before ----------------------------------------------------------------------------------------------------

    def prepare(self, job: ClaimedJob, started: int) -> PreparedCall | Outcome:
        """Return what to call, or the outcome of a job that cannot be called."""
        policy = None
        try:
            resolved = self._resolver.resolve(job)
            options = StoredOptions.read(job.options)
            # Before the arguments, which fail where the parent's result is missing: the job's own policy applies then.
            policy = options.retry or resolved.defaults.retry
            args, kwargs = loads_call(job.payload, parent_result=lambda: self.parent_result(job))
            context = self.context(job, options)
        except BaseException as error:
            return self.outcomes.unprepared(job, started, error, policy)
        return PreparedCall(job, resolved, args, kwargs, options, context)

    def context(
        self, job: ClaimedJob, options: StoredOptions, make: Callable[..., JobContext] = JobContext
    ) -> JobContext:
        """Return the job's context. ValueError if its row was damaged."""
        return make(
            id=JobId(job.id),
            claim=job.claim,
            attempt=job.attempt,
            name=job.name,
            queue=job.queue,
            tags=tuple(json.loads(job.tags)) if job.tags else (),
            meta=options.meta,
            scheduled_for=None if options.scheduled_for is None else to_datetime(options.scheduled_for),
            save_log=self.notes.log,
            save_progress=self.notes.progress,
            row=job,
            load_parent=self.parent_result,
            save_meta=self._save_meta,
        )

    def _save_meta(self, context: JobContext, job: ClaimedJob, meta: Mapping[str, Any]) -> None:
        self.notes.options(context, with_meta(job.options, meta))

    def parent_result(self, job: ClaimedJob) -> Any:
        """Return the result of the parent job; EmbedqError or LookupError if there is none."""
        if job.parent_id is None:
            raise LookupError(f"job {job.id} continues no other job, so it has no parent's result")
        return self._load_parent(job.parent_id)

    def watch(self, call: PreparedCall, interrupter: Interrupter) -> Run:
        """Start the job's clock: its function is about to be called."""
        run = Run(call.job, call.context, self.timeout(call), interrupter, self._on_overdue, keeps_on(call))
        self.watchdog.add(run)
        if logger.isEnabledFor(logging.DEBUG):
            log_step("started", call.job)
        return run

    def timeout(self, call: PreparedCall) -> float | None:
        """Return how long the job may run, in seconds; None for no limit."""
        timeout = call.options.timeout
        if timeout is None:
            timeout = call.resolved.defaults.timeout
        if timeout is None:
            timeout = self._settings.timeout
        return timeout or None

    # -- after -----------------------------------------------------------------------------------------------------

    def classify(self, call: PreparedCall, run: Run, started: int, result: Any, error: BaseException | None) -> Outcome:
        """Return how the job ended. `result` counts when `error` is None."""
        try:
            if error is None and not (run.overdue or call.context.saw_stop):
                return self.outcomes.succeeded(call.job, started, result)
            outcome = self._classify(call, run, started, error)
            if error is not None:
                clear_frames(error)
            return outcome
        except BaseException as fault:
            # A job may return or raise objects of its own classes, which may raise anything when they are read.
            logger.exception("job %s (%s): its result or error cannot be read", call.job.id, call.job.name)
            return self.failed(call, started, fault)

    def _classify(self, call: PreparedCall, run: Run, started: int, error: BaseException | None) -> Outcome:
        """Return how a job ended that did not simply return."""
        job, context = call.job, call.context
        raised = error
        if run.overdue and (error is None or not faults.is_a(error, JobInterrupt)):
            # It did not yield to its interrupt in time: what it returned or raised since is refused.
            assert run.interrupted is not None
            error = run.interrupted()
        if error is None:
            # It read that it should stop, and returned: it did stop.
            error = JobCancelled() if context.cancel_requested else JobStopped()
        interrupt, bare = self._interrupt(run, error), faults.interrupts()
        if interrupt is JobCancelled:
            outcome = self.outcomes.cancelled_while_running(job, started)
            if raised is not None and not faults.is_a(raised, bare):
                outcome.error = storable(headline(raised))
                outcome.traceback = traceback_text(raised)
            return outcome
        if interrupt is JobStopped and (context.stopping or run.interrupted is not None):
            return self.outcomes.stopped(job, started)
        if interrupt is JobTimeout and run.interrupted is not None:
            named = TimeoutError(f"the job ran longer than its timeout of {self.timeout(call) or 0:g} s")
            if not faults.is_a(error, bare):
                named.__cause__ = error
            return self.failed(call, started, named.with_traceback(faults.frames_of(error)), Ending.TIMED_OUT)
        return self.failed(call, started, error)

    def _interrupt(self, run: Run, error: BaseException) -> type[JobInterrupt] | None:
        """Return the interrupt that ended a run, also out of a group or wrapped by the job; None for its own error.

        A job that turns every error into one of its own (`raise ExportError from error`) was cancelled, or ran out of
        time, all the same: it did not fail.
        """
        found = faults.interrupt_in(error, sent=run.interrupted is not None)
        if found is None:
            return None
        kinds = (JobCancelled, JobStopped, JobTimeout)
        return next((kind for kind in kinds if issubclass(found, kind)), run.interrupted)

    def failed(self, call: PreparedCall, started: int, error: BaseException, ending: Ending = Ending.FAILED) -> Outcome:
        """Return the outcome of a prepared job that ended with this error, by its own policy."""
        policy = call.options.retry or call.resolved.defaults.retry
        return self.outcomes.failed(call.job, started, error, policy, ending)


def awaitable(value: object) -> bool:
    """Whether a value can be awaited. One whose class cannot be read cannot."""
    try:
        return isawaitable(value)
    except Exception:
        return False

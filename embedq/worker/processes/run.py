"""Runs one job in a child process, from the host's side.

    prepare     verify the row, and find the module of its function; the job may turn out unable to run here (parked)
    send        to the child that is there, or to a new one
    follow      handle the child's messages, until the job has ended or the child has
    outcome     as the child reports it; if it died: a timeout or a cancel where it was killed for that, else a crash

The job's timeout starts when its function is called: starting a process and importing the app do not count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from embedq.errors import JobInterrupt, JobTimeout, ParkError
from embedq.job import Ending, JobState
from embedq.observability.log import get_logger, pass_on
from embedq.serializers import dumps_value
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.tasks.context import JobContext
from embedq.tasks.options import StoredOptions
from embedq.worker.error_text import headline
from embedq.worker.execution import MISSING, Execution, PreparedCall, keeps_on
from embedq.worker.processes.handle import JobProcess
from embedq.worker.processes.protocol import Assignment, ChildSetup
from embedq.worker.resolving import Resolved, Resolver
from embedq.worker.runs import Run
from embedq.worker.stacks import Stack

logger = get_logger()

# How long a child may take to start and to import the app, before the job's own timeout starts.
START_SECONDS = 60.0


class RemoteJobContext(JobContext):
    """The host's context of a job that runs in a child process: the flags that are set here are set there too."""

    __slots__ = ("_send_flag", "_stopping")

    def __init__(self, *, send_flag: Callable[[str], object], **given: Any) -> None:
        self._send_flag = send_flag
        super().__init__(**given)

    @property
    def stopping(self) -> bool:
        return self._stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._stopping = value
        if value:
            self._send_flag("stopping")

    def request_cancel(self) -> None:
        super().request_cancel()
        self._send_flag("cancelled")


class ProcessRun:
    """The run of one job.

    Args:
        process: a child that is free, or None.
        make_setup: returns the setup of a new child; ParkError when that cannot be sent.
        hold: a descriptor that a child holds open; see `JobProcess`.
    Attributes:
        process: the child that the job ran in; None when that is gone.
    """

    def __init__(
        self,
        job: ClaimedJob,
        process: JobProcess | None,
        *,
        execution: Execution,
        resolver: Resolver,
        make_setup: Callable[[], ChildSetup],
        hold: int,
    ) -> None:
        self.process = process
        # The same, once it has been sent the job: it could not handle messages about the job before.
        self._receiver: JobProcess | None = None
        self._job = job
        self._execution = execution
        self._resolver = resolver
        self._make_setup = make_setup
        self._hold = hold
        self._started = execution.clock.now()
        self._home: str | None = None
        self._modules: tuple[str, ...] = ()
        self._function_started = False
        self._how = ""
        self._lock = threading.Lock()
        self._ended = False
        self._stack_received = threading.Event()
        self._stack: str | None = None

    def run(self) -> Outcome:
        """Run the job and return its outcome. Raises nothing."""
        call = self._prepare()
        if isinstance(call, Outcome):
            return call
        run = Run(
            self._job,
            call.context,
            timeout=START_SECONDS,
            interrupter=self._interrupt,
            on_overdue=self._on_overdue,
            keeps=keeps_on(call),
        )
        self._execution.watchdog.add(run)
        try:
            return self._run(call, run)
        except ParkError as error:
            return self._execution.outcomes.unprepared(self._job, self._started, error, None)
        except BaseException as error:
            # The child could not be started, or sent an invalid message.
            logger.exception("job %s (%s): its process cannot be started or used", self._job.id, self._job.name)
            self._reap()
            return self._execution.failed(call, self._started, error)
        finally:
            self._execution.watchdog.remove(run)
            with self._lock:
                self._ended = True

    def _prepare(self) -> PreparedCall | Outcome:
        job, policy = self._job, None
        try:
            self._home, defaults = self._resolver.address(job)
            options = StoredOptions.read(job.options)
            policy = options.retry or defaults.retry
            context = self._execution.context(job, options, partial(RemoteJobContext, send_flag=self._send_flag))
        except BaseException as error:
            return self._execution.outcomes.unprepared(job, self._started, error, policy)
        return PreparedCall(job, Resolved(_not_called_here, defaults, False), (), {}, options, context)

    # -- called by other threads ---------------------------------------------------------------------------------------

    def _send_flag(self, flag: str) -> None:
        if (process := self._receiver) is not None:
            process.send("flag", self._job.id, self._job.claim, flag)

    def _interrupt(self, error: type[JobInterrupt]) -> bool:
        if (process := self._receiver) is None:
            return False
        process.send("interrupt", self._job.id, self._job.claim, error.__name__)
        # True also when the child does not read: it is killed for that after the grace.
        return True

    def _on_overdue(self, run: Run) -> None:
        assert run.interrupted is not None
        logger.warning(
            "job %s (%s) does not yield to %s; its process is killed",
            run.job.id,
            run.job.name,
            run.interrupted.__name__,
        )
        with self._lock:
            process = self._receiver
            # The child may have another job by now.
            if process is not None and not self._ended:
                process.kill()

    def stack(self, timeout: float) -> Stack | None:
        """Request the job's stack from the child; None when it does not respond within `timeout` seconds."""
        process, self._stack, self._stack_received = self._receiver, None, threading.Event()
        if process is None or not process.send("stack", self._job.id, self._job.claim):
            return None
        self._stack_received.wait(timeout)
        return None if self._stack is None else Stack(f"process {process.pid}", self._stack)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self, call: PreparedCall, run: Run) -> Outcome:
        while True:
            self._receiver = None
            fresh = self.process is None
            process = self.process or self._start()
            process.jobs += 1
            sent = process.send("run", self._work())
            self._receiver = process
            self._resend(call.context, run)
            outcome = self._follow(process, call, run, accepted=False) if sent or fresh else None
            if outcome is not None:
                if outcome.state is JobState.PARKED and self._add_module(outcome):
                    continue
                return outcome
            # The child died while it had no job. This job is not the cause.
            self._reap()
            if fresh:
                how = f"it did not start: {self._how}; its standard error may show why"
                return self._execution.failed(call, self._started, RuntimeError(f"the process of the job: {how}"))

    def _start(self) -> JobProcess:
        setup = self._make_setup()
        self.process = process = JobProcess(hold=self._hold)
        process.send_setup(setup)
        return process

    def _work(self) -> Assignment:
        execution = self._execution
        return Assignment(
            job=self._job,
            home=self._home,
            modules=self._modules,
            now=execution.clock.now(),
            server_id=execution.registration.server_id,
        )

    def _resend(self, context: JobContext, run: Run) -> None:
        """Send what could not be sent before the child had the job."""
        if context.cancel_requested:
            self._send_flag("cancelled")
        if context.stopping:
            self._send_flag("stopping")
        if run.interrupted is not None:
            self._interrupt(run.interrupted)

    def _add_module(self, outcome: Outcome) -> bool:
        """Name the module of the type that the job lacks, if that type is imported here; return whether it is.

        Not sooner: a row that is not signed must not decide what is imported.
        """
        kind, _, name = (outcome.needs or "").partition(" ")
        module = name.partition(":")[0]
        if kind != "type" or module in self._modules or not self._resolver.has(outcome.needs or ""):
            return False
        self._modules += (module,)
        return True

    def _follow(self, process: JobProcess, call: PreparedCall, run: Run, *, accepted: bool) -> Outcome | None:
        """Handle messages until the job has ended; None when the child died before it had accepted the job."""
        while (message := process.receive()) is not None:
            kind, *fields = message
            if kind == "accepted":
                accepted = True
            elif kind == "started":
                self._start_clock(call, run)
            elif kind == "outcome":
                outcome, process.exhausted = fields
                # As on a thread: the result of an overdue run is refused. The child is being killed for it.
                return self._killed(call, run) if run.overdue else self._outcome(outcome)
            elif kind == "unfit":
                return self._unfit(call, *fields)
            else:
                self._handle(call.context, kind, fields)
        if run.interrupted is not None:
            return self._killed(call, run)
        return self._crashed() if accepted else None

    def _start_clock(self, call: PreparedCall, run: Run) -> None:
        self._function_started = True
        timeout = self._execution.timeout(call)
        if run.interrupted is None and not call.context.cancel_requested:
            run.act_at = float("inf") if timeout is None else time.monotonic() + timeout
            self._execution.watchdog.add(run)

    def _handle(self, context: JobContext, kind: str, fields: list[Any]) -> None:
        """Handle what a job writes, except messages from threads that an earlier job has left behind."""
        if kind == "stack":
            job_id, claim, text = fields
            if (job_id, claim) == (context.id, context.claim):
                self._stack = text
                self._stack_received.set()
        elif kind in ("log", "progress"):
            job_id, claim, *what = fields
            if (job_id, claim) == (context.id, context.claim):
                context.log(*what) if kind == "log" else context.progress(*what)
        elif kind == "options":
            job_id, claim, text = fields
            if (job_id, claim) == (context.id, context.claim):
                self._execution.notes.options(context, text)
        elif kind == "record":
            pass_on(*fields)
        elif kind == "parent" and self.process is not None:
            self.process.send("parent", *self._parent())

    def _parent(self) -> tuple[str | None, str | None]:
        try:
            value = self._execution.parent_result(self._job)
            return None if value is None else dumps_value(value, limit=1 << 30), None
        except Exception as error:
            return None, headline(error)

    # -- how it ended --------------------------------------------------------------------------------------------------

    def _outcome(self, fields: dict[str, Any]) -> Outcome:
        fields["state"], fields["ending"] = JobState(fields["state"]), Ending(fields["ending"])
        outcome = Outcome(**fields)
        # The child does not decide which claim the outcome ends.
        return replace(
            outcome, job_id=self._job.id, claim=self._job.claim, server_id=self._execution.registration.server_id
        )

    def _unfit(self, call: PreparedCall, error: str, trace: str) -> Outcome:
        self._reap()
        outcome = self._execution.failed(
            call, self._started, RuntimeError(f"the process of the job cannot be set up: {error}")
        )
        outcome.traceback = trace
        return outcome

    def _killed(self, call: PreparedCall, run: Run) -> Outcome:
        """Return the outcome of a job whose child did not yield, or died of the interrupt."""
        trace = self._reap()
        assert run.interrupted is not None
        if run.interrupted is JobTimeout and not self._function_started:
            late = TimeoutError(
                f"the job did not begin within {START_SECONDS:g} s: importing {self._home or self._job.name} in its "
                "process takes too long"
            )
            outcome = self._execution.failed(call, self._started, late, Ending.TIMED_OUT)
        else:
            outcome = self._execution.classify(call, run, self._started, MISSING, run.interrupted())
        if trace is not None and outcome.traceback is not None:
            outcome.traceback = f"{trace}\n{outcome.traceback}"
        return outcome

    def _crashed(self) -> Outcome:
        trace = self._reap()
        return self._execution.outcomes.crashed(self._job, self._started, f"{self._how} while it ran this job", trace)

    def _reap(self) -> str | None:
        """Kill the child and wait for its end; return the stack that it wrote, if it could."""
        process, self.process, self._receiver = self.process, None, None
        if process is None:
            return None
        self._how, trace = process.reap()
        return trace


def _not_called_here() -> None:
    raise AssertionError("the function is called in the child process")

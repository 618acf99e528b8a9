"""One job in a process, seen from the process that claimed it.

    prepare     verify the row, and find out where its function is; may find that it cannot run here (parked)
    send        to the process that is there, or to a new one
    follow      what the job says, until it has ended or its process has
    outcome     as the process reports it; if it died: a timeout or a cancel where it was killed for that, else a crash

The clock of a job starts when its function is called: starting a process and importing the app take their own time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from embedq.context import JobContext
from embedq.errors import JobInterrupt, JobTimeout, ParkError
from embedq.job import Ending, JobState
from embedq.options import StoredOptions
from embedq.serializers import dumps_value
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.execution import DEFAULT_RETRY, MISSING, Execution, PreparedCall
from embedq.worker.process_handle import JobProcess
from embedq.worker.process_link import Setup, Work
from embedq.worker.resolving import Resolved, Resolver
from embedq.worker.runs import Run
from embedq.worker.stacks import Stack
from embedq.worker.wording import headline

logger = logging.getLogger("embedq")

# How long a process may take to start and to import the app, before its job's own clock starts.
BEGIN_SECONDS = 60.0


class DistantContext(JobContext):
    """The context of a job that runs in another process, where it is told what this one is told."""

    __slots__ = ("_stopping", "_tell")

    def __init__(self, *, tell: Callable[[str], object], **given: Any) -> None:
        self._tell = tell
        super().__init__(**given)

    @property
    def stopping(self) -> bool:
        return self._stopping

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._stopping = value
        if value:
            self._tell("stopping")

    def request_cancel(self) -> None:
        super().request_cancel()
        self._tell("cancelled")


class ProcessRun:
    """One job.

    Args:
        process: one that is free, or None.
        make_setup: what a new process must know; ConfigurationError when that cannot be sent.
        hold: what a process holds open; see `JobProcess`.
    Attributes:
        process: the one that it ran in; None when that is gone.
    """

    def __init__(
        self,
        job: ClaimedJob,
        process: JobProcess | None,
        *,
        execution: Execution,
        resolver: Resolver,
        make_setup: Callable[[], Setup],
        hold: int,
    ) -> None:
        self.process = process
        self._job = job
        self._execution = execution
        self._resolver = resolver
        self._make_setup = make_setup
        self._hold = hold
        self._started = execution.clock.now()
        self._home: str | None = None
        self._modules: tuple[str, ...] = ()
        self._begun = False
        self._how = ""
        self._lock = threading.Lock()
        self._ended = False
        self._asked = threading.Event()
        self._shown: str | None = None

    def run(self) -> Outcome:
        """Run it; how it ended. Raises nothing."""
        call = self._prepare()
        if isinstance(call, Outcome):
            return call
        run = Run(
            self._job, call.context, timeout=BEGIN_SECONDS, interrupter=self._interrupt, on_overdue=self._on_overdue
        )
        self._execution.watchdog.add(run)
        try:
            return self._run(call, run)
        except ParkError as error:
            return self._execution.unprepared(self._job, self._started, error, DEFAULT_RETRY)
        except BaseException as error:
            # It could not be started, or talks in another way than was agreed.
            logger.exception("job %s (%s): trouble with its process", self._job.id, self._job.name)
            self._bury()
            return self._execution.failed(call, self._started, error)
        finally:
            self._execution.watchdog.remove(run)
            with self._lock:
                self._ended = True

    def _prepare(self) -> PreparedCall | Outcome:
        job, policy = self._job, DEFAULT_RETRY
        try:
            self._home, defaults = self._resolver.address(job)
            options = StoredOptions.read(job.options)
            policy = options.retry or defaults.retry or policy
            context = self._execution.context(job, options, partial(DistantContext, tell=self._tell))
        except BaseException as error:
            return self._execution.unprepared(job, self._started, error, policy)
        return PreparedCall(job, Resolved(_elsewhere, defaults, False), (), {}, options, context)

    # -- what others say to it -----------------------------------------------------------------------------------------

    def _tell(self, flag: str) -> None:
        if self.process is not None:
            self.process.send("tell", self._job.id, self._job.claim, flag)

    def _interrupt(self, error: type[JobInterrupt]) -> bool:
        if self.process is None:
            return False
        self.process.send("interrupt", self._job.id, self._job.claim, error.__name__)
        # Also when it does not listen: it is killed for that after the grace.
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
            process = self.process
            # It may have another job by now.
            if process is not None and not self._ended:
                process.kill()

    def stack(self, timeout: float) -> Stack | None:
        """Ask the process where the job is; None when it does not say within `timeout` seconds."""
        process, self._shown, self._asked = self.process, None, threading.Event()
        if process is None or not process.send("stack", self._job.id, self._job.claim):
            return None
        self._asked.wait(timeout)
        return None if self._shown is None else Stack(f"process {process.pid}", self._shown)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self, call: PreparedCall, run: Run) -> Outcome:
        while True:
            fresh = self.process is None
            process = self.process or self._start()
            process.jobs += 1
            sent = process.send("run", self._work())
            self._repeat(call.context)
            outcome = self._follow(process, call, run, taken=False) if sent or fresh else None
            if outcome is not None:
                if outcome.state is JobState.PARKED and self._can_help(outcome):
                    continue
                return outcome
            # It died while it had nothing to do. That is no fault of this job.
            self._bury()
            if fresh:
                how = f"it did not start: {self._how}; its standard error may say why"
                return self._execution.failed(call, self._started, RuntimeError(f"the process of the job: {how}"))

    def _start(self) -> JobProcess:
        setup = self._make_setup()
        self.process = process = JobProcess(hold=self._hold)
        process.introduce(setup)
        return process

    def _work(self) -> Work:
        execution = self._execution
        return Work(
            job=self._job,
            home=self._home,
            modules=self._modules,
            now=execution.clock.now(),
            server_id=execution.server_id(),
        )

    def _repeat(self, context: JobContext) -> None:
        """What was said before there was a process to say it to."""
        if context.cancel_requested:
            self._tell("cancelled")
        if context.stopping:
            self._tell("stopping")

    def _can_help(self, outcome: Outcome) -> bool:
        """Whether the job lacks a type that is imported here: then its module is named to the process.

        Not sooner: a row that is not signed must not say what is imported.
        """
        kind, _, name = (outcome.needs or "").partition(" ")
        module = name.partition(":")[0]
        if kind != "type" or module in self._modules or not self._resolver.has(outcome.needs or ""):
            return False
        self._modules += (module,)
        return True

    def _follow(self, process: JobProcess, call: PreparedCall, run: Run, *, taken: bool) -> Outcome | None:
        """Listen until the job has ended; None when the process died before it had taken it."""
        while (message := process.receive()) is not None:
            kind, *said = message
            if kind == "taken":
                taken = True
            elif kind == "begun":
                self._start_clock(call, run)
            elif kind == "outcome":
                fields, process.worn = said
                # As on a thread: what outran its interrupt is refused. The process is being killed for it.
                return self._killed(call, run) if run.overdue else self._outcome(fields)
            elif kind == "unfit":
                return self._unfit(call, *said)
            else:
                self._hear(call.context, kind, said)
        if run.interrupted is not None:
            return self._killed(call, run)
        return self._crashed() if taken else None

    def _start_clock(self, call: PreparedCall, run: Run) -> None:
        self._begun = True
        timeout = self._execution.timeout(call)
        if run.interrupted is None and not call.context.cancel_requested:
            run.act_at = float("inf") if timeout is None else time.monotonic() + timeout
            self._execution.watchdog.add(run)

    def _hear(self, context: JobContext, kind: str, said: list[Any]) -> None:
        """What a job says. Threads that another has left behind may say something too; that is not kept."""
        if kind == "stack":
            job_id, claim, text = said
            if (job_id, claim) == (context.id, context.claim):
                self._shown = text
                self._asked.set()
        elif kind in ("log", "progress"):
            job_id, claim, *what = said
            if (job_id, claim) == (context.id, context.claim):
                context.log(*what) if kind == "log" else context.progress(*what)
        elif kind == "record":
            record = logging.makeLogRecord(*said)
            target = logging.getLogger(record.name)
            if target.isEnabledFor(record.levelno):
                target.handle(record)
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
        # Which claim it ends is not the job's to say.
        return replace(outcome, job_id=self._job.id, claim=self._job.claim, server_id=self._execution.server_id())

    def _unfit(self, call: PreparedCall, error: str, trace: str) -> Outcome:
        self._bury()
        outcome = self._execution.failed(
            call, self._started, RuntimeError(f"the process of the job cannot be set up: {error}")
        )
        outcome.traceback = trace
        return outcome

    def _killed(self, call: PreparedCall, run: Run) -> Outcome:
        """It did not yield, or died of being interrupted."""
        trace = self._bury()
        assert run.interrupted is not None
        if run.interrupted is JobTimeout and not self._begun:
            late = TimeoutError(
                f"the job did not begin within {BEGIN_SECONDS:g} s: importing {self._home or self._job.name} in its "
                "process takes too long"
            )
            outcome = self._execution.failed(call, self._started, late, Ending.TIMED_OUT)
        else:
            outcome = self._execution.classify(call, run, self._started, MISSING, run.interrupted())
        if trace is not None and outcome.traceback is not None:
            outcome.traceback = f"{trace}\n{outcome.traceback}"
        return outcome

    def _crashed(self) -> Outcome:
        trace = self._bury()
        return self._execution.crashed(self._job, self._started, f"{self._how} while it ran this job", trace)

    def _bury(self) -> str | None:
        """Wait for the end of the process; where it was, if it could say."""
        process, self.process = self.process, None
        if process is None:
            return None
        self._how, trace = process.bury()
        return trace


def _elsewhere() -> None:
    raise AssertionError("this function is called in another process")

"""The event loop that runs `async def` jobs, hundreds at a time, on one thread.

A job that blocks the loop (a plain `time.sleep`, a long computation) delays the others; when it also exceeds its
timeout, it is overdue, and the next jobs get a new loop on a new thread.

`sys.exit` in a job, or in a task that it started, is a failure of that job, and the loop continues (loops.py). When a
loop breaks, another replaces it and its jobs go back to the queue. A job that was alone on the loop has broken it, and
fails. Jobs that shared the loop are suspects: each runs on a loop of its own the next time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from embedq.observability.log import get_logger
from embedq.process.liveness import RunningJobsFile
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.tasks.context import job_in
from embedq.worker.async_execution import end_or_log, execute
from embedq.worker.claim_ledger import ClaimKey
from embedq.worker.execution import Execution
from embedq.worker.loops import SharedLoopSettings, close, drive, new_task

logger = get_logger()

# The pause before a broken loop is replaced.
REPLACE_PAUSE_SECONDS = 0.2

# The event loop holds only weak references to tasks.
_TASKS: set[asyncio.Task[None]] = set()


class LoopOwner(Protocol):
    """The runner that event loops belong to; see `AsyncRunner`."""

    execution: Execution
    report: Callable[[Outcome], None]
    running_jobs: RunningJobsFile
    replaced: Callable[[str, BaseException], None]
    mutex: threading.RLock
    loops: list[LoopThread]
    overdue: set[ClaimKey]
    suspects: set[int]


class LoopThread:
    """An event loop on a thread of its own.

    Args:
        runner: the runner that this loop belongs to.
    Attributes:
        waiting: jobs that it has not begun.
        started: when each running job began (monotonic).
        open: it takes jobs.
        lone: it was opened for one job.
    """

    def __init__(self, runner: LoopOwner, *, lone: bool) -> None:
        self._runner = runner
        self._execution = runner.execution
        self.waiting: deque[ClaimedJob] = deque()
        self.started: dict[ClaimKey, float] = {}
        self.open = True
        self.lone = lone
        # The running jobs whose outcomes are not reported yet.
        self._jobs: dict[ClaimKey, ClaimedJob] = {}
        # It stops when its jobs have ended.
        self._ending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reset: Callable[[], object] = object
        self.thread = threading.Thread(target=self._run, name="embedq-async", daemon=True)

    # -- called by other threads ---------------------------------------------------------------------------------------

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, if that runs; when it starts, it reads by itself what there is to do."""
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(function)
            except RuntimeError:
                pass  # The loop is closed.

    def responds(self, timeout: float = 0.5) -> bool:
        """Return whether the loop calls a function within `timeout` seconds."""
        called = threading.Event()
        self.call(called.set)
        return called.wait(timeout)

    def stop(self) -> None:
        """Stop the loop once its jobs have ended."""
        self._ending = True
        if self._loop is not None:
            self.call(self._loop.stop)

    # -- on its own thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop = loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            self._reset = SharedLoopSettings(loop).reset
            # What `call` was given before the loop existed.
            loop.call_soon(self.begin)
            if self._ending:
                loop.call_soon(loop.stop)
            drive(loop, lambda: self._ending, _exited)
        except BaseException as error:
            self._abandon(error)
        else:
            close(loop)
        with self._runner.mutex:
            if self in self._runner.loops:
                self._runner.loops.remove(self)

    def begin(self) -> None:
        """Begin the jobs that wait; called on the loop."""
        while self.waiting:
            job = self.waiting[0]
            key = job.id, job.claim
            self._jobs[key] = job
            # For a moment it is in both, and never in neither.
            self.started[key] = time.monotonic()
            self.waiting.popleft()
            task = new_task(self._run_job(job), asyncio.get_running_loop(), self._execution.contexts.fresh())
            _TASKS.add(task)
            task.add_done_callback(_TASKS.discard)

    async def _run_job(self, job: ClaimedJob) -> None:
        running_jobs = self._runner.running_jobs
        slot = running_jobs.take_slot()
        running_jobs.note(slot, job.id)
        try:
            outcome = await execute(self._execution, job)
        except BaseException as error:
            logger.critical("job %s (%s): the event loop lost it", job.id, job.name, exc_info=True)
            outcome = self._execution.outcomes.lost(job, error)
        self._end(job, outcome)
        running_jobs.free_slot(slot)

    def _end(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Report an outcome, unless the job was ended with its loop."""
        key, runner = (job.id, job.claim), self._runner
        if self._jobs.pop(key, None) is None:
            return
        self._reset()
        runner.report(outcome)
        self.started.pop(key, None)
        runner.overdue.discard(key)
        runner.suspects.discard(job.id)
        if self.lone and not self.waiting and not self._jobs:
            self.open = False
            self._ending = True
            asyncio.get_running_loop().stop()

    def _abandon(self, error: BaseException) -> None:
        """Close a broken loop: another replaces it, and its jobs go back to the queue."""
        logger.error("the event loop is broken, and is replaced; its jobs go back to the queue", exc_info=error)
        time.sleep(REPLACE_PAUSE_SECONDS)
        runner, outcomes = self._runner, self._execution.outcomes
        with runner.mutex:
            self.open = False
            waiting, self.waiting = list(self.waiting), deque()
        jobs, self._jobs = list(self._jobs.values()), {}
        for job in [*jobs, *waiting]:
            self._execution.watchdog.forget(job.id, job.claim)
            if len(jobs) == 1 and job is jobs[0]:
                broken = RuntimeError(f"this job broke the event loop it ran on, alone: {error}")
                broken.__cause__ = error
                runner.suspects.discard(job.id)
                runner.report(outcomes.lost(job, broken))
            else:
                if job in jobs:
                    runner.suspects.add(job.id)
                runner.report(outcomes.released(job))
            runner.overdue.discard((job.id, job.claim))
        self.started.clear()
        if self._loop is not None:
            close(self._loop, broken=True)
        runner.replaced(self.thread.name, error)


def _exited(error: BaseException, context: Context | None) -> None:
    """End the job whose task or callback raised an error that ends the program."""
    job = None if context is None else job_in(context)
    end_or_log(None if job is None else job.id, error)

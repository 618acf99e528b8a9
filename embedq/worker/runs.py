"""The jobs that are running now, and the watchdog that enforces their timeouts.

Timeouts are measured on this process's monotonic clock. When its time is up a run is interrupted: on a thread by an
exception at the next bytecode, on the event loop by a cancellation. A run that has not yielded after the grace is
*overdue*: it cannot be stopped (it is in a C call, or swallows the exception), so its worker is replaced, and what it
still returns is refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from embedq.errors import JobCancelled, JobInterrupt, JobStopped, JobTimeout
from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.supervision import Supervised
from embedq.storage.rows import ClaimedJob
from embedq.tasks.context import JobContext

logger = get_logger()

RETRY_SECONDS = 0.02
# The watchdog wakes this often even when nothing is due. A run with more time left than that need not wake it, so
# ordinary jobs start and end without waking its thread.
LONGEST_SLEEP = 60.0

Interrupter = Callable[[type[JobInterrupt]], bool]


class Run:
    """One job on one worker.

    Args:
        keeps: it is not interrupted when this process may have been cut off from the database.
    Attributes:
        act_at: when the watchdog acts on it next, on the monotonic clock.
        interrupted: what was raised in it, if anything.
        overdue: it did not yield to that in time; what it returns is refused.
    """

    __slots__ = (
        "_interrupter", "_on_overdue", "_postponed", "act_at", "context", "interrupted", "job", "keeps", "overdue",
    )  # fmt: skip

    def __init__(
        self,
        job: ClaimedJob,
        context: JobContext,
        timeout: float | None,
        interrupter: Interrupter,
        on_overdue: Callable[[Run], None],
        keeps: bool = False,
    ) -> None:
        self.job = job
        self.context = context
        self.act_at = math.inf if timeout is None else time.monotonic() + timeout
        self.interrupted: type[JobInterrupt] | None = None
        self.overdue = False
        self.keeps = keeps
        # An interrupt that could not be raised yet.
        self._postponed: type[JobInterrupt] | None = None
        self._interrupter = interrupter
        self._on_overdue = on_overdue

    def act(self, now: float, grace: float) -> None:
        """Interrupt the run, or mark it as overdue; called at `act_at`."""
        if self.interrupted is not None:
            self.act_at = math.inf
            self.overdue = True
            self._on_overdue(self)
            # Once more: Python drops what is raised in a destructor or in a callback of the garbage collector.
            self._interrupter(self.interrupted)
            return
        self.interrupt(self._postponed or (JobCancelled if self.context.cancel_requested else JobTimeout), now, grace)

    def interrupt(self, error: type[JobInterrupt], now: float, grace: float) -> None:
        """Raise `error` in the job, and give it `grace` seconds to yield."""
        # Set before it is raised: the run may be over, and its outcome classified, before the next line.
        self.interrupted = error
        self.context.interrupted = True
        if self._interrupter(error):
            self.act_at = now + grace
        else:
            # It is just starting, or has just ended: try again soon.
            self.interrupted, self._postponed = None, error
            self.context.interrupted = False
            self.act_at = now + RETRY_SECONDS


class Watchdog:
    """Enforces the timeouts of all runs, on a thread that touches no database and so never waits for one."""

    def __init__(self, *, grace: float, cancel_grace: float) -> None:
        self._grace = grace
        self._cancel_grace = cancel_grace
        # Keyed by the claim: a job that was taken from this process and given back to it is another run.
        self._runs: dict[tuple[int, int], Run] = {}
        self._next_check = math.inf
        self._wake = threading.Event()
        self._stopping = False
        self._thread: Supervised | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = supervision.start("embedq-watchdog", self._watch)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def add(self, run: Run) -> None:
        """Enforce the timeout of a run until `remove`."""
        self._runs[run.job.id, run.job.claim] = run
        if run.act_at < self._next_check:
            self._wake.set()

    def remove(self, run: Run) -> None:
        """Forget a run that has ended."""
        self._runs.pop((run.job.id, run.job.claim), None)

    def forget(self, job_id: int, claim: int) -> None:
        """Forget the run of this claim, if there is one: its event loop is gone."""
        self._runs.pop((job_id, claim), None)

    def runs(self) -> list[Run]:
        """Return a copy of what is running now."""
        return list(self._runs.values())

    def cancel(self, job_id: int, claim: int) -> bool:
        """Request that a run ends, and interrupt it if it has not after the grace; False if it does not run here."""
        run = self._runs.get((job_id, claim))
        if run is None:
            return False
        if not run.context.cancel_requested:
            run.context.request_cancel()
            if run.interrupted is None:
                run.act_at = min(run.act_at, time.monotonic() + self._cancel_grace)
                self._wake.set()
        return True

    def withdraw(self, job_id: int, claim: int) -> bool:
        """Interrupt a run whose job was taken from this process. False if there is no such run to interrupt (yet)."""
        run = self._runs.get((job_id, claim))
        if run is None:
            return False
        run.context.stopping = True
        if run.interrupted is None:
            run.interrupt(JobStopped, time.monotonic(), self._grace)
            self._wake.set()
        return run.interrupted is not None

    def interrupt_unless_kept(self, grace: float) -> int:
        """Interrupt every run that does not keep on, because others may soon take its job; return how many.

        Args:
            grace: seconds to yield; a child process is killed after that.
        """
        now, count = time.monotonic(), 0
        for run in self.runs():
            if run.interrupted is None and not run.keeps:
                run.context.stopping = True
                run.interrupt(JobStopped, now, grace)
                count += run.interrupted is not None
        if count:
            self._wake.set()
        return count

    def request_stop(self) -> None:
        """Set the flag of every run that the process is stopping."""
        for run in self.runs():
            run.context.stopping = True

    def interrupt_all(self) -> None:
        """Interrupt every run, because the process is stopping."""
        now = time.monotonic()
        for run in self.runs():
            if run.interrupted is None:
                run.interrupt(JobStopped, now, self._grace)
        self._wake.set()

    def _act(self, run: Run, now: float) -> None:
        try:
            run.act(now, self._grace)
        except Exception:
            # The other runs must not wait for it.
            run.act_at = now + RETRY_SECONDS
            logger.exception("job %s (%s): the run could not be interrupted; trying again", run.job.id, run.job.name)

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            now = time.monotonic()
            for run in self.runs():
                if run.act_at <= now:
                    self._act(run, now)
            self._next_check = min((run.act_at for run in self.runs()), default=math.inf)
            self._next_check = min(self._next_check, now + LONGEST_SLEEP)
            # A run that was added before `_next_check` was set compared itself with the old value; compare it here.
            if any(run.act_at < self._next_check for run in self.runs()):
                continue
            self._wake.wait(max(0.0, self._next_check - time.monotonic()))

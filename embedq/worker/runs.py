"""The jobs that are running now, and the watchdog that keeps them to their time.

A run's clock is this process's monotonic one. When its time is up the run is interrupted: a thread by an exception at
its next bytecode, an async job by a cancellation. A run that has not yielded after the grace is *overdue*: it cannot be
stopped (it is in a C call, or swallows the exception), so its worker is replaced, and what it may yet return is
refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from embedq.context import JobContext
from embedq.errors import JobCancelled, JobInterrupt, JobStopped, JobTimeout
from embedq.storage.rows import ClaimedJob

LOOK_AGAIN = 0.02
# The watchdog wakes this often even when nothing is due. A run with more time left than that need not wake it, so
# ordinary jobs start and end without a word to its thread.
LONGEST_SLEEP = 60.0

Interrupter = Callable[[type[JobInterrupt]], bool]


class Run:
    """One job on one worker.

    Attributes:
        act_at: when the watchdog has something to do about it, on the monotonic clock.
        interrupted: what was raised in it, if anything.
        overdue: it did not yield to that in time; whatever it returns is refused.
    """

    __slots__ = ("_interrupter", "_on_overdue", "act_at", "context", "interrupted", "job", "overdue")

    def __init__(
        self,
        job: ClaimedJob,
        context: JobContext,
        *,
        timeout: float | None,
        interrupter: Interrupter,
        on_overdue: Callable[[Run], None],
    ) -> None:
        self.job = job
        self.context = context
        self.act_at = math.inf if timeout is None else time.monotonic() + timeout
        self.interrupted: type[JobInterrupt] | None = None
        self.overdue = False
        self._interrupter = interrupter
        self._on_overdue = on_overdue

    def act(self, now: float, grace: float) -> None:
        """Called when `act_at` has come."""
        if self.interrupted is not None:
            self.act_at = math.inf
            self.overdue = True
            self._on_overdue(self)
            # Once more: Python drops what is raised in a destructor or in a callback of the garbage collector.
            self._interrupter(self.interrupted)
            return
        self.interrupt(JobCancelled if self.context.cancel_requested else JobTimeout, now, grace)

    def interrupt(self, error: type[JobInterrupt], now: float, grace: float) -> None:
        """Raise `error` in the job, and give it `grace` seconds to yield."""
        # Noted before it is raised: the run may be over, and be asked why, before the next line.
        self.interrupted = error
        if self._interrupter(error):
            self.act_at = now + grace
        else:
            # It is just starting, or has just ended: look again.
            self.interrupted = None
            self.act_at = now + LOOK_AGAIN


class Watchdog:
    """Looks after every run of this process, on a thread that touches no database and so never waits for one."""

    def __init__(self, *, grace: float, cancel_grace: float) -> None:
        self._grace = grace
        self._cancel_grace = cancel_grace
        # Keyed by the claim: a job that was taken from this process and given back to it is another run.
        self._runs: dict[tuple[int, int], Run] = {}
        self._next_look = math.inf
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="embedq-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def add(self, run: Run) -> None:
        """From now until `remove`, keep the run to its time."""
        self._runs[run.job.id, run.job.claim] = run
        if run.act_at < self._next_look:
            self._wake.set()

    def remove(self, run: Run) -> None:
        """The run has ended."""
        self._runs.pop((run.job.id, run.job.claim), None)

    def runs(self) -> list[Run]:
        """A copy of what is running now."""
        return list(self._runs.values())

    def cancel(self, job_id: int, claim: int) -> bool:
        """Ask a run to end, and interrupt it if it has not after the grace. False if it is not running here."""
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

    def ask_to_stop(self) -> None:
        """Tell every run that the process is stopping."""
        for run in self.runs():
            run.context.stopping = True

    def interrupt_all(self) -> None:
        """Interrupt every run, because the process is stopping."""
        now = time.monotonic()
        for run in self.runs():
            if run.interrupted is None:
                run.interrupt(JobStopped, now, self._grace)
        self._wake.set()

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            now = time.monotonic()
            for run in self.runs():
                if run.act_at <= now:
                    run.act(now, self._grace)
            self._next_look = min((run.act_at for run in self.runs()), default=math.inf)
            self._next_look = min(self._next_look, now + LONGEST_SLEEP)
            # A run that was added before `_next_look` was set compared itself with the old value; look at it here.
            if any(run.act_at < self._next_look for run in self.runs()):
                continue
            self._wake.wait(max(0.0, self._next_look - time.monotonic()))

"""Distributes `async def` jobs over event loops: one for all, as long as it works.

The module of the loops, and asyncio, are imported with the first such job: importing asyncio costs more than starting
embedq does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedq.process.liveness import RunningJobsFile
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.claim_ledger import ClaimKey
from embedq.worker.execution import Execution
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.event_loop import LoopThread


class AsyncRunner:
    """Runs up to `size` jobs at a time.

    Args:
        report: takes each outcome; called on the loop's thread, and must not raise or block.
        replaced: called with the name of the thread and the error when a loop is replaced.
    Attributes:
        mutex: for `loops`, and for the lists of each loop's jobs.
        loops: the event loops; none before the first job.
        overdue: claims of jobs that do not yield, and do not count any more.
        suspects: ids of jobs that were on a loop when it broke.
    """

    def __init__(
        self,
        size: int,
        *,
        execution: Execution,
        report: Callable[[Outcome], None],
        running_jobs: RunningJobsFile,
        replaced: Callable[[str, BaseException], None],
    ) -> None:
        self.execution = execution
        self.report = report
        self.running_jobs = running_jobs
        self.replaced = replaced
        self.mutex = threading.RLock()
        self.loops: list[LoopThread] = []
        self.overdue: set[ClaimKey] = set()
        self.suspects: set[int] = set()
        self._size = size

    @property
    def _taken(self) -> int:
        return sum(len(loop.waiting) + len(loop.started) for loop in list(self.loops))

    @property
    def room(self) -> int:
        """How many more jobs it can take."""
        return self._size - self._taken + len(self.overdue)

    @property
    def busy(self) -> bool:
        """Whether any job is running, overdue ones included."""
        return self._taken > 0

    @property
    def latest_start(self) -> float:
        """When the latest of the running jobs started, on the monotonic clock; 0.0 when none runs."""
        loops = list(self.loops)
        if any(loop.waiting for loop in loops):
            return time.monotonic()
        return max((since for loop in loops for since in list(loop.started.values())), default=0.0)

    def held(self) -> set[ClaimKey]:
        """Return the claims of jobs that wait or run here."""
        loops = list(self.loops)
        waiting = {(job.id, job.claim) for loop in loops for job in list(loop.waiting)}
        return waiting.union(*(list(loop.started) for loop in loops))

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Start the jobs."""
        for job in jobs:
            with self.mutex:
                self._pick(job).waiting.append(job)
        self.wake()

    def wake(self) -> None:
        """Begin the jobs that wait."""
        for loop in list(self.loops):
            if loop.waiting:
                loop.call(loop.begin)

    def _pick(self, job: ClaimedJob) -> LoopThread:
        """Return an open loop for a job; the caller holds the mutex."""
        lone = job.id in self.suspects
        loop = next((loop for loop in self.loops if loop.open and not loop.lone), None)
        if loop is None or lone:
            from embedq.worker.event_loop import LoopThread

            loop = LoopThread(self, lone=lone)
            self.loops.append(loop)
            loop.thread.start()
        return loop

    def replace(self, job_id: int, claim: int) -> bool:
        """Stop counting an overdue job; if it blocks its loop, the next jobs get another."""
        loop = next((loop for loop in list(self.loops) if (job_id, claim) in loop.started), None)
        if loop is None:
            return False
        self.overdue.add((job_id, claim))
        if loop.open and not loop.responds():
            with self.mutex:
                loop.open = False
        return True

    def stack_of(self, job_id: int) -> Stack | None:
        """Return where a job is; None when it does not run here."""
        if not self.loops:
            return None
        from embedq.worker.async_execution import stack_of

        return stack_of(job_id)

    def stop(self, timeout: float) -> None:
        """End the loops once their jobs have ended."""
        loops = list(self.loops)
        for loop in loops:
            loop.stop()
        for loop in loops:
            loop.thread.join(timeout)

"""Where the jobs of one process run: on threads, on the event loop, and in child processes; and the guard over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedq.flow.lanes import laned, unlaned
from embedq.process import supervision
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.async_runner import AsyncRunner
from embedq.worker.execution import Execution
from embedq.worker.parts import WorkerParts
from embedq.worker.pool import WorkerPool
from embedq.worker.processes.pool import ProcessPool
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.governor import Governor


class Runners:
    """Runs what is submitted, each job by its executor.

    Args:
        report: takes each outcome; called in the thread that ran the job, and must not raise or block.
        lost: called when a thread that runs jobs has ended unexpectedly, with its job, if it had one, and the error.
        limited: called when the guard has changed how many jobs may run at once on threads.
    Attributes:
        threads: the worker threads, and the buffer of jobs for them.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        execution: Execution,
        report: Callable[[Outcome], None],
        lost: Callable[[ClaimedJob | None, BaseException], None],
        limited: Callable[[], None],
    ) -> None:
        settings, running_jobs = parts.settings, parts.running_jobs
        self.threads = WorkerPool(
            settings.workers, execution=execution, report=report, lost=lost, running_jobs=running_jobs
        )
        self._tasks = AsyncRunner(
            settings.async_jobs, execution=execution, report=report, running_jobs=running_jobs,
            replaced=supervision.note,
        )  # fmt: skip
        self._processes = ProcessPool(parts, execution=execution, report=report, lost=lost)
        self._limited = limited
        self._governor: Governor | None = None
        if settings.guard is not None:
            from embedq.worker.governor import Governor

            self._governor = Governor(
                settings.guard, most=settings.workers, running=lambda: self.threads.running + self._tasks.busy,
                apply=self._limit,
            )  # fmt: skip

    def start(self) -> None:
        """Start the threads."""
        self.threads.start()
        if self._governor is not None:
            self._governor.start()

    def _limit(self, limit: int) -> None:
        """Let `limit` jobs run at once on threads; with 0, none on the event loop either. Called by the governor."""
        self.threads.set_limit(limit)
        self._limited()

    # -- submitting jobs -----------------------------------------------------------------------------------------------

    def submit(self, claimed: Sequence[ClaimedJob]) -> None:
        """Run these jobs, most urgent first."""
        for executor, runner in (("thread", self.threads), ("async", self._tasks), ("process", self._processes)):
            jobs = [job for job in claimed if unlaned(job.executor) == executor]
            if jobs:
                runner.submit(jobs)
        self.jobs_came()

    def wake(self) -> None:
        """Wake the threads that are to run what waits, once more."""
        self.threads.wake()
        self._tasks.wake()
        self._processes.wake()

    def jobs_came(self) -> None:
        """Let the governor measure: jobs are about to run."""
        if self._governor is not None:
            self._governor.jobs_came()

    def replace(self, job_id: int, claim: int) -> None:
        """Replace the worker thread, or the event loop, whose job does not yield."""
        if not self.threads.replace(job_id, claim):
            self._tasks.replace(job_id, claim)

    # -- state, for the dispatcher -------------------------------------------------------------------------------------

    def room(self, *, prefetch: int, low_water: int) -> dict[str, int]:
        """Return how many more jobs each executor may have.

        Args:
            prefetch: how many jobs the threads may have beyond one for each idle thread. Those of lanes are never taken
                ahead.
            low_water: with more than this in the buffer, the threads get none.
        """
        waiting = len(self.threads.buffer)
        threads = self.threads.idle + prefetch - waiting if waiting <= low_water else 0
        room = {"process": self._processes.room, laned("process"): self._processes.room}
        if self.threads.limit == 0:
            return room
        tasks = max(0, self._tasks.room)
        idle = max(0, self.threads.idle - waiting)
        return {"thread": max(0, threads), "async": tasks, laned("thread"): idle, laned("async"): tasks, **room}

    @property
    def has_processes(self) -> bool:
        """Whether jobs with executor="process" may run here."""
        return self._processes.size > 0

    @property
    def busy(self) -> bool:
        """Whether any job waits or runs, or a worker is reserved for one."""
        return bool(self.threads.buffer or self.threads.busy or self._tasks.busy or self._processes.busy)

    def held(self) -> set[tuple[int, int]] | None:
        """Return the claims of all jobs that wait or run here; None at a moment when they cannot be read."""
        on_threads = self.threads.held()
        return None if on_threads is None else on_threads | self._tasks.held() | self._processes.held()

    @property
    def latest_start(self) -> float:
        """When the latest of the jobs on threads and the event loop started (monotonic); 0.0 when none runs."""
        return max(self.threads.latest_start, self._tasks.latest_start)

    def stack_of(self, job_id: int) -> Stack | None:
        """Return where a job is at this moment; None when it does not run here."""
        return self.threads.stack_of(job_id) or self._tasks.stack_of(job_id) or self._processes.stack_of(job_id)

    # -- the end -------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Start no more jobs."""
        self.threads.stop()
        if self._governor is not None:
            self._governor.stop()

    def join(self, timeout: float) -> None:
        """End the threads and the child processes."""
        self.threads.join(timeout)
        self._tasks.stop(timeout)
        self._processes.stop(timeout)

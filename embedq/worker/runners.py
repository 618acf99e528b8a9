"""Where the jobs of one process run: threads, the event loop, and processes of their own; and the guard over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embedq.config import Settings
from embedq.liveness import RunningNotes
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.event_runner import LazyAsyncRunner
from embedq.worker.execution import Execution
from embedq.worker.pool import WorkerPool
from embedq.worker.process_pool import ProcessPool
from embedq.worker.resolving import Resolver
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.governor import Governor


class Runners:
    """Runs what is submitted, each job where its executor says.

    Args:
        report: takes each outcome; called in whichever thread has it, and must not raise or block.
        notes: where it is noted what runs.
        hold: a descriptor that jobs' own processes hold open; see `ProcessPool`.
        limited: called when more, or fewer, jobs may run at once on threads.
    Attributes:
        threads: the worker threads, and the buffer of jobs for them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        execution: Execution,
        resolver: Resolver,
        report: Callable[[Outcome], None],
        notes: RunningNotes,
        hold: int,
        limited: Callable[[], None],
    ) -> None:
        self.threads = WorkerPool(settings.workers, execution=execution, report=report, notes=notes)
        self._tasks = LazyAsyncRunner(settings.async_jobs, execution=execution, report=report, notes=notes)
        self._processes = ProcessPool(
            settings, execution=execution, resolver=resolver, report=report, notes=notes, hold=hold
        )
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
        """Let so many jobs run at once on threads, and none on the event loop where it is none; from the governor."""
        self.threads.set_limit(limit)
        self._limited()

    # -- bringing work -------------------------------------------------------------------------------------------------

    def submit(self, claimed: Sequence[ClaimedJob]) -> None:
        """Run these, most urgent first."""
        for executor, runner in (("thread", self.threads), ("async", self._tasks), ("process", self._processes)):
            jobs = [job for job in claimed if job.executor == executor]
            if jobs:
                runner.submit(jobs)
        self.jobs_came()

    def jobs_came(self) -> None:
        """There is something to guard requests from."""
        if self._governor is not None:
            self._governor.jobs_came()

    def replace(self, job_id: int, claim: int) -> None:
        """Put another in the place of whoever does not give up this job."""
        if not self.threads.replace(job_id, claim):
            self._tasks.replace(job_id, claim)

    # -- what the dispatcher asks --------------------------------------------------------------------------------------

    def room(self, *, prefetch: int, low_water: int) -> dict[str, int]:
        """How many more jobs each executor may have.

        Args:
            prefetch: how many threads may have beyond one for each that is idle.
            low_water: with more than so many in the buffer, threads get none.
        """
        waiting = len(self.threads.buffer)
        threads = self.threads.idle + prefetch - waiting if waiting <= low_water else 0
        if self.threads.limit == 0:
            return {"process": self._processes.room}
        return {"thread": max(0, threads), "async": max(0, self._tasks.room), "process": self._processes.room}

    @property
    def has_processes(self) -> bool:
        """Whether jobs with executor="process" may run here."""
        return self._processes.size > 0

    @property
    def busy(self) -> bool:
        """Whether any job waits, runs, or is promised a worker."""
        return bool(self.threads.buffer or self.threads.busy or self._tasks.busy or self._processes.busy)

    @property
    def latest_start(self) -> float:
        """When the job that started last of those on threads or the event loop did (monotonic); 0.0 when none runs."""
        return max(self.threads.latest_start, self._tasks.latest_start)

    def stack_of(self, job_id: int) -> Stack | None:
        """Where a job is at this moment; None when it does not run here."""
        return self.threads.stack_of(job_id) or self._tasks.stack_of(job_id) or self._processes.stack_of(job_id)

    # -- the end -------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Start no more jobs."""
        self.threads.stop()
        if self._governor is not None:
            self._governor.stop()

    def join(self, timeout: float) -> None:
        """End the threads, and the processes."""
        self.threads.join(timeout)
        self._tasks.stop(timeout)
        self._processes.stop(timeout)

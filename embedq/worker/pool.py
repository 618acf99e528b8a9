"""The threads that run jobs, and the short buffer of claimed jobs that they take from.

A worker that finds the buffer empty adds itself to the idle list and sleeps on a lock of its own; a thread that submits
jobs wakes as many workers as there are jobs. Workers hold no database connection: outcomes go to `report`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.interrupts import Interruptible
from embedq.process.liveness import RunningJobsFile
from embedq.process.supervision import Supervised
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.cpu import ThreadCpu
from embedq.worker.execution import Execution
from embedq.worker.stacks import Stack, of_thread

logger = get_logger()

# Stuck threads are replaced, up to this many for each configured worker; then no more are started, and that is logged.
REPLACEMENTS = 10
# A reservation waits no longer for the mutex. The thread that holds it may be waiting for the very write that reserves:
# a finalizer ran in the middle of these lines, and enqueued.
RESERVE_SECONDS = 0.05


class Worker:
    """One thread.

    Attributes:
        since: when it took its job, on the monotonic clock; 0.0 while it has none. Set before the job leaves the buffer
            and reset after its outcome was reported, so that every job can be found at any moment.
        retired: it ends after its current job.
        woken: it was woken and has not run yet.
    """

    __slots__ = ("gate", "job", "retired", "since", "thread", "woken")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.since = 0.0
        self.retired = False
        self.woken = False
        self.job: ClaimedJob | None = None
        self.thread: Supervised | None = None

    def wake(self) -> None:
        """Open the lock that it sleeps on."""
        try:
            self.gate.release()
        except RuntimeError:
            pass  # It is open: the thread ended unexpectedly before it took the lock, and reads the buffer again.


class Reservation:
    """An idle worker, reserved for one job that is about to be inserted as running.

    Attributes:
        cancelled: the job will not be handed over.
    """

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False


class WorkerPool:
    """`size` threads that run what is submitted.

    Args:
        report: takes each outcome; called in the worker's thread, and must not raise or block.
        lost: called when a worker's thread has ended unexpectedly, with its job, if it had one, and the error.
        running_jobs: where each worker records the job that it runs.
    Attributes:
        limit: how many may run jobs at a time; `size` unless it is lowered (`set_limit`).
        progressed_at: when a job last ended, or entered an empty buffer, on the monotonic clock.
    """

    def __init__(
        self,
        size: int,
        *,
        execution: Execution,
        report: Callable[[Outcome], None],
        lost: Callable[[ClaimedJob | None, BaseException], None],
        running_jobs: RunningJobsFile,
    ) -> None:
        self.size = self.limit = size
        self.buffer: deque[ClaimedJob] = deque()
        self._execution = execution
        self._report = report
        self._lost = lost
        self._running_jobs = running_jobs
        self._mutex = threading.RLock()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._overdue: set[Worker] = set()
        self._reservations: set[Reservation] = set()
        # How many workers were woken and have not run yet.
        self._woken = 0
        self.progressed_at = 0.0
        self._stopping = False
        self._threads_made = 0

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self.size):
            self._add_worker()

    def _add_worker(self) -> None:
        worker = Worker()
        self._threads_made += 1
        with self._mutex:
            self._workers.add(worker)
        try:
            worker.thread = supervision.start(f"embedq-worker-{self._threads_made}", partial(self._work, worker))
        except BaseException:
            with self._mutex:
                self._workers.discard(worker)
            raise

    # -- submitting jobs -----------------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Queue jobs for the workers, most urgent first."""
        self.buffer.extend(jobs)
        for _ in jobs:
            if not self._wake_one():
                break

    def _wake_one(self) -> bool:
        with self._mutex:
            if self._free <= 0:
                return False
            worker = self._pop_idle()
        worker.wake()
        return True

    def _pop_idle(self) -> Worker:
        """Return an idle worker, which the caller wakes once it has released the mutex."""
        self._woken += 1
        worker = self._idle.pop()
        worker.woken = True
        return worker

    def set_limit(self, limit: int) -> None:
        """Let no more than `limit` jobs run at a time. Running jobs are not interrupted."""
        self.limit = limit
        self.wake()

    def wake(self) -> None:
        """Wake as many workers as there are jobs in the buffer."""
        for _ in range(len(self.buffer)):
            if not self._wake_one():
                break

    def reserve(self, reservation: Reservation) -> bool:
        """Reserve an idle worker for a job that is about to be inserted as running here; False if there is none."""
        mutex = self._mutex
        # Not inside another call of this thread, where the numbers may not agree.
        if not self._can_reserve or mutex._is_owned():  # type: ignore[attr-defined]
            return False
        if not mutex.acquire(timeout=RESERVE_SECONDS):
            return False
        try:
            if self._stopping or reservation.cancelled or not self._can_reserve:
                return False
            self._reservations.add(reservation)
            return True
        finally:
            mutex.release()

    @property
    def _can_reserve(self) -> bool:
        """Whether there is a worker that neither a job in the buffer nor another reservation needs."""
        return len(self.buffer) <= self._woken and self._free > len(self._reservations)

    def cancel(self, reservation: Reservation) -> bool:
        """Cancel a reservation, also one that is yet to be made; return whether it had been made."""
        with self._mutex:
            reservation.cancelled = True
            made = reservation in self._reservations
            self._reservations.discard(reservation)
            return made

    def hand_over(self, reservation: Reservation, job: ClaimedJob) -> None:
        """Give the job to the worker that was reserved for it."""
        # The job is in the buffer until its worker runs, and must not look stale.
        self.progressed_at = time.monotonic()
        self.buffer.append(job)
        with self._mutex:
            self._reservations.discard(reservation)
            worker = self._pop_idle() if self._idle else None
        if worker is not None:
            worker.wake()

    def take_back(self) -> list[ClaimedJob]:
        """Remove and return the jobs that no worker has begun."""
        taken = []
        while self.buffer:
            try:
                taken.append(self.buffer.pop())
            except IndexError:
                break
        return taken

    def withdraw(self, job_id: int, claim: int) -> ClaimedJob | None:
        """Remove and return one job that no worker has begun; None if it is not in the buffer."""
        for job in list(self.buffer):
            if job.id == job_id and job.claim == claim:
                try:
                    self.buffer.remove(job)
                except ValueError:
                    return None
                return job
        return None

    # -- state, for the dispatcher -------------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        """How many workers wait for jobs and may start one within the limit."""
        idle = len(self._idle)
        return idle if self.limit >= self.size else min(idle, self.limit - (len(self._workers) - idle))

    @property
    def idle(self) -> int:
        """How many workers wait for jobs, may start one, and are not reserved."""
        return max(0, self._free - len(self._reservations))

    @property
    def running(self) -> int:
        """How many workers have a job, overdue ones included."""
        return len(self._workers) - len(self._idle) + len(self._overdue)

    @property
    def reserved(self) -> int:
        """How many workers are reserved for jobs that are being inserted."""
        return len(self._reservations)

    @property
    def busy(self) -> bool:
        """Whether any worker has a job, overdue ones included, or is reserved for one."""
        return bool(self._reservations) or self.latest_start > 0.0

    def held(self) -> set[tuple[int, int]] | None:
        """Return the claims in the buffer and of the workers; None when they cannot be read just now."""
        held = {(job.id, job.claim) for job in list(self.buffer)}
        for worker in [*self._workers, *self._overdue]:
            since, job = worker.since, worker.job
            if job is not None:
                held.add((job.id, job.claim))
            elif since:
                # It is about to take one.
                return None
        return held

    @property
    def latest_start(self) -> float:
        """When the latest of the running jobs started, on the monotonic clock; 0.0 when none runs."""
        return max((worker.since for worker in [*self._workers, *self._overdue]), default=0.0)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self, worker: Worker) -> None:
        interruptible, cpu = Interruptible(), ThreadCpu()
        slot = self._running_jobs.take_slot()
        execution, report, note = self._execution, self._report, self._running_jobs.note
        try:
            while not worker.retired:
                job = self._next(worker)
                if job is None:
                    break
                worker.job = job
                note(slot, job.id)
                outcome = execution.run(job, interruptible, cpu)
                # Reported before the note is removed: a crash between the two counts as one of the job, the safe side.
                report(outcome)
                note(slot, 0)
                worker.job = None
                worker.since = 0.0
        except BaseException as error:
            # Not an error of a job, which would be an outcome.
            interruptible.disarm_for_good()
            self._after_fault(worker, error)
            raise
        finally:
            self._running_jobs.free_slot(slot)
        with self._mutex:
            self._workers.discard(worker)
            self._overdue.discard(worker)

    def _after_fault(self, worker: Worker, error: BaseException) -> None:
        """Let the thread start again without losing a job."""
        with self._mutex:
            if worker in self._idle:
                self._idle.remove(worker)
            self._mark_running(worker)
        job = worker.job
        # Before `job` is reset: the worker counts as busy until the outcome is reported.
        self._lost(job, error)
        worker.job = None
        worker.since = 0.0

    def _mark_running(self, worker: Worker) -> None:
        """Record that a woken worker runs; the caller holds the mutex."""
        if worker.woken:
            worker.woken = False
            self._woken -= 1

    def _next(self, worker: Worker) -> ClaimedJob | None:
        while True:
            if self._within_limit:
                worker.since = time.monotonic()
                try:
                    return self.buffer.popleft()
                except IndexError:
                    worker.since = 0.0
            with self._mutex:
                if self._stopping:
                    return None
                if self.buffer and self._within_limit:
                    continue
                self._idle.append(worker)
            worker.gate.acquire()
            with self._mutex:
                self._mark_running(worker)
                if worker in self._idle:
                    # The lock was open already: no thread popped this worker from the list.
                    self._idle.remove(worker)

    @property
    def _within_limit(self) -> bool:
        """Whether a worker that is not idle may take another job."""
        return self.limit >= self.size or len(self._workers) - len(self._idle) <= self.limit

    # -- overdue jobs and the end---------------------------------------------------------------------------------------

    def replace(self, job_id: int, claim: int) -> bool:
        """Replace the worker whose job does not yield; that worker ends when its job does."""
        with self._mutex:
            stuck = next((w for w in self._workers if w.job and w.job.id == job_id and w.job.claim == claim), None)
            if stuck is None:
                return False
            if len(self._overdue) >= REPLACEMENTS * self.size:
                logger.critical("%d threads are stuck in overdue jobs; no more are started", len(self._overdue))
                return False
            stuck.retired = True
            self._workers.discard(stuck)
            self._overdue.add(stuck)
        if not self._stopping:
            try:
                self._add_worker()
            except RuntimeError as error:
                logger.critical("no thread can be started to replace an overdue one: %s", error)
        return True

    def stack_of(self, job_id: int) -> Stack | None:
        """Return the stack of the thread that runs a job; None when none does."""
        for worker in [*self._workers, *self._overdue]:
            job = worker.job
            if job is not None and job.id == job_id and worker.thread is not None:
                text = of_thread(worker.thread.ident)
                # It may have taken another job meanwhile.
                return Stack(worker.thread.name, text) if text is not None and worker.job is job else None
        return None

    def stop(self) -> None:
        """Let every worker end after its current job."""
        with self._mutex:
            self._stopping = True
            idle = [self._pop_idle() for _ in range(len(self._idle))]
        for worker in idle:
            worker.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the threads to end; return False when some have not after `timeout` seconds each."""
        for worker in list(self._workers):
            if worker.thread is not None and worker.thread.ident != threading.get_ident():
                worker.thread.join(timeout)
        return not self._workers

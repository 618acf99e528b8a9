"""The threads that run jobs, and the short buffer of claimed jobs that they take from.

A worker that runs dry adds itself to the idle list and sleeps on a lock of its own; who brings work wakes as many as
there is work for. Workers hold no database connection: a finished job's outcome goes to `report`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from embedq.interrupts import Interruptible
from embedq.liveness import RunningNotes
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.cpu import ThreadCpu
from embedq.worker.execution import Execution
from embedq.worker.stacks import Stack, of_thread

logger = logging.getLogger("embedq")

# Threads that were given up on are replaced, up to this many for each configured worker; then the process is beyond
# help, and says so.
REPLACEMENTS = 10


class Worker:
    """One thread.

    Attributes:
        since: when it took its job, on the monotonic clock; 0.0 while it has none. Set before the job leaves the buffer
            and unset after its outcome was reported, so that a job is never out of everybody's sight.
        retired: it ends after the job it is in.
    """

    __slots__ = ("gate", "job", "retired", "since", "thread")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.since = 0.0
        self.retired = False
        self.job: ClaimedJob | None = None
        self.thread: threading.Thread | None = None


class Promise:
    """An idle worker, for one job that is about to be inserted as running.

    Attributes:
        void: nobody waits for it any more.
    """

    __slots__ = ("void",)

    def __init__(self) -> None:
        self.void = False


class WorkerPool:
    """`size` threads that run what is submitted.

    Args:
        report: takes each outcome; called in the worker's thread, and must not raise or block.
        notes: where each worker notes what it runs.
    Attributes:
        limit: how many may run jobs at a time; `size` unless somebody lowers it (`set_limit`).
    """

    def __init__(
        self, size: int, *, execution: Execution, report: Callable[[Outcome], None], notes: RunningNotes
    ) -> None:
        self.size = self.limit = size
        self.buffer: deque[ClaimedJob] = deque()
        self._execution = execution
        self._report = report
        self._notes = notes
        self._mutex = threading.Lock()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._overdue: set[Worker] = set()
        self._promised: set[Promise] = set()
        # Workers that were called from their rest and have not come yet.
        self._called = 0
        self._stopping = False
        self._threads_made = 0

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self.size):
            self._hire()

    def _hire(self) -> None:
        worker = Worker()
        self._threads_made += 1
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=f"embedq-worker-{self._threads_made}", daemon=True
        )
        with self._mutex:
            self._workers.add(worker)
        worker.thread.start()

    # -- bringing work -------------------------------------------------------------------------------------------------

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
            worker = self._call()
        worker.gate.release()
        return True

    def _call(self) -> Worker:
        """An idle worker, whose gate is then to be opened; with the mutex."""
        self._called += 1
        return self._idle.pop()

    def set_limit(self, limit: int) -> None:
        """Let no more than `limit` jobs run at a time. Those that run go on."""
        self.limit = limit
        for _ in range(len(self.buffer)):
            if not self._wake_one():
                break

    def reserve(self, promise: Promise) -> bool:
        """Promise an idle worker to a job that is about to be inserted as running here; False if there is none."""
        if not self._may_promise:
            return False
        with self._mutex:
            if self._stopping or promise.void or not self._may_promise:
                return False
            self._promised.add(promise)
            return True

    @property
    def _may_promise(self) -> bool:
        """Whether there is a worker that neither a job in the buffer nor another promise needs."""
        return len(self.buffer) <= self._called and self._free > len(self._promised)

    def cancel(self, promise: Promise) -> bool:
        """Let the worker have other jobs, now or when it would be reserved. Whether it was."""
        with self._mutex:
            promise.void = True
            given = promise in self._promised
            self._promised.discard(promise)
            return given

    def hand_over(self, promise: Promise, job: ClaimedJob) -> None:
        """Give the job to the worker that was reserved for it."""
        self.buffer.append(job)
        with self._mutex:
            self._promised.discard(promise)
            worker = self._call() if self._idle else None
        if worker is not None:
            worker.gate.release()

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

    # -- what the dispatcher asks --------------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        """Workers that wait for work, as far as the limit lets them start."""
        idle = len(self._idle)
        return idle if self.limit >= self.size else min(idle, self.limit - (len(self._workers) - idle))

    @property
    def idle(self) -> int:
        """Workers that wait for work, may have some, and are promised to nobody."""
        return max(0, self._free - len(self._promised))

    @property
    def running(self) -> int:
        """Workers that have a job, overdue ones included."""
        return len(self._workers) - len(self._idle) + len(self._overdue)

    @property
    def promised(self) -> int:
        """Workers that are promised to jobs that are being inserted."""
        return len(self._promised)

    @property
    def busy(self) -> bool:
        """Whether any job is in a worker's hands, overdue ones included, or promised to one."""
        return bool(self._promised) or self.latest_start > 0.0

    @property
    def latest_start(self) -> float:
        """When the job that started last of those that run did, on the monotonic clock; 0.0 when none runs."""
        return max((worker.since for worker in [*self._workers, *self._overdue]), default=0.0)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self, worker: Worker) -> None:
        interruptible, cpu = Interruptible(), ThreadCpu()
        slot = self._notes.take_slot()
        execution, report, note = self._execution, self._report, self._notes.note
        try:
            while not worker.retired:
                job = self._next(worker)
                if job is None:
                    break
                worker.job = job
                note(slot, job.id)
                outcome = execution.run(job, interruptible, cpu)
                # Reported before it is un-noted: a crash between the two then counts as one, which is the safe side.
                report(outcome)
                note(slot, 0)
                worker.job = None
                worker.since = 0.0
        except BaseException:
            # Not a job's error: those are outcomes. Without its thread the pool would shrink in silence.
            logger.critical("a worker thread failed; it is replaced", exc_info=True)
            if not self._stopping:
                self._hire()
        finally:
            self._notes.free_slot(slot)
            with self._mutex:
                worker.job = None
                worker.since = 0.0
                self._workers.discard(worker)
                self._overdue.discard(worker)

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
                self._called -= 1

    @property
    def _within_limit(self) -> bool:
        """Whether one of those that are not idle, which asks, may have another job."""
        return self.limit >= self.size or len(self._workers) - len(self._idle) <= self.limit

    # -- trouble and the end -------------------------------------------------------------------------------------------

    def replace(self, job_id: int, claim: int) -> bool:
        """Hire another worker for the one that does not give up this job; that one ends when the job does."""
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
            self._hire()
        return True

    def stack_of(self, job_id: int) -> Stack | None:
        """Where the thread is that runs a job; None when none does."""
        for worker in [*self._workers, *self._overdue]:
            job = worker.job
            if job is not None and job.id == job_id and worker.thread is not None:
                text = of_thread(worker.thread.ident)
                # It may have gone on to another meanwhile.
                return Stack(worker.thread.name, text) if text is not None and worker.job is job else None
        return None

    def stop(self) -> None:
        """Let every worker end after the job it is in."""
        with self._mutex:
            self._stopping = True
            idle, self._idle = self._idle, []
            self._called += len(idle)
        for worker in idle:
            worker.gate.release()

    def join(self, timeout: float) -> bool:
        """Wait for the threads to end; False when some have not by then."""
        for worker in list(self._workers):
            if worker.thread is not None and worker.thread is not threading.current_thread():
                worker.thread.join(timeout)
        return not self._workers

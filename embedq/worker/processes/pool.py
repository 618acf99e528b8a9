"""Jobs with executor="process": each in a child process, so that computing does not slow down the app's threads, and
a job can be killed without the app.

Each child belongs to a thread here, which starts it for the first job, sends it one job after another and handles its
messages (run.py). A child ends when it had no job for `process_idle` seconds, after `process_max_jobs` jobs, after a
job that was interrupted or ran out of memory, and when it dies. Claims, outcomes and retry policies are as for any job;
when a child dies with its job, its thread starts another.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from embedq.config import Settings
from embedq.errors import ConfigurationError, ParkError
from embedq.observability.log import get_logger
from embedq.process import job_process, supervision
from embedq.process.supervision import Supervised
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.execution import Execution
from embedq.worker.parts import WorkerParts
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.processes.handle import JobProcess
    from embedq.worker.processes.protocol import ChildSetup, PackedCallable
    from embedq.worker.processes.run import ProcessRun

logger = get_logger()

# How long a child gets to send the stack of its job.
STACK_SECONDS = 0.5


class ProcessWorker:
    """One thread, and its child process. The kernel ends the child with the thread.

    Attributes:
        job: its current job, from when it took it until after the outcome was reported.
    """

    __slots__ = ("inbox", "job", "process", "thread")

    def __init__(self) -> None:
        # True: read whether a job waits. False: end.
        self.inbox: SimpleQueue[bool] = SimpleQueue()
        self.process: JobProcess | None = None
        self.job: ClaimedJob | None = None
        self.thread: Supervised | None = None


class ProcessPool:
    """Runs up to `settings.process_count` jobs at a time.

    Args:
        report: takes each outcome; called in a worker's thread, and must not raise or block.
        lost: called when a worker's thread has ended unexpectedly, with its job, if it had one, and the error.
    """

    def __init__(
        self,
        parts: WorkerParts,
        *,
        execution: Execution,
        report: Callable[[Outcome], None],
        lost: Callable[[ClaimedJob | None, BaseException], None],
    ) -> None:
        self.size = parts.settings.process_count
        self._settings = parts.settings
        self._execution = execution
        self._resolver = parts.resolver
        self._report = report
        self._lost = lost
        self._running_jobs = parts.running_jobs
        # Each child holds it open, so that this process is not taken for dead before they are gone; -1 for none.
        self._hold = parts.lock_descriptor
        self._mutex = threading.RLock()
        self._workers: set[ProcessWorker] = set()
        # The one that had a job last is used first, so that those that are not needed become idle.
        self._idle: list[ProcessWorker] = []
        self._waiting: deque[ClaimedJob] = deque()
        self._running: set[tuple[int, int]] = set()
        self._runs: dict[int, ProcessRun] = {}
        self._made = 0

    @property
    def room(self) -> int:
        """How many more jobs it can take."""
        return self.size - len(self._running) - len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether any job is running, or its outcome is not yet reported."""
        return bool(self._waiting or any(worker.job is not None for worker in list(self._workers)))

    def held(self) -> set[tuple[int, int]]:
        """Return the claims of jobs that wait or run here."""
        waiting = list(self._waiting)
        return {(job.id, job.claim) for job in (*waiting, *(worker.job for worker in list(self._workers))) if job}

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Start the jobs; no more than there is room for."""
        self._waiting.extend(jobs)
        self.wake()

    def wake(self) -> None:
        """Wake a worker for each job that waits."""
        for _ in range(len(self._waiting)):
            with self._mutex:
                worker = self._idle.pop() if self._idle else None
                full = len(self._workers) >= self.size
            if worker is not None:
                worker.inbox.put(True)
            elif not full:
                self._add_worker()

    def _add_worker(self) -> None:
        worker = ProcessWorker()
        self._made += 1
        with self._mutex:
            self._workers.add(worker)
        try:
            worker.thread = supervision.start(f"embedq-process-{self._made}", partial(self._keep, worker))
        except BaseException:
            with self._mutex:
                self._workers.discard(worker)
            raise

    def stack_of(self, job_id: int) -> Stack | None:
        """Return where a job is; None when it runs in no child of this process, or the child does not respond."""
        run = self._runs.get(job_id)
        return None if run is None else run.stack(STACK_SECONDS)

    def stop(self, timeout: float) -> None:
        """End the children; call it when none is busy."""
        with self._mutex:
            workers, self._idle = list(self._workers), []
        for worker in workers:
            worker.inbox.put(False)
        deadline = time.monotonic() + timeout
        for worker in workers:
            if worker.thread is not None:
                worker.thread.join(max(0.0, deadline - time.monotonic()))

    # -- a worker's thread ---------------------------------------------------------------------------------------------

    def _keep(self, worker: ProcessWorker) -> None:
        slot = self._running_jobs.take_slot()
        try:
            while (job := self._next(worker)) is not None:
                self._running_jobs.note_elsewhere(slot, job.id)
                outcome = self._run(worker, job)
                with self._mutex:
                    # Free before the report: the dispatcher, once woken, claims the next job for it.
                    self._running.discard((job.id, job.claim))
                    self._idle.append(worker)
                self._report(outcome)
                # As in worker/pool.py: a crash of this process between the two counts as one of the job, the safe side.
                self._running_jobs.note_elsewhere(slot, 0)
                worker.job = None
        except BaseException as error:
            self._after_fault(worker, error)
            raise
        finally:
            self._running_jobs.free_slot(slot)
        with self._mutex:
            self._workers.discard(worker)
        if worker.process is not None:
            worker.process.shut_down()

    def _after_fault(self, worker: ProcessWorker, error: BaseException) -> None:
        """Let the thread start again, with another child, without losing a job."""
        job, process = worker.job, worker.process
        with self._mutex:
            if worker in self._idle:
                self._idle.remove(worker)
            if job is not None:
                self._running.discard((job.id, job.claim))
        if process is not None:
            # Before the report: others may run the job from then on.
            worker.process = None
            process.reap()
        self._lost(job, error)
        worker.job = None

    def _next(self, worker: ProcessWorker) -> ClaimedJob | None:
        """Return the next job; None when the thread is to end."""
        while True:
            with self._mutex:
                if self._waiting:
                    if worker in self._idle:
                        self._idle.remove(worker)
                    # For a moment it is in both, and never in neither.
                    worker.job = job = self._waiting[0]
                    self._running.add((job.id, job.claim))
                    self._waiting.popleft()
                    return job
                if worker not in self._idle:
                    self._idle.append(worker)
            try:
                if not worker.inbox.get(timeout=self._settings.process_idle):
                    return None
            except Empty:
                with self._mutex:
                    if worker in self._idle:
                        self._idle.remove(worker)
                        # From here on another may be added in its place.
                        self._workers.discard(worker)
                        return None

    def _run(self, worker: ProcessWorker, job: ClaimedJob) -> Outcome:
        from embedq.worker.processes.run import ProcessRun

        run = ProcessRun(
            job,
            worker.process,
            execution=self._execution,
            resolver=self._resolver,
            make_setup=self._setup,
            hold=self._hold,
        )
        self._runs[job.id] = run
        try:
            outcome = run.run()
        finally:
            del self._runs[job.id]
        worker.process = run.process
        most = self._settings.process_max_jobs
        if worker.process is not None and (
            worker.process.exhausted or (most is not None and worker.process.jobs >= most)
        ):
            worker.process.shut_down()
            worker.process = None
        return outcome

    def _setup(self) -> ChildSetup:
        """Return the setup of a new child.

        Raises:
            ParkError: there is middleware that cannot be sent to a child.
        """
        from embedq.worker.processes.imports import describe_main
        from embedq.worker.processes.protocol import ChildSetup

        default = None if job_process.default_app is None else _plain(job_process.default_app())
        enqueue_middleware = [] if default is None else default.pop("enqueue_middleware")
        levels = {
            name: found.level
            for name, found in logging.root.manager.loggerDict.items()
            if isinstance(found, logging.Logger) and found.level
        }
        return ChildSetup(
            path=[str(path) for path in sys.path],
            argv=list(sys.argv),
            main=describe_main(),
            settings=Settings(**_plain(self._settings.keywords())),
            default_app=default,
            enqueue_middleware=self._packed(enqueue_middleware, "enqueue middleware"),
            middleware=self._packed(self._execution.middleware, "middleware"),
            log_levels={"": logging.root.level, **levels},
        )

    def _packed(self, functions: Sequence[Callable[..., object]], role: str) -> list[PackedCallable]:
        from embedq.worker.processes.imports import pack_callable

        try:
            return [pack_callable(function, role) for function in functions]
        except ConfigurationError as error:
            raise ParkError(str(error), needs=f"{role} that can be sent to a process") from error


def _plain(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords without `connect`, which only this process has: a child connects by the URL."""
    return {name: value for name, value in keywords.items() if name != "connect"}

"""Jobs with executor="process": each in a process of its own, so that computing does not hold up the app's threads, and
so that a job can be killed without it.

Each process belongs to a thread here, its *keeper*, which starts it for the first job, hands it one job after another
and listens to it (process_run.py). A process ends when nothing has come for `process_idle` seconds, after
`process_max_jobs` jobs, after a job that was interrupted or ran out of memory, and when it dies. The claim, the outcome
and the retry policy are as for any job; what dies with a job is its process, and its keeper starts another.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from embedq import job_process
from embedq.config import Settings
from embedq.errors import ConfigurationError, ParkError
from embedq.liveness import RunningNotes
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.execution import Execution
from embedq.worker.resolving import Resolver
from embedq.worker.stacks import Stack

if TYPE_CHECKING:
    from embedq.worker.process_handle import JobProcess
    from embedq.worker.process_link import Packed, Setup
    from embedq.worker.process_run import ProcessRun

logger = logging.getLogger("embedq")

# How long a process is waited for that is asked where its job is.
STACK_SECONDS = 0.5


class Keeper:
    """One thread, and the process that it has for its jobs. The kernel ends the process with the thread."""

    __slots__ = ("inbox", "process", "thread")

    def __init__(self) -> None:
        # None: leave.
        self.inbox: SimpleQueue[ClaimedJob | None] = SimpleQueue()
        self.process: JobProcess | None = None
        self.thread: threading.Thread | None = None


class ProcessPool:
    """Runs up to `settings.process_count` jobs at a time.

    Args:
        report: takes each outcome; called in a keeper's thread, and must not raise or block.
        hold: a descriptor that each process holds open, so that this one is not taken for dead before they are gone;
            -1 for none.
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
    ) -> None:
        self.size = settings.process_count
        self._settings = settings
        self._execution = execution
        self._resolver = resolver
        self._report = report
        self._notes = notes
        self._hold = hold
        self._mutex = threading.Lock()
        self._keepers: set[Keeper] = set()
        # The one that had a job last is first, so that those that are not needed grow old.
        self._idle: list[Keeper] = []
        self._running: set[tuple[int, int]] = set()
        self._runs: dict[int, ProcessRun] = {}
        self._reporting = 0
        self._made = 0

    @property
    def room(self) -> int:
        """How many more jobs it takes."""
        return self.size - len(self._running)

    @property
    def busy(self) -> bool:
        """Whether any job is running, or its outcome is not yet reported."""
        return bool(self._running or self._reporting)

    def submit(self, jobs: Sequence[ClaimedJob]) -> None:
        """Start the jobs; no more than there is room for."""
        for job in jobs:
            self._running.add((job.id, job.claim))
            with self._mutex:
                keeper = self._idle.pop() if self._idle else None
            if keeper is None:
                keeper = self._hire()
            keeper.inbox.put(job)

    def _hire(self) -> Keeper:
        keeper = Keeper()
        self._made += 1
        keeper.thread = threading.Thread(
            target=self._keep, args=(keeper,), name=f"embedq-process-{self._made}", daemon=True
        )
        with self._mutex:
            self._keepers.add(keeper)
        keeper.thread.start()
        return keeper

    def stack_of(self, job_id: int) -> Stack | None:
        """Where a job is; None when it runs in no process of this one, or its process does not say."""
        run = self._runs.get(job_id)
        return None if run is None else run.stack(STACK_SECONDS)

    def stop(self, timeout: float) -> None:
        """End the processes; call it when none is busy."""
        with self._mutex:
            keepers, self._idle = list(self._keepers), []
        for keeper in keepers:
            keeper.inbox.put(None)
        deadline = time.monotonic() + timeout
        for keeper in keepers:
            if keeper.thread is not None:
                keeper.thread.join(max(0.0, deadline - time.monotonic()))

    # -- a keeper's thread ---------------------------------------------------------------------------------------------

    def _keep(self, keeper: Keeper) -> None:
        slot = self._notes.take_slot()
        try:
            while (job := self._next(keeper)) is not None:
                self._notes.note(slot, job.id)
                outcome = self._run(keeper, job)
                with self._mutex:
                    # Free before it is reported: the dispatcher that hears of it has the next job for it.
                    self._reporting += 1
                    self._running.discard((job.id, job.claim))
                    self._idle.append(keeper)
                self._report(outcome)
                # As in pool.py: a crash of this process between the two counts as one, which is the safe side.
                self._notes.note(slot, 0)
                with self._mutex:
                    self._reporting -= 1
        except BaseException:
            logger.critical("a thread that keeps a job's process failed", exc_info=True)
            raise
        finally:
            self._notes.free_slot(slot)
            with self._mutex:
                self._keepers.discard(keeper)
            if keeper.process is not None:
                keeper.process.leave()

    def _next(self, keeper: Keeper) -> ClaimedJob | None:
        """The next job; None when it is time to leave."""
        try:
            return keeper.inbox.get(timeout=self._settings.process_idle)
        except Empty:
            with self._mutex:
                if keeper in self._idle:
                    self._idle.remove(keeper)
                    return None
        # Something is on its way.
        return keeper.inbox.get()

    def _run(self, keeper: Keeper, job: ClaimedJob) -> Outcome:
        from embedq.worker.process_run import ProcessRun

        run = ProcessRun(
            job,
            keeper.process,
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
        keeper.process = run.process
        most = self._settings.process_max_jobs
        if keeper.process is not None and (keeper.process.worn or (most is not None and keeper.process.jobs >= most)):
            keeper.process.leave()
            keeper.process = None
        return outcome

    def _setup(self) -> Setup:
        """What a new process must know.

        Raises:
            ParkError: there is middleware that cannot be sent to one.
        """
        from embedq.worker.process_imports import describe_main
        from embedq.worker.process_link import Setup

        default = None if job_process.default_app is None else _plain(job_process.default_app())
        enqueue_middleware = [] if default is None else default.pop("enqueue_middleware")
        levels = {
            name: found.level
            for name, found in logging.root.manager.loggerDict.items()
            if isinstance(found, logging.Logger) and found.level
        }
        return Setup(
            path=[str(path) for path in sys.path],
            argv=list(sys.argv),
            main=describe_main(),
            settings=Settings(**_plain(self._settings.keywords())),
            default_app=default,
            enqueue_middleware=self._packed(enqueue_middleware, "enqueue middleware"),
            middleware=self._packed(self._execution.middleware, "middleware"),
            log_levels={"": logging.root.level, **levels},
        )

    def _packed(self, functions: Sequence[Callable[..., object]], role: str) -> list[Packed]:
        from embedq.worker.process_imports import pack_callable

        try:
            return [pack_callable(function, role) for function in functions]
        except ConfigurationError as error:
            raise ParkError(str(error), needs=f"{role} that can be sent to a process") from error


def _plain(keywords: dict[str, Any]) -> dict[str, Any]:
    """Without what only this process has: how to connect. There the URL says it."""
    return {name: value for name, value in keywords.items() if name != "connect"}

"""Running jobs at once, in the calling thread, with the code that runs them in production.

One job is claimed (`claiming`), run and finished at a time, each step in a transaction as the dispatcher writes it. So
what runs next is decided when the one before has ended.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType

from embedq.clock import SECOND, to_datetime
from embedq.errors import JobInterrupt
from embedq.flow.lanes import unlaned
from embedq.job import JobState
from embedq.maintenance import scheduler
from embedq.maintenance.membership import rescue
from embedq.process import faults
from embedq.process.interrupts import Shielded, interruptible
from embedq.process.registration import Registration
from embedq.storage import holds, inspect, schedules, servers, upkeep
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.storage.servers import Identity, ServerRow
from embedq.tasks.context import JobContext
from embedq.testing.claiming import Claimer
from embedq.testing.enqueued import EnqueuedJob, Journal
from embedq.testing.errors import EndlessJobsError
from embedq.testing.reports import JobRun, Report, WaitingJob
from embedq.testing.standin import EngineUnderTest
from embedq.testing.waiting import reasons, situation
from embedq.version import VERSION
from embedq.worker.async_execution import run_alone
from embedq.worker.execution import Execution
from embedq.worker.loops import SharedLoopSettings, close
from embedq.worker.notes import Notes
from embedq.worker.parent_results import load_result
from embedq.worker.records import log_outcomes
from embedq.worker.resolving import Resolver
from embedq.worker.runs import Watchdog
from embedq.worker.turn import turn

# A drain that has run this many jobs, with more due, is considered endless.
MOST_RUNS = 1000
# Jobs that run inside the enqueue of another job; Python itself takes some forty.
MOST_NESTED = 20
PRUNE_BATCH = 500


class Runner:
    """Runs what is due on one engine.

    Args:
        journal: has the jobs by id.
    """

    def __init__(self, engine: EngineUnderTest, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self._notes = Notes(engine.clock)
        self._watchdog: Watchdog | None = None
        self._claimer = Claimer(engine)
        self._loop = JobLoop()
        self._server_id = 0
        self._lock = threading.Lock()
        self._nested = 0
        self._raised: dict[tuple[int, int], BaseException] = {}

    def close(self) -> None:
        """Stop everything that was started."""
        self._loop.close()
        if self._watchdog is not None:
            self._watchdog.stop()

    # -- what is due ---------------------------------------------------------------------------------------------------

    def run_due(self, *, queue: str | None = None, limit: int | None = None) -> Report:
        """Run what is due now, and what that enqueues, until nothing is left.

        Args:
            queue: only jobs of this queue.
            limit: stop after this many runs.
        Raises:
            EndlessJobsError: without a limit, `MOST_RUNS` were not enough.
        """
        if self._nested >= MOST_NESTED:
            raise EndlessJobsError(
                f"{MOST_NESTED} jobs run inside each other here, each in the enqueue of the one before; do they "
                "enqueue each other without end? Without inline mode, drain() runs them one after another"
            )
        with self._lock:
            self._nested += 1
        try:
            return self._run_due(queue, limit)
        finally:
            with self._lock:
                self._nested -= 1

    def _run_due(self, queue: str | None, limit: int | None) -> Report:
        engine = self._engine
        self._rescue_the_dead()
        scheduler.fire_due(engine.database, engine.clock, engine.settings.retention)
        self._journal.read()
        execution = self._execution()
        needs = [need for need in engine.database.read(inspect.parked_needs) if self._resolver.has(need)]
        ran: list[JobRun] = []
        self._claimer.begin()
        while limit is None or len(ran) < limit:
            if limit is None and len(ran) >= MOST_RUNS:
                last = "\n".join(f"  {run}" for run in ran[-3:])
                message = (
                    f"{len(ran):,} jobs have run, and more are due; do they enqueue each other without end? "
                    f"drain(limit=…) runs that many. The last were:\n{last}"
                )
                self._claimer.refuse_more(queue, tuple(needs), message, server_id=self._registered())
            job = self._claimer.claim(queue, tuple(needs), server_id=self._registered())
            if job is None:
                break
            run = self._run(execution, job)
            if run.state is JobState.PARKED:
                # It was parked again: it still lacks what it needs.
                needs.clear()
            ran.append(run)
        return Report(tuple(ran))

    def waiting(self, queue: str | None) -> tuple[WaitingJob, ...]:
        """Return what the last run of what is due has left: jobs that wait for a limit, or are paused."""
        if not self._claimer.barred:
            return ()
        found = self._engine.database.read(reasons, queue, now=self._engine.clock.now())
        return tuple(WaitingJob(self._journal.entry(job_id), one.text, one.limits) for job_id, one in found)

    def situation(self, job_id: int) -> tuple[tuple[str, ...], str]:
        """Return the limits that a job waits for, and what it does, in words."""
        return self._engine.database.read(situation, job_id, now=self._engine.clock.now())

    def crash_next(self, queue: str | None) -> EnqueuedJob:
        """Let another process claim the most urgent job that is due, and then do nothing more."""
        engine = self._engine
        scheduler.fire_due(engine.database, engine.clock, engine.settings.retention)
        now = engine.clock.now()
        other = engine.database.write(servers.register, _identity("another host"), now=now)
        self._claimer.begin()
        job = self._claimer.claim(queue, (), server_id=other)
        if job is None:
            engine.database.write(servers.remove, other)
            raise LookupError("no job is due that another process could take; enqueue one, or let its time come")
        self._journal.read()
        return self._journal.entry(job.id)

    def _rescue_the_dead(self) -> None:
        """Rescue the jobs of processes that had no heartbeat for their lease."""
        engine = self._engine
        for row, gone_at in self._leases():
            if gone_at <= engine.clock.now():
                # None of them is on this host, so no lock file is checked.
                rescue(engine.database, row, folder=Path(), host="", settings=engine.settings, now=engine.clock.now())

    def _leases(self) -> list[tuple[ServerRow, int]]:
        """Return each other process, and when its lease is over, in microseconds."""
        lease = int(self._engine.settings.lease * SECOND)
        rows = self._engine.database.read(servers.others, self._server_id)
        return [(row, row.heartbeat_at + lease + 1) for row in rows]

    # -- one job -------------------------------------------------------------------------------------------------------

    def _run(self, execution: Execution, job: ClaimedJob) -> JobRun:
        outcome = self._outcome(execution, job)
        engine = self._engine
        error = self._raised.pop((job.id, job.claim), None)
        engine.database.write(
            turn, [outcome], None, self._notes.take(), now=engine.clock.now(), settings=engine.settings
        )
        log_outcomes([outcome])
        self._journal.read()
        if error is not None and _is_the_tests_own(error):
            raise error
        return JobRun(
            job=self._journal.entry(job.id),
            attempt=job.attempt,
            at=to_datetime(outcome.started_at),
            ending=outcome.ending,
            state=outcome.state,
            error=outcome.error,
            traceback=outcome.traceback,
            exception=error,
            retry_at=None if outcome.retry_at is None else to_datetime(outcome.retry_at),
        )

    def _outcome(self, execution: Execution, job: ClaimedJob) -> Outcome:
        # In contexts as in production: the job does not see what the test or a request has set there.
        # Shielded: the timeout of the job that enqueued this one, inline, does not apply to this one.
        with Shielded():
            if unlaned(job.executor) == "async":
                return self._loop.run(execution, job)
            with interruptible() as thread:
                return execution.run(job, thread)

    def _execution(self) -> Execution:
        """With the settings and the middleware that the app has by now."""
        engine = self._engine
        with self._lock:
            if self._watchdog is None:
                settings = engine.settings
                self._watchdog = Watchdog(grace=settings.interrupt_grace, cancel_grace=settings.cancel_grace)
                self._watchdog.start()
        return Execution(
            settings=engine.settings,
            clock=engine.clock,
            resolver=self._resolver,
            middleware=[partial(Witness, self._raised), *engine.middleware],
            watchdog=self._watchdog,
            registration=Registration(self._registered()),
            notes=self._notes,
            load_parent=partial(load_result, engine.database),
            on_overdue=lambda run: self._notes.overdue(run.job.id, run.job.claim),
            contexts=engine.contexts,
        )

    @property
    def _resolver(self) -> Resolver:
        return Resolver(self._engine.registry, lambda: self._engine.key)

    def _registered(self) -> int:
        """The number of this process: jobs are claimed by those that have one."""
        with self._lock:
            if not self._server_id:
                now = self._engine.clock.now()
                self._server_id = self._engine.database.write(
                    servers.register, _identity(socket.gethostname()), now=now
                )
            return self._server_id

    # -- time ----------------------------------------------------------------------------------------------------------

    def next_moment(self) -> int | None:
        """When next a job or an occurrence is due, a pause ends, a rate allows a start, or a process is given up.

        In microseconds; None if nothing is to come.
        """
        database = self._engine.database
        due = [database.read(inspect.next_due), database.read(schedules.next_fire)]
        due.append(database.read(holds.snapshot).next_end(self._engine.clock.now()))
        due += [self._claimer.look_at, *(gone_at for _, gone_at in self._leases())]
        return min((moment for moment in due if moment is not None), default=None)

    def prune(self) -> None:
        """Delete what has been kept long enough by now. The journal keeps what it has read."""
        self._journal.read()
        database, now = self._engine.database, self._engine.clock.now()
        pruned = upkeep.Pruned(0, upkeep.FROM_START, more=True)
        while pruned.more:
            pruned = database.write(upkeep.prune_jobs, now=now, limit=PRUNE_BATCH, cursor=pruned.then)
        database.write(upkeep.prune_history, now=now)


def _identity(host: str) -> Identity:
    """That of a process which works, on a host."""
    return Identity(
        uuid=str(uuid.uuid4()), host=host, hostname=host, pid=os.getpid(), version=VERSION, workers=1, queues=None
    )


class Witness:
    """The outermost middleware: notes what a run raises."""

    __slots__ = ("_job", "_raised")

    def __init__(self, raised: dict[tuple[int, int], BaseException], job: JobContext) -> None:
        self._raised = raised
        self._job = job

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if error is not None:
            self._raised[self._job.id, self._job.claim] = error


def _is_the_tests_own(error: BaseException) -> bool:
    """Whether it is not the job's failure: Ctrl-C, `fail` and `skip` of pytest, and an end to jobs without end."""
    jobs = (Exception, JobInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)
    if members := faults.members(error):
        return any(_is_the_tests_own(member) for member in members)
    return faults.is_a(error, EndlessJobsError) or not faults.is_a(error, jobs)


class JobLoop:
    """The event loop of `async def` jobs: one for the whole test, on the calling thread if possible."""

    def __init__(self) -> None:
        self._own: asyncio.AbstractEventLoop | None = None
        self._shared: SharedLoopSettings
        self._taken = threading.Lock()

    def run(self, execution: Execution, job: ClaimedJob) -> Outcome:
        """Run a job to its end."""
        if _in_a_loop() or not self._taken.acquire(blocking=False):
            # An async test, or a job that was enqueued by one, has this thread's loop; a thread of its own has none.
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(self._run_on, asyncio.new_event_loop(), execution, job, closes=True).result()
        try:
            if self._own is None or self._own.is_closed():
                self._own = asyncio.new_event_loop()
                self._shared = SharedLoopSettings(self._own)
            try:
                return self._run_on(self._own, execution, job)
            finally:
                self._shared.reset()
        finally:
            self._taken.release()

    def _run_on(
        self, loop: asyncio.AbstractEventLoop, execution: Execution, job: ClaimedJob, *, closes: bool = False
    ) -> Outcome:
        try:
            # Ctrl-C ends the test.
            return run_alone(execution, job, loop, execution.contexts.fresh(), passes=(KeyboardInterrupt,))
        finally:
            if closes:
                close(loop)

    def close(self) -> None:
        """Close the loop."""
        if self._own is not None:
            close(self._own)


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

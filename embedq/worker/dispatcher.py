"""The one thread that claims jobs and records outcomes; everybody else is spared the database.

A *turn* is one transaction: outcomes go in, claims come out. How much it claims follows from what is free: a job for
each idle worker, and beyond that about as many as the workers got through in the last moments (`pace`).

Between turns it sleeps until the next due time, a wake-up from this process (an enqueue, an outcome), or the next look
at whether another process has written (`lookout`).

When the database fails the outcomes are kept and the turn is tried again, for as long as it takes (promise G9). When it
cannot be known whether a turn was written, the two compare notes first (`holdings`); when something in a turn cannot be
written at all, the rest is written without it (`salvage`).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from embedq.clock import SECOND, Clock
from embedq.config import Settings
from embedq.errors import StorageError, StorageUncertainError
from embedq.job import JobState
from embedq.liveness import RunningNotes
from embedq.storage import claims, inspect
from embedq.storage.base import Database, Transaction
from embedq.storage.claims import APART, EXECUTORS, Claim, Finished, Request
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.wakeup import WakeUp
from embedq.worker import salvage
from embedq.worker.execution import Execution
from embedq.worker.holdings import Holdings
from embedq.worker.lookout import Lookout
from embedq.worker.needs import Needs
from embedq.worker.notes import Batch, Notes
from embedq.worker.pace import Pace
from embedq.worker.pool import Promise
from embedq.worker.quarantine import Quarantine
from embedq.worker.records import log_outcomes
from embedq.worker.resolving import Resolver
from embedq.worker.runners import Runners
from embedq.worker.runs import Run, Watchdog
from embedq.worker.stacks import Stack

logger = logging.getLogger("embedq")

# Outcomes that come close together share a transaction.
LINGER_SECONDS = 0.002
# Buffered jobs are given back when no worker has become free for this long.
STALE_SECONDS = 0.25
# How often log lines, progress and the needs of parked jobs are looked after.
CHORES_SECONDS = 0.5
LONGEST_BACKOFF = 5.0


class Dispatcher:
    """Feeds the workers of one process.

    Args:
        server_id: gives this process's number.
        hold: a descriptor that jobs' own processes hold open; see `ProcessPool`.
        ended: told which jobs have ended, once that is durable; called in this thread.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        database: Database,
        resolver: Resolver,
        watchdog: Watchdog,
        notes: RunningNotes,
        hold: int,
        make_execution: Callable[[Dispatcher], Execution],
        server_id: Callable[[], int],
        ended: Callable[[Sequence[int]], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._resolver = resolver
        self._watchdog = watchdog
        self._server_id = server_id
        self._ended = ended
        self.notes = Notes(clock)
        self._execution = make_execution(self)
        self._runners = Runners(
            settings, execution=self._execution, resolver=resolver, report=self.report, notes=notes, hold=hold,
            limited=lambda: self._wake.call(),
        )  # fmt: skip
        self._pool = self._runners.threads
        self._wake = WakeUp()
        # Whether somebody must call to be heard, and whether it sleeps only to collect more outcomes.
        self._asleep = False
        self._lingering = False
        self._thread: threading.Thread | None = None
        self._lookout = Lookout(database, poll=settings.poll, wake=self._wake.call)
        self._claiming = True
        self._closing = False

        self._outcomes: deque[Outcome] = deque()
        self._unwritten: list[Outcome] = []
        # The last turn may have written them.
        self._uncertain = False
        self._holdings = Holdings(database=database, clock=clock, settings=settings, server_id=server_id)
        # Claims that were taken from this process, and whose runs are still to be interrupted.
        self._taken: set[tuple[int, int]] = set()
        self._needs = Needs()
        self._quarantine = Quarantine()

        # The executors for which jobs may be ready, and when the next job is due.
        self._more = set(EXECUTORS)
        self._next_due: float = math.inf
        self._pace = Pace()
        self._turned_at = self._chores_at = self._progressed_at = 0.0

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers and the thread."""
        self._runners.start()
        self._lookout.open()
        self._thread = threading.Thread(target=self._loop, name="embedq-dispatcher", daemon=True)
        self._thread.start()

    def stop_claiming(self) -> None:
        """Claim no more, and give back what no worker has begun."""
        self._claiming = False
        self._wake.call()

    @property
    def busy(self) -> bool:
        """Whether a job is running, or an outcome is not yet recorded."""
        return bool(self._runners.busy or self._outcomes or self._unwritten)

    @property
    def threads_limit(self) -> int:
        """How many jobs may run at once on threads just now; fewer than there are workers where a guard says so."""
        return self._pool.limit

    def close(self, timeout: float) -> bool:
        """End the threads, once nothing is `busy`.

        Returns:
            False when an outcome could not be written within `timeout`: the thread goes on trying.
        """
        # From here on nothing can be reserved, so what is not busy stays so.
        self._runners.stop()
        self._closing = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        self._runners.join(timeout)
        return True

    def stack_of(self, job_id: int) -> Stack | None:
        """Where a job is at this moment; None when it does not run here."""
        return self._runners.stack_of(job_id)

    # -- what others say -----------------------------------------------------------------------------------------------

    def notify(self, run_at: int) -> None:
        """A job was inserted that is due at `run_at`."""
        if run_at <= self._clock.now():
            self._more.update(EXECUTORS)
            self._wake.call()
        elif run_at < self._next_due:
            self._next_due = run_at
            self._wake.call()

    def look_again(self) -> None:
        """Something changed that may matter here: a rescue, a new task."""
        self._needs.try_again()
        self._chores_at = 0.0
        self._more.update(EXECUTORS)
        self._wake.call()

    def report(self, outcome: Outcome) -> None:
        """Take an outcome from a worker."""
        self._outcomes.append(outcome)
        if self._asleep and len(self._pool.buffer) <= self._pace.low_water and (self._more or not self._lingering):
            self._wake.call()

    def overdue(self, run: Run) -> None:
        """Take note, from the watchdog, of a run that does not yield."""
        job = run.job
        logger.error(
            "job %s (%s) does not yield %s s after it was interrupted; its worker is replaced, and what it may yet "
            "return is refused", job.id, job.name, self._settings.interrupt_grace,
        )  # fmt: skip
        self._runners.replace(job.id, job.claim)
        self.notes.overdue(job.id, job.claim)
        self._wake.call()

    # -- handing over without the queue --------------------------------------------------------------------------------

    def promise(self) -> Promise:
        """For a job of which it is not yet known whether an idle worker can be promised to it."""
        return Promise()

    def reserve(self, promise: Promise) -> bool:
        """Promise an idle worker to a job that is about to be inserted as running; False to queue it as usual.

        Only while nothing waits: a job must not overtake those before it.
        """
        ready = self._claiming and "thread" not in self._more and not self._quarantine.closed
        ready = ready and not self._holdings.doubted
        if not (ready and self._pool.reserve(promise)):
            return False
        if self._holdings.doubted:
            # Said between the two: whoever compares now would miss this promise.
            self._pool.cancel(promise)
            return False
        return True

    def cancel(self, promise: Promise, *, uncertain: bool = False) -> None:
        """The insert did not happen; or, if `uncertain`, nobody knows."""
        if self._pool.cancel(promise) and uncertain:
            self._holdings.doubt()
        if uncertain:
            # It may be there, and wait.
            self._more.update(EXECUTORS)
        if uncertain or self._holdings.doubted:
            self._wake.call()

    def hand_over(self, promise: Promise, job: ClaimedJob) -> None:
        """Start the job that was inserted as running."""
        # It lies in the buffer until its worker has woken, and must not look as if it had lain there for long.
        self._progressed_at = time.monotonic()
        self._holdings.add([job])
        self._pool.hand_over(promise, job)
        self._runners.jobs_came()
        if self._holdings.doubted:
            self._wake.call()

    def doubt(self) -> None:
        """This process may hold claims that are not its own, or have some that it does not know of: find out."""
        self._holdings.doubt()
        self._wake.call()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        failures = 0
        while not (self._closing and not self.busy):
            try:
                if self._holdings.doubted:
                    self._reconcile()
                if self._taken:
                    self._withdraw()
                self._look()
                self._turn()
                failures = 0
            except Exception as error:
                if isinstance(error, StorageUncertainError):
                    self._uncertain = True
                    self._holdings.doubt()
                failures += 1
                pause = min(LONGEST_BACKOFF, 0.05 * 2**failures)
                log = logger.error if isinstance(error, StorageError) else logger.exception
                log("the queue cannot be reached; trying again in %.1f s, nothing is lost: %s", pause, error)
                self._more.update(EXECUTORS)
                time.sleep(pause)
                continue
            # Raised before the look at what there is to do: who comes after that look calls.
            self._asleep = True
            pause = self._pause()
            if pause > 0:
                self._wake.sleep(pause)
            self._asleep = self._lingering = False
        self._lookout.close()

    def _pause(self) -> float:
        """How long there is nothing to do, in seconds."""
        wanted = self._wanted()
        if wanted:
            return 0.0
        now = time.monotonic()
        if self._outcomes or self._unwritten:
            self._lingering = True
            return self._turned_at + LINGER_SECONDS - now
        until_poll = self._lookout.due_at - now
        if self._next_due != math.inf and any(self._limits().values()):
            until_poll = min(until_poll, (self._next_due - self._clock.now()) / SECOND)
        if self._quarantine.closed:
            until_poll = min(until_poll, self._quarantine.seconds_left() or self._settings.poll)
        return until_poll

    def _look(self) -> None:
        """See whether another process has written, and look after small things now and then."""
        now = time.monotonic()
        if not self._lookout.due(now):
            return
        if (news := self._lookout.news()) is not None:
            waiting = news.read(inspect.waiting, self._server_id(), self._settings.queues)
            if waiting.ready:
                self._more.update(EXECUTORS)
            if waiting.ready or waiting.cancels:
                news.found_work()
            self._quarantine.waiting = waiting.suspect
            self._next_due = math.inf if waiting.next_due is None else waiting.next_due
            for job_id, claim in waiting.cancels:
                self._cancel(job_id, claim)
        if now - self._chores_at >= CHORES_SECONDS:
            self._chores_at = now
            # Parked jobs whose need this process can meet are claimed like ready ones.
            self._needs.look(self._lookout.watch.read(inspect.parked_needs), self._resolver.has)
            if self._needs.known:
                self._more.update(EXECUTORS)
        if self._pool.buffer and now - self._progressed_at > STALE_SECONDS:
            self._give_back()

    def _cancel(self, job_id: int, claim: int) -> None:
        withdrawn = self._pool.withdraw(job_id, claim)
        if withdrawn is not None:
            self.report(self._execution.cancelled(withdrawn))
        else:
            self._watchdog.cancel(job_id, claim)

    def _reconcile(self) -> None:
        """Agree with the database about what is held here; see `holdings`."""
        if self._pool.promised:
            return
        found = self._holdings.compare(self._unwritten if self._uncertain else [])
        self._uncertain = False
        if found.written:
            self._unwritten = [outcome for outcome in self._unwritten if outcome not in found.written]
            ended = [outcome.job_id for outcome in found.written if outcome.state.ended]
            self._settle(found.written, Finished(refused=[], ended=ended, woken=True))
        taken = found.taken.difference((outcome.job_id, outcome.claim) for outcome in found.written)
        if taken:
            logger.warning("%d jobs were taken from this process; their runs here are interrupted", len(taken))
        self._taken.update(taken)
        self._more.update(EXECUTORS)

    def _withdraw(self) -> None:
        """Interrupt the runs of jobs that are not this process's any more, as soon as each can be."""
        for job_id, claim in list(self._taken):
            waiting = self._pool.withdraw(job_id, claim)
            if waiting is not None:
                self.report(self._execution.released(waiting))
            if waiting or (job_id, claim) not in self._holdings or self._watchdog.withdraw(job_id, claim):
                self._taken.discard((job_id, claim))

    def _give_back(self) -> None:
        for job in self._pool.take_back():
            self._outcomes.append(self._execution.released(job))

    # -- a turn --------------------------------------------------------------------------------------------------------

    def _limits(self) -> dict[str, int]:
        if not self._claiming or self._quarantine.closed:
            return {}
        return self._runners.room(prefetch=self._pace.prefetch, low_water=self._pace.low_water)

    def _wanted(self) -> dict[str, int]:
        """How many jobs to claim for each executor that has room and may have some waiting; empty for none."""
        due = self._next_due <= self._clock.now()
        if not due and not self._more:
            return {}
        limits = self._limits().items()
        return {executor: limit for executor, limit in limits if limit > 0 and (due or executor in self._more)}

    def _turn(self) -> None:
        if (not self._claiming or self._quarantine.calming) and self._pool.buffer:
            self._give_back()
        if not self._runners.has_processes:
            self._more.discard("process")
        wanted = self._wanted()
        request = self._request(wanted) if wanted else self._request_for_suspect()
        if request is None and time.monotonic() < self._turned_at + LINGER_SECONDS:
            return
        outcomes = self._take_outcomes()
        if not (outcomes or request or self.notes):
            return
        notes = self.notes.take()

        def claims_begin() -> None:
            # Who enqueues meanwhile can raise it again. Not before it is this thread's turn to write: who enqueued
            # until then has raised it for a job that is claimed now, and the next one would not be handed over.
            self._more.difference_update(wanted)
            self._next_due = math.inf

        try:
            claim, finished = self._database.write(
                turn,
                outcomes,
                request,
                notes,
                now=self._clock.now(),
                settings=self._settings,
                claims_begin=claims_begin,
            )
        except BaseException as error:
            self._unwritten = outcomes
            self.notes.put_back(notes)
            if not (salvage.unwritable(error) and (outcomes or self.notes)):
                raise
            self._salvage()
            self._more.update(EXECUTORS)
            return
        self._unwritten = []
        self._after(outcomes, finished, claim)

    def _salvage(self) -> None:
        """Something in the turn cannot be written: write the rest, and what there is to say of it."""
        notes = self.notes.take().pieces()
        try:
            for said in salvage.write_notes(self._database, notes):
                notes = notes[len(said) :]
        finally:
            for note in notes:
                self.notes.put_back(note)
        for lot, finished in salvage.write_outcomes(
            self._database, self._unwritten, now=self._clock.now(), settings=self._settings
        ):
            self._unwritten = self._unwritten[len(lot) :]
            self._settle(lot, finished)

    def _take_outcomes(self) -> list[Outcome]:
        outcomes = self._unwritten
        if self._outcomes:
            fresh = self._outcomes
            outcomes = [*outcomes, *(fresh.popleft() for _ in range(len(fresh)))]
        return outcomes

    def _request(self, wanted: dict[str, int]) -> Request:
        return Request(
            server_id=self._server_id(),
            limits=wanted,
            queues=self._settings.queues,
            known_needs=self._needs.known,
        )

    def _request_for_suspect(self) -> Request | None:
        """For the suspect that waits, when it may start here."""
        if not self._claiming or not self._quarantine.waiting or self._pool.buffer or self._pool.idle == 0:
            return None
        if not self._quarantine.admits(self._runners.latest_start):
            return None
        return Request(
            server_id=self._server_id(),
            limits={executor: 1 for executor in EXECUTORS if executor not in APART},
            queues=self._settings.queues,
            suspect=True,
        )

    def _after(self, outcomes: list[Outcome], finished: Finished, claim: Claim | None) -> None:
        now = time.monotonic()
        if outcomes:
            self._pace.measure(len(outcomes), now - self._turned_at)
            self._progressed_at = now
            self._settle(outcomes, finished)
        self._turned_at = now
        if finished.woken:
            self._more.update(EXECUTORS)
        if claim is None:
            return
        self._more.update(claim.full)
        self._quarantine.waiting = claim.suspect_waits
        if claim.next_due is not None:
            self._next_due = min(self._next_due, claim.next_due)
        self._start(claim.jobs)

    def _settle(self, outcomes: list[Outcome], finished: Finished) -> None:
        self._holdings.drop(outcomes)
        if self._quarantine.ended(outcomes):
            self._more.update(EXECUTORS)
        for outcome in finished.refused:
            logger.warning(
                "job %s (%s): a late outcome (%s) was refused; the job had been taken from this process",
                outcome.job_id, outcome.name, outcome.ending,
            )  # fmt: skip
        for outcome in outcomes:
            if outcome.state is JobState.PARKED and outcome.needs is not None:
                self._needs.lacks(outcome.needs)
        log_outcomes(outcomes if not finished.refused else [out for out in outcomes if out not in finished.refused])
        self._ended(finished.ended)

    def _start(self, claimed: list[ClaimedJob]) -> None:
        if not claimed:
            return
        if not self._pool.buffer:
            self._progressed_at = time.monotonic()
        self._quarantine.started(claimed)
        self._holdings.add(claimed)
        self._runners.submit(claimed)


def turn(
    tx: Transaction,
    outcomes: Sequence[Outcome],
    request: Request | None,
    notes: Batch,
    *,
    now: int,
    settings: Settings,
    claims_begin: Callable[[], None] = lambda: None,
) -> tuple[Claim | None, Finished]:
    """One turn's transaction: what jobs said, how they ended, and the next ones."""
    notes.write(tx)
    finished = claims.finish(tx, outcomes, now=now, retention=settings.retention)
    if request is None:
        return None, finished
    claims_begin()
    return claims.claim(tx, request, now=now, retention=settings.retention), finished

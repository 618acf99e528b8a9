"""The one thread that claims jobs and records outcomes. No other thread that runs jobs touches the database.

A *turn* is one transaction (`turn`): outcomes go in, claims come out. `claim_planner` decides how much it
claims.

Between turns it sleeps until the next job is due, a wake-up from this process (an enqueue, an outcome), or the next
check for writes of other processes (`change_poller`).

When the database fails, the outcomes are kept and the turn is repeated for as long as it takes (promise G9). When it is
unknown whether a turn was committed, the claims are compared with the database first (`reconciliation`). When something
in a turn cannot be written at all, the rest is written without it (`unwritable`).
"""

from __future__ import annotations

import json
import math
import time
from functools import partial

from embedq.errors import StorageError, StorageUncertainError
from embedq.flow.holds import Holds, is_hold
from embedq.observability.log import get_logger
from embedq.process import supervision
from embedq.process.supervision import Supervised
from embedq.process.wakeup import WakeUp
from embedq.storage import holds, inspect, servers
from embedq.storage.finishing import Finished
from embedq.storage.rows import ClaimedJob, Outcome
from embedq.worker.change_poller import ChangePoller
from embedq.worker.claim_ledger import ClaimLedger
from embedq.worker.claim_planner import ClaimPlanner
from embedq.worker.error_text import headline
from embedq.worker.execution import Execution
from embedq.worker.hand_over import DirectHandOver
from embedq.worker.notes import Notes
from embedq.worker.outcome_queue import OutcomeQueue
from embedq.worker.parent_results import load_result
from embedq.worker.parts import WorkerParts
from embedq.worker.reconciliation import Reconciler
from embedq.worker.runners import Runners
from embedq.worker.runs import Run
from embedq.worker.stacks import Stack
from embedq.worker.turn import LINGER_SECONDS, TurnRunner

logger = get_logger()

# Buffered jobs are given back when no worker has become free for this long.
STALE_SECONDS = 0.25
# How often restarted threads and the needs of parked jobs are checked.
CHORES_SECONDS = 0.5
LONGEST_BACKOFF = 5.0
PART = "dispatcher"


class Dispatcher:
    """Feeds the workers of one process.

    Attributes:
        hand_over: starts jobs that are enqueued while a worker is idle.
        outcomes: the outcomes that are not recorded yet.
    """

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._database = parts.database
        self._settings = parts.settings
        self._wake = WakeUp()
        # Whether the thread sleeps, so that it must be woken; and whether it sleeps only to collect more outcomes.
        self._asleep = self._lingering = False
        self._closing = False
        self._thread: Supervised | None = None

        self.outcomes = OutcomeQueue()
        self._notes = Notes(parts.clock)
        self._execution = self._make_execution(parts)
        self._builder = self._execution.outcomes
        self._runners = Runners(
            parts, execution=self._execution, report=self.report, lost=self._lost, limited=self._wake.call
        )
        self._pool = self._runners.threads
        self._ledger = ClaimLedger(parts)
        self._planner = ClaimPlanner(parts, self._runners)
        self._rate = self._planner.rate
        self._quarantine = self._planner.quarantine
        self._reconciler = Reconciler(
            parts, ledger=self._ledger, outcomes=self.outcomes, runners=self._runners, builder=self._builder
        )
        self._turns = TurnRunner(
            parts, runners=self._runners, builder=self._builder, notes=self._notes, outcomes=self.outcomes,
            ledger=self._ledger, planner=self._planner, reconciler=self._reconciler,
        )  # fmt: skip
        self.hand_over = DirectHandOver(
            parts, runners=self._runners, ledger=self._ledger, planner=self._planner, wake=self._wake
        )

        self._poller = ChangePoller(parts.database, poll=parts.settings.poll, wake=self._wake.call)
        # Whether the database has been read at all; suspects come before what is claimed first.
        self._has_polled = False
        # What of `supervision.restarts` is stored with this process, and under which number.
        self._stored_restarts: tuple[int, str] | None = None
        self._chores_at = 0.0

    def _make_execution(self, parts: WorkerParts) -> Execution:
        return Execution(
            settings=parts.settings,
            clock=parts.clock,
            registration=parts.registration,
            resolver=parts.resolver,
            middleware=parts.middleware,
            watchdog=parts.watchdog,
            notes=self._notes,
            load_parent=partial(load_result, parts.database),
            on_overdue=self._overdue,
            logs_failures=True,
        )

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the workers and the thread."""
        self._runners.start()
        self._poller.open()
        self._thread = supervision.start("embedq-dispatcher", self._work)

    def stop_claiming(self) -> None:
        """Claim no more, and give back what no worker has begun."""
        self._planner.claiming = False
        self._wake.call()

    @property
    def busy(self) -> bool:
        """Whether a job is running, or an outcome is not yet recorded."""
        return bool(self._runners.busy or self.outcomes)

    @property
    def threads_limit(self) -> int:
        """How many jobs may run at once on threads now; fewer than there are workers while a guard limits them."""
        return self._pool.limit

    def close(self, timeout: float) -> bool:
        """End the threads, once nothing is `busy`.

        Returns:
            False when an outcome could not be written within `timeout`: the thread keeps trying.
        """
        # From here on no worker can be reserved, so what is not busy remains so.
        self._runners.stop()
        self._closing = True
        self._wake.call()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        self._runners.join(timeout)
        return True

    def claimed_job_ids(self) -> set[int]:
        """Return the jobs that are claimed here: `ended` is called with them when they have ended."""
        return self._ledger.job_ids()

    def stack_of(self, job_id: int) -> Stack | None:
        """Return where a job is at this moment; None when it does not run here."""
        return self._runners.stack_of(job_id)

    # -- called by other threads ---------------------------------------------------------------------------------------

    def notify(self, run_at: int) -> None:
        """Record that a job was inserted that is due at `run_at`."""
        if self._planner.expect_at(run_at):
            self._wake.call()

    def look_again(self) -> None:
        """Read everything again: something changed that may matter here, such as a rescue or a new task."""
        self._planner.needs.try_again()
        self._chores_at = 0.0
        self._planner.expect_jobs()
        self._wake.call()

    @property
    def quiet(self) -> bool:
        """Whether this process claims nothing, because it is paused itself."""
        return self._planner.holds.quiet

    def barred(self, queue: str, task: str) -> bool:
        """Return whether such a job may not start here, as far as this process has read."""
        return self._planner.holds.bars(queue, task)

    def hold(self, paused: Holds) -> None:
        """Take what this process has just paused or resumed; jobs that have not begun go back."""
        self._planner.holds.replace(paused)
        self._turns.give_back()
        self._planner.expect_jobs()
        self._wake.call()

    def report(self, outcome: Outcome) -> None:
        """Take an outcome from a worker."""
        self.outcomes.reported.append(outcome)
        if (
            self._asleep
            and len(self._pool.buffer) <= self._rate.low_water
            and (self._planner.expected or not self._lingering)
        ):
            self._wake.call()

    def _lost(self, job: ClaimedJob | None, error: BaseException) -> None:
        """Handle the unexpected end of a thread that runs jobs, with the job it had; called in that thread."""
        self._reconciler.thread_ended = True
        self._ledger.mark_uncertain()
        if job is not None:
            key = job.id, job.claim
            if key in self._ledger and key not in self.outcomes.claims():
                cause = RuntimeError(f"the thread that ran this job ended: {headline(error)}")
                cause.__cause__ = error
                self.outcomes.reported.append(self._builder.lost(job, cause))
        self._wake.call()

    def _overdue(self, run: Run) -> None:
        """Replace the worker of a run that does not yield; called by the watchdog."""
        job = run.job
        logger.error(
            "job %s (%s) does not yield %s s after it was interrupted; its worker is replaced, and a result that it "
            "still returns is refused", job.id, job.name, self._settings.interrupt_grace,
        )  # fmt: skip
        self._runners.replace(job.id, job.claim)
        self._notes.overdue(job.id, job.claim)
        self._wake.call()

    def release_jobs(self, grace: float) -> tuple[int, int]:
        """Give back what has not begun, and interrupt what runs, since others may take both; return how many of each.

        Called again and again by the fence while contact with the database is lost.
        """
        return self._turns.give_back(), self._parts.watchdog.interrupt_unless_kept(grace)

    def mark_uncertain(self) -> None:
        """Compare the claims of this process with the database's."""
        self._ledger.mark_uncertain()
        self._wake.call()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._loop()
        except BaseException:
            self._recover()
            raise

    def _recover(self) -> None:
        """Restore a consistent state after an exception at any line of a turn."""
        self.outcomes.remove_duplicates()
        self._reconciler.turn_uncertain = self._reconciler.thread_ended = True
        self._ledger.mark_uncertain()
        self._planner.expect_jobs()
        self._asleep = self._lingering = False
        self._runners.wake()

    def _loop(self) -> None:
        failures = 0
        while not (self._closing and not self.busy):
            try:
                self._step()
            except Exception as error:
                failures += 1
                self._back_off(error, min(LONGEST_BACKOFF, 0.05 * 2**failures))
                continue
            failures = 0
            self._parts.outage.worked(PART)
            # Set before `_pause` reads what there is to do: a thread that adds something later wakes this one.
            self._asleep = True
            pause = self._pause()
            if pause > 0:
                self._wake.sleep(pause)
            self._asleep = self._lingering = False
        self._parts.outage.left(PART)
        self._poller.close()

    def _step(self) -> None:
        if self._reconciler.needed:
            self._reconcile()
        self._poll()
        self._end_trial()
        self._turns.take()
        if self._turns.unsettled:
            self._turns.settle_some()

    def _back_off(self, error: Exception, pause: float) -> None:
        if isinstance(error, StorageUncertainError):
            self._reconciler.turn_uncertain = True
            self._ledger.mark_uncertain()
        elif not isinstance(error, StorageError):
            self._recover()
        if isinstance(error, StorageError):
            self._parts.outage.failed(PART, error)
        else:
            logger.exception("trying again in %.1f s, nothing is lost: %s", pause, error)
        self._planner.expect_jobs()
        time.sleep(pause)

    def _pause(self) -> float:
        """Return for how long there is nothing to do, in seconds."""
        if self._planner.limits() or self._turns.unsettled:
            return 0.0
        now = time.monotonic()
        if self.outcomes or self._notes.behind:
            self._lingering = True
            return self._turns.ended_at + LINGER_SECONDS - now
        pause = min(self._poller.due_at - now, self._planner.seconds_until_due())
        if self._quarantine.closed or self._quarantine.waiting:
            pause = min(pause, self._quarantine.seconds_left() or self._settings.poll)
        return pause

    # -- between turns -------------------------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        reconciler = self._reconciler
        reconciler.drop_stray_claims()
        written = reconciler.compare()
        if written:
            ended = [outcome.job_id for outcome in written if outcome.state.ended]
            self._turns.settle(written, Finished(refused=[], ended=ended, woken=True))
        if written is not None:
            self._planner.expect_jobs()
        reconciler.withdraw_taken()
        reconciler.forgive_refused()

    def _poll(self) -> None:
        """Read what other processes have written, and do the chores when they are due."""
        now = time.monotonic()
        if not self._poller.due(now):
            return
        changes = self._poller.changes()
        if changes is None and not self._has_polled:
            changes = self._poller.watch
        if changes is not None:
            self._planner.holds.reading()
            waiting = changes.read(inspect.waiting, self._parts.registration.server_id, self._settings.queues)
            if self._planner.holds.read(waiting.holds):
                # What has not begun may be paused by now.
                self._turns.give_back()
                self._planner.expect_jobs()
            self._has_polled = True
            if waiting.ready:
                self._planner.expect_news()
            if (waiting.ready and not self._planner.all_held) or waiting.cancels:
                changes.found_work()
            self._quarantine.waiting = waiting.suspect
            self._planner.next_due = math.inf if waiting.next_due is None else waiting.next_due
            for job_id, claim in waiting.cancels:
                self._cancel(job_id, claim)
        if now - self._chores_at >= CHORES_SECONDS:
            self._chores_at = now
            self._do_chores()
        if self._pool.buffer and now - self._pool.progressed_at > STALE_SECONDS:
            self._turns.give_back()

    def _do_chores(self) -> None:
        supervision.restart_ended()
        self._store_restarts()
        needs = self._planner.needs
        parked = self._poller.watch.read(inspect.parked_needs)
        needs.check(parked, self._parts.resolver.has)
        self._miss_no_hold(parked)
        if needs.known:
            self._planner.expect_jobs()

    def _miss_no_hold(self, parked: list[str]) -> None:
        """Let jobs continue that were parked for a hold whose row is gone."""
        orphaned = [need for need in parked if is_hold(need) and not self._planner.holds.knows(need)]
        if orphaned:
            self._database.write(holds.restore, orphaned, now=self._parts.clock.now())
            self._planner.expect_jobs()

    def _store_restarts(self) -> None:
        """Store which threads were restarted, for the dashboard and `embedq doctor`."""
        restarts, server_id = supervision.restarts(), self._parts.registration.server_id
        if not restarts and self._stored_restarts is None:
            return
        text = json.dumps({name: [one.count, one.reason, one.at] for name, one in restarts.items()})
        if self._stored_restarts != (server_id, text):
            self._database.write(servers.save_restarts, server_id, text)
            self._stored_restarts = server_id, text

    def _cancel(self, job_id: int, claim: int) -> None:
        withdrawn = self._pool.withdraw(job_id, claim)
        if withdrawn is not None:
            self.outcomes.reported.append(self._builder.cancelled(withdrawn))
        else:
            self._parts.watchdog.cancel(job_id, claim)

    def _end_trial(self) -> None:
        """Let other jobs start again when the suspect has survived its trial."""
        trial = self._quarantine.survived()
        if trial is not None:
            self._notes.survived_trial(*trial)
            self._planner.expect_jobs()

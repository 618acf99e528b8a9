"""The direct hand-over: a job that is enqueued while a worker is idle starts without a turn of the dispatcher.

The job is inserted as running already, and given to the worker that was reserved for it: one transaction before it
starts instead of two. Only while no job waits, so that none overtakes another; and not if the job is paused.
"""

from __future__ import annotations

from embedq.errors import ReentryError, StorageUncertainError
from embedq.process.wakeup import WakeUp
from embedq.storage import jobs
from embedq.storage.jobs import Inserted
from embedq.storage.rows import NewJob
from embedq.worker.claim_ledger import ClaimLedger
from embedq.worker.claim_planner import ClaimPlanner
from embedq.worker.parts import WorkerParts
from embedq.worker.pool import Reservation
from embedq.worker.runners import Runners


class DirectHandOver:
    """Belongs to one dispatcher; any thread may call it."""

    def __init__(
        self, parts: WorkerParts, *, runners: Runners, ledger: ClaimLedger, planner: ClaimPlanner, wake: WakeUp
    ) -> None:
        self._parts = parts
        self._runners = runners
        self._pool = runners.threads
        self._ledger = ledger
        self._planner = planner
        self._wake = wake

    def insert(self, job: NewJob) -> tuple[Inserted, bool]:
        """Insert a job that is ready, and start it if a worker is idle; return the insert and whether it started.

        The caller is shielded from interrupts: one that came in between would leave a worker reserved forever, or a
        job that is running in the database and not in this process.
        """
        reservation = Reservation()
        reserved: bool | None = None

        def claimed_by() -> int | None:
            # Called when the insert's turn to be written has come, since only then it is known what waits; and decided
            # once, however often the insert is tried.
            nonlocal reserved
            if reserved is None:
                reserved = not self._planner.holds.bars(job.queue, job.name) and self.reserve(reservation)
            return self._parts.registration.server_id if reserved else None

        try:
            inserted = self._parts.database.write(jobs.insert, job, claimed_by=claimed_by)
        except ReentryError:
            # Nothing was reserved, and another thread may wait for a lock that this thread holds.
            raise
        except BaseException as error:
            # An exception from outside, such as Ctrl-C, may come after the job was written, or before another thread
            # writes it.
            uncertain = isinstance(error, StorageUncertainError) or not isinstance(error, Exception)
            self.cancel(reservation, uncertain=uncertain)
            raise
        if reserved:
            self._start(reservation, job, inserted.id)
        return inserted, bool(reserved)

    def reserve(self, reservation: Reservation) -> bool:
        """Reserve an idle worker for a job that is about to be inserted as running; False to queue the job."""
        planner = self._planner
        ready = planner.claims and planner.nothing_waits("thread") and not planner.quarantine.closed
        ready = ready and not self._ledger.uncertain and self._parts.may_run()
        if not (ready and self._pool.reserve(reservation)):
            return False
        if self._ledger.uncertain:
            # Marked between the two: a comparison would miss this reservation.
            self._pool.cancel(reservation)
            return False
        return True

    def cancel(self, reservation: Reservation, *, uncertain: bool = False) -> None:
        """Free the worker: the insert failed, or, if `uncertain`, may have failed."""
        if self._pool.cancel(reservation) and uncertain:
            self._ledger.mark_uncertain()
        if uncertain:
            # The job may have been inserted, and wait.
            self._planner.expect_jobs()
        if uncertain or self._ledger.uncertain:
            self._wake.call()

    def _start(self, reservation: Reservation, job: NewJob, job_id: int) -> None:
        claimed = job.as_claimed(job_id)
        self._ledger.add([claimed])
        self._pool.hand_over(reservation, claimed)
        self._runners.jobs_came()
        if self._ledger.uncertain:
            self._wake.call()
